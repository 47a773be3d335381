"""D-LinOSS: the damped oscillator in its block, and eigenvalues that start and stay where they are meant to."""

import math

import pytest
import torch
from literal import assert_is, blocked
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.errors import UserError
from stablebench.models.network import Network
from stablebench.models.recurrent.d_linoss import DLinOSS
from stablebench.probes.probe import probe

STILL = Batch(torch.zeros(2, 10, 1), torch.ones(2, 1))


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def test_it_is_the_discretised_oscillator_in_its_block() -> None:
    model = DLinOSS(2, 4, state=5, r_min=0.5)

    def layer(v: Tensor) -> Tensor:
        k, G, A = torch.sigmoid(model.steps_hat), model.G_hat, model.A_hat  # inside their bounds at first
        y, z, outputs = torch.zeros(5), torch.zeros(5), []
        for v_t in v:
            # z_t = z_{t-1} + k (B v_t - A y_{t-1} - G z_t), solved for z_t
            z = torch.linalg.solve(torch.diag(1 + k * G), z + k * (model.B @ v_t - A * y))
            y = y + k * z
            outputs.append(model.C @ y + model.D * v_t)
        return torch.stack(outputs)

    assert_is(model, lambda x: blocked(model, x, layer))


def test_eigenvalues_start_uniform_on_the_half_ring() -> None:
    model = DLinOSS(1, 2, state=20_000, r_min=0.6, max_phase=2.0)
    eigenvalues = torch.linalg.eigvals(model.transitions())
    modulus, phase = eigenvalues.abs(), eigenvalues.angle().abs()
    assert 0.6 - 1e-6 <= modulus.min() and modulus.max() <= 1 + 1e-6 and phase.max() <= 2.0 + 1e-6
    area = (modulus.square() - 0.36) / 0.64
    for uniform in (area, phase / 2.0):
        assert uniform.mean().item() == pytest.approx(1 / 2, abs=5 * math.sqrt(1 / 12 / 20_000))


def test_whatever_training_does_no_eigenvalue_leaves_the_circle() -> None:
    model = DLinOSS(1, 2, state=3000)
    with torch.no_grad():
        model.A_hat.copy_(100 * torch.randn(3000))
        model.G_hat.copy_(3 * torch.randn(3000))
        model.steps_hat.copy_(2 * torch.randn(3000))
    moduli = torch.linalg.eigvals(model.transitions()).abs()
    expected = (1 + model.steps() * torch.relu(model.G_hat)) ** -0.5
    torch.testing.assert_close(moduli, expected[:, None].expand(-1, 2), rtol=0, atol=1e-6)
    # at a bound the eigenvalue is double, and found to about the root of the rounding unit
    assert moduli.max().item() < 1 + 1e-6 and (model.G_hat <= 0).any()


def test_its_claims_hold_and_break_without_the_bounds() -> None:
    class Unbounded(DLinOSS):
        def constants(self) -> tuple[Tensor, Tensor]:
            return self.A_hat, super().constants()[1]

    for cls, verdict in ((DLinOSS, "holds"), (Unbounded, "violated")):
        model = cls(1, 4)
        with torch.no_grad():
            model.A_hat.fill_(200.0)
        network = Network([model], 1, readout="last", input="values")
        assert probe(network, STILL, loss="mse").claims[0].verdict == verdict


def test_a_modulus_of_one_is_refused() -> None:
    with pytest.raises(UserError, match="`r_min` must be < 1"):
        DLinOSS(1, 2, r_min=1.0)
