import json
import math
from typing import Any

import pytest
import torch
from probe_networks import stack

from stablebench.data.batch import Batch
from stablebench.models import registry as model_registry
from stablebench.models.base import State
from stablebench.models.claims.roarnn import from_corners
from stablebench.models.network import Network
from stablebench.models.recurrent.dizzy import DizzyRNN
from stablebench.models.recurrent.exprnn import ExpRNN
from stablebench.models.recurrent.nnrnn import NnRNN
from stablebench.models.recurrent.rnn import Rnn
from stablebench.models.recurrent.roarnn import RoaRNN
from stablebench.models.recurrent.urnn import URNN
from stablebench.probes.measurements import ChainMeasurements, ClaimVerdict
from stablebench.probes.probe import MEASURES, Measure, probe
from stablebench.tables import json_text

STEPS = 30


def findings(*layers: Any, inputs: torch.Tensor | None = None) -> list[ClaimVerdict]:
    """Probe a network that reads its last state, on two sequences of numbers."""
    network = Network(list(layers), 2, readout="last", input="values")
    x = torch.randn(2, STEPS, layers[0].in_features) if inputs is None else inputs
    return probe(network, Batch(x, torch.randn(len(x), 2)), loss="mse", samples=2).claims


def verdicts(*layers: Any) -> list[str]:
    return [finding.verdict for finding in findings(*layers)]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", model_registry.model_names(family="recurrent"))
def test_no_registered_model_breaks_its_own_claims(name: str, layers: int) -> None:
    """No registered model breaks its own claims at its defaults."""
    network = stack(name, layers, 8)
    if network.models[0].non_differentiable_reason:
        pytest.skip("autograd gives no derivative of it: it is refused, see test_every_model.py")
    sizes = (3, 8) if layers == 1 else (2, 6)
    what: tuple[Measure, ...] = ("flow",) if layers == 1 else MEASURES  # of one layer test_every_model.py has all
    batch = Batch(torch.randint(5, sizes), torch.randint(3, sizes))
    document = probe(network, batch, loss="cross_entropy", samples=sizes[0], what=what).document()
    broken = [c for c in document["claims"] if c["verdict"] == "violated"]
    if issubclass(
        model_registry.model_entry(name).cls, Rnn
    ):  # the poster's, of another model, and false as it is printed
        broken = [c for c in broken if "as printed" not in c["claim"]]
    assert broken == []
    assert all(set(c) == {"claim", "verdict", "measured", "bound", "hypothesis"} for c in document["claims"])
    json.loads(json_text(document))


def test_dizzy_keeps_the_norm_and_is_tested_on_its_rotations() -> None:
    found, inputs = findings(DizzyRNN(3, 9))
    assert found.verdict == "holds" and isinstance(found.measured, float) and found.measured < 1e-12
    assert found.bound == 1e-10
    assert inputs.verdict == "not applicable"


def test_a_dizzy_whose_map_is_no_rotation_violates_theorem_3() -> None:
    class Stretched(DizzyRNN):
        def recurrent_weights(self) -> torch.Tensor:
            return super().recurrent_weights() * (1 + 1e-6)

    found = findings(Stretched(3, 9))[0]
    assert found.verdict == "violated"
    assert found.measured == pytest.approx(STEPS * 1e-6, rel=1e-4)


@pytest.mark.parametrize("arguments", [{"activation": "relu"}, {"singular_values": True}])
def test_theorem_3_is_not_applicable_without_its_hypothesis(arguments: dict[str, Any]) -> None:
    """Theorem 3 is not applicable without its hypothesis and still measured."""
    layer = DizzyRNN(3, 9, **arguments)
    if layer.recurrent_map.sigma is not None:
        layer.recurrent_map.sigma.data.fill_(0.9)
    found = findings(layer)[0]
    assert found.verdict == "not applicable"
    assert isinstance(found.measured, float) and found.measured > 0.5


def test_dizzy_without_abs_violates_theorem_3() -> None:
    """A dizzy that computes something else than abs violates theorem 3."""

    class Leaky(DizzyRNN):
        def step(self, projected: torch.Tensor, state: State, recurrent_weights: torch.Tensor) -> State:
            return (torch.nn.functional.leaky_relu(projected + state[0] @ recurrent_weights),)

    found = findings(Leaky(3, 9))[0]
    assert found.verdict == "violated" and isinstance(found.measured, float) and found.measured > 0.5


