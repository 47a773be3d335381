"""LinOSS: both discretisations in their block, and where the eigenvalues of a step lie."""

from typing import Literal

import pytest
import torch
from literal import assert_is, blocked
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.models.network import Network
from stablebench.models.recurrent.linoss import LinOSS
from stablebench.probes.probe import probe

STILL = Batch(torch.zeros(2, 20, 1), torch.ones(2, 1))
Scheme = Literal["im", "imex"]


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


@pytest.mark.parametrize("state", [None, 3])
@pytest.mark.parametrize("scheme", ["im", "imex"])
def test_it_is_the_discretised_oscillator_in_its_block(scheme: Scheme, state: int | None) -> None:
    model = LinOSS(2, 4, state=state, scheme=scheme)
    n = model.state

    def layer(v: Tensor) -> Tensor:
        A, k = torch.relu(model.A_hat), 1 / (1 + torch.exp(-model.steps_hat))
        y, z, outputs = torch.zeros(n), torch.zeros(n), []
        for v_t in v:
            if scheme == "im":  # both equations at the end of the step, as one linear system
                left = torch.cat(
                    [torch.cat([torch.eye(n), -torch.diag(k)], 1), torch.cat([torch.diag(k * A), torch.eye(n)], 1)]
                )
                y, z = torch.linalg.solve(left, torch.cat([y, z + k * (model.B @ v_t)])).chunk(2)
            else:
                z = z + k * (model.B @ v_t - A * y)
                y = y + k * z
            outputs.append(model.C @ y + model.D * v_t)
        return torch.stack(outputs)

    assert_is(model, lambda x: blocked(model, x, layer))


def test_the_implicit_step_contracts_and_the_other_turns() -> None:
    for scheme in ("im", "imex"):
        model = LinOSS(1, 50, scheme=scheme, largest=3.0)
        found = torch.linalg.eigvals(model.recurrent_matrix()).abs().sort().values
        squares = model.steps().square() * model.A_hat
        expected = (1 + squares) ** -0.5 if scheme == "im" else torch.ones(50)
        torch.testing.assert_close(found, expected.repeat(2).sort().values, rtol=0, atol=1e-7)


@pytest.mark.parametrize("scheme", ["im", "imex"])
def test_its_claims_hold_and_break_with_the_scheme(scheme: Scheme) -> None:
    model = LinOSS(1, 4, scheme=scheme)
    network = Network([model], 1, readout="last", input="values")
    assert {c.verdict for c in probe(network, STILL, loss="mse").claims} == {"holds"}
    with torch.no_grad():
        model.A_hat.fill_(50.0)  # beyond k^2 A < 4, which the implicit scheme does not need
        model.steps_hat.fill_(3.0)
    verdicts = [c.verdict for c in probe(network, STILL, loss="mse").claims]
    assert verdicts[0] == ("holds" if scheme == "im" else "not applicable")


def test_a_step_that_is_not_symplectic_breaks_the_claims() -> None:
    class Leaking(LinOSS):
        def constants(self) -> tuple[Tensor, Tensor]:
            A, S = super().constants()
            return A, 0.9 * S

    network = Network([Leaking(1, 4, scheme="imex")], 1, readout="last", input="values")
    assert [c.verdict for c in probe(network, STILL, loss="mse").claims] == ["violated"] * 2