def test_theorem_3_is_about_one_layer() -> None:
    found = findings(DizzyRNN(3, 9), DizzyRNN(9, 9))[0]
    assert found.verdict == "not applicable" and "one layer (here 2)" in found.hypothesis


def test_theorem_3_is_measured_from_the_last_unit_at_zero_on() -> None:
    x = torch.randn(3, STEPS, 3)
    x[0, :7] = 0  # the state stays 0, where abs has the derivative 0
    layer = DizzyRNN(3, 9)
    layer.b.data.zero_()
    found = findings(layer, inputs=x)[0]
    assert found.verdict == "holds" and "unmet before t = 7 in 1 of 3 samples" in found.hypothesis
    never = findings(layer, inputs=torch.zeros(1, STEPS, 3))[0]
    assert never.verdict == "not applicable" and "unmet before t = 30" in never.hypothesis


@pytest.mark.parametrize("activation", ["abs", "relu"])
def test_dizzy_hands_the_whole_gradient_to_rotating_inputs(activation: Any) -> None:
    """Dizzy hands the whole gradient to inputs that enter through rotations."""
    layer = DizzyRNN(9, 9, input_map="rotations", activation=activation)
    found = findings(layer)[1]
    assert found.verdict == "holds" and isinstance(found.measured, float) and found.measured < 1e-12


def test_theorem_4_is_violated_by_longer_map() -> None:
    """Theorem 4 is violated by a longer map and does not apply to a square dense one."""

    class Stretched(DizzyRNN):
        def input_projection(self, x: torch.Tensor) -> torch.Tensor:
            return super().input_projection(x) * (1 + 1e-6)

    found = findings(Stretched(9, 9, input_map="rotations"))[1]
    assert found.verdict == "violated" and found.measured == pytest.approx(1e-6, rel=1e-4)
    assert findings(DizzyRNN(9, 9))[1].verdict == "not applicable"
    whole = DizzyRNN(9, 9, input_map="rotations", singular_values=True)
    assert findings(whole)[1].verdict == "not applicable"


def test_gradient_in_inputs_is_that_of_last_scored_step() -> None:
    """The gradient in the inputs is that of the last scored step."""
    network = Network([Rnn(3, 4)], 2, readout="every", input="values")
    x, targets = torch.randn(2, 6, 3), torch.randn(2, 6, 2)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 0]], dtype=torch.bool)
    evidence = ChainMeasurements(network, Batch(x, targets, mask=mask), "mse", 2)
    x.requires_grad_()
    outputs = network(x)[0]
    last = ((outputs[0, 3] - targets[0, 3]).square().mean() + (outputs[1, 4] - targets[1, 4]).square().mean()).sum()
    (expected,) = torch.autograd.grad(last, x)
    torch.testing.assert_close(evidence.last_loss_log_input_norms.exp(), expected.norm(dim=2)[:, :5])


def test_roarnn_both_forms_hold_for_a_small_rho() -> None:
    """Roarnn both forms hold for a small rho and are not vacuous."""
    layer = RoaRNN(3, 8, horizon=STEPS, rho=0.1)
    first, printed, _ = findings(layer)
    assert (first.verdict, printed.verdict) == ("holds", "holds")
    s = torch.linalg.svdvals(layer.W)[0].item()
    alpha, n = 0.1 / STEPS, STEPS - 1
    expected = (n * math.log10(1 - alpha * (1 + s)), n * math.log10(1 + alpha * (s - 1)))
    assert first.bound == pytest.approx(expected, rel=1e-12)
    rho = alpha * n
    assert printed.bound == pytest.approx((-rho * (1 + s) / math.log(10), rho * (s - 1) / math.log(10)), rel=1e-12)


def test_roarnn_printed_lower_bound_is_false_for_finite_chain() -> None:
    """Roarnn printed lower bound is false for a finite chain and the exact one is reached."""
    layer = RoaRNN(3, 4, horizon=STEPS, rho=3)
    with torch.no_grad():
        layer.W.copy_(-2 * layer.O)  # with every unit active each Jacobian is (1 - 3 alpha) O
        layer.b.fill_(1e3)
    first, printed, _ = findings(layer)
    assert (first.verdict, printed.verdict) == ("holds", "violated")
    assert isinstance(first.measured, tuple) and isinstance(first.bound, tuple)
    assert first.measured[0] == pytest.approx(first.bound[0], rel=1e-10)


def test_roarnn_with_the_papers_initialisation_says_nothing() -> None:
    assert verdicts(RoaRNN(3, 64, horizon=STEPS, rho=1))[:2] == ["vacuous", "vacuous"]


def test_roarnn_beyond_its_hypothesis_is_not_applicable() -> None:
    assert verdicts(RoaRNN(3, 64, horizon=STEPS, rho=10))[:2] == ["not applicable", "not applicable"]


def test_roarnn_with_an_o_that_is_not_orthogonal_violates_both() -> None:
    layer = RoaRNN(3, 8, horizon=STEPS, rho=0.01)
    layer.O *= 1.1
    assert verdicts(layer)[:2] == ["violated", "violated"]


@pytest.mark.parametrize(
    ("orthogonal", "activation", "expected"),
    [
        ("identity", "tanh", "holds"),
        ("permutation", "tanh", "holds"),
        ("dense", "tanh", "violated"),
        ("dense", "relu", "not applicable"),
    ],
)
def test_roarnn_stays_in_the_cube_for_permutations_alone(orthogonal: Any, activation: Any, expected: str) -> None:
    """Roarnn stays in the cube for the identity and permutations alone."""
    found = findings(RoaRNN(3, 64, horizon=STEPS, activation=activation, orthogonal=orthogonal))[2]
    assert found.verdict == expected


def test_corner_that_row_of_o_turns_into_one_unit_leads_farthest() -> None:
    """The corner that a row of o turns into one unit leads farthest."""
    layer = RoaRNN(3, 6, horizon=STEPS, activation="tanh")
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 6)
    (after,) = layer.step(layer.b.expand_as(corners), (corners,), layer.recurrent_weights())
    shared = (1 - layer.alpha) * layer.O.abs().sum(1)
    assert from_corners(layer.O, layer.step_without_input) == pytest.approx(
        after.abs().max().item(), abs=2 * layer.alpha
    )
    assert (
        (shared - layer.alpha).max() <= from_corners(layer.O, layer.step_without_input) <= (shared + layer.alpha).max()
    )


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("abs", ["holds", "holds", "holds", "holds"]),
        ("identity", ["holds", "holds", "holds", "holds"]),
        ("tanh", ["holds", "holds", "vacuous", "vacuous"]),
        ("leaky_relu", ["holds", "holds", "vacuous", "vacuous"]),
    ],
)
def test_urnn_bounds_by_activation(activation: Any, expected: list[str]) -> None:
    assert verdicts(URNN(3, 8, activation=activation)) == expected


def test_urnn_without_orthogonal_matrix_breaks_its_claims() -> None:
    """Urnn without its orthogonal matrix breaks the claims that need it."""
    layer = URNN(3, 8)
    layer.W.data[0, 1] += 0.1
    assert verdicts(layer) == ["violated", "violated", "violated", "not applicable"]


def test_weights_of_float32_are_as_orthogonal_as_float32_allows() -> None:
    torch.set_default_dtype(torch.float32)
    network = Network([URNN(3, 8)], 2, readout="last", input="values")
    batch = Batch(torch.randn(2, STEPS, 3), torch.randn(2, 2))
    claims = probe(network, batch, loss="mse", samples=2).claims
    assert [c.verdict for c in claims] == ["holds"] * 4
    assert isinstance(claims[0].measured, float) and 1e-9 < claims[0].measured < 1e-6


def test_exprnn_is_orthogonal_whatever_its_parameters_are() -> None:
    layer = ExpRNN(3, 8)
    layer.W.upper.data.normal_(std=3)
    assert verdicts(layer) == ["holds", "holds"]
    assert verdicts(ExpRNN(3, 8), ExpRNN(8, 8)) == ["holds", "not applicable", "holds"]


@pytest.mark.parametrize(("mask", "expected"), [("blocks", "holds"), ("authors", "violated")])
def test_nnrnn_has_moduli_of_gamma_unless_t_reaches_into_block(mask: Any, expected: str) -> None:
    """Nnrnn has the moduli of gamma unless t reaches into a block."""
    layer = NnRNN(3, 9, mask=mask)
    layer.T.data.normal_()
    layer.gamma.data.uniform_(-1.5, 1.5)
    assert verdicts(layer)[0] == expected
