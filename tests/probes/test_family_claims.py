"""Claims of gated, dilated, skipping and memory models, and of residual layers: where they hold and where not."""

from typing import Any

import pytest
import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.models.base import DeepModel, RecurrentModel, State
from stablebench.models.deep.resnet_mlp import ResnetMlp
from stablebench.models.deep_network import DeepNetwork
from stablebench.models.network import Network
from stablebench.models.recurrent.dilated_rnn import DilatedRNN
from stablebench.models.recurrent.fastgrnn import FastGRNN
from stablebench.models.recurrent.gru import GRU
from stablebench.models.recurrent.hippo_legs import HippoLegS
from stablebench.models.recurrent.lmu import LMU
from stablebench.models.recurrent.lstm import LSTM
from stablebench.models.recurrent.relu_gru import ReluGRU
from stablebench.models.recurrent.skip_lstm import SkipRNN
from stablebench.models.recurrent.slstm import SLSTM
from stablebench.models.recurrent.ugru import UGRU
from stablebench.probes.measurements import ChainMeasurements, ClaimVerdict, check_claims

STEPS = 25


def findings(layer: RecurrentModel) -> list[ClaimVerdict]:
    network = Network([layer], 2, readout="last", input="values")
    return check_claims(ChainMeasurements(network, Batch(5 * torch.randn(2, STEPS, 3), torch.randn(2, 2)), "mse", 2))


def verdicts(layer: RecurrentModel) -> list[str]:
    return [found.verdict for found in findings(layer)]


def pushed(cls: Any, by: float, **arguments: Any) -> RecurrentModel:
    """A model of a class whose states are moved by something in every step."""

    class Pushed(cls):
        def step(self, projected: Any, state: State, recurrent_weights: Any) -> State:
            return tuple(s + by for s in super().step(projected, state, recurrent_weights))

    return Pushed(3, 6, **arguments)


BOUNDED = [
    (GRU, 2.0, ["violated"]),
    (UGRU, 2.0, ["holds", "violated"]),
    (LSTM, 3.0, ["violated", "violated"]),
    (FastGRNN, 2.0, ["violated"]),
    (ReluGRU, -1.0, ["violated"]),
    (SLSTM, -2.0, ["violated", "violated"]),
]


@pytest.mark.parametrize(("cls", "by", "broken"), BOUNDED)
def test_bounds_on_states_hold_and_are_violated_by_a_push(cls: Any, by: float, broken: list[str]) -> None:
    layer = cls(3, 6)
    for parameter in layer.parameters():
        if parameter.shape not in ((6, 6), (2,)):  # W_n stays orthogonal, zeta and nu as they are
            parameter.data.mul_(3)
    assert verdicts(layer) == ["holds"] * len(broken)
    assert verdicts(pushed(cls, by)) == broken


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_skipped_step_copies(cell: Any) -> None:
    layer = SkipRNN(3, 6, cell=cell, update_bias=-1.0, cost=0.1)
    (found,) = findings(layer)
    assert found.verdict == "holds" and found.measured == 0
    assert verdicts(pushed(SkipRNN, 1e-3, cell=cell, update_bias=-1.0)) == ["violated"]
    always = SkipRNN(3, 6, cell=cell, update_bias=50.0)
    assert verdicts(always) == ["not applicable"]


@pytest.mark.parametrize(("discretisation", "expected"), [("bilinear", "holds"), ("backward", "holds"), ("euler", "")])
def test_the_memory_of_legs_does_not_grow(discretisation: Any, expected: str) -> None:
    structure, step = findings(HippoLegS(3, 6, order=12, discretisation=discretisation))
    assert structure.verdict == "holds" and step.verdict == (expected or "not applicable")
    if not expected:
        assert isinstance(step.measured, float) and step.measured > 5


def test_another_matrix_violates_both_claims_of_legs() -> None:
    layer = HippoLegS(3, 6, order=12)
    layer.A.mul_(-0.3)
    assert verdicts(layer) == ["violated", "violated"]


def test_memory_matrix_has_norm_of_step_without_samples() -> None:
    """The memory matrix has the norm of a step without samples."""
    layer = HippoLegS(3, 6, order=5)
    matrix = layer.remember(torch.eye(5), torch.zeros(5, 1), torch.full((5, 1), 3.0))
    assert layer.memory_norm(3) == pytest.approx(torch.linalg.matrix_norm(matrix, 2).item(), rel=1e-12)


def test_the_delay_of_the_lmu_is_stable() -> None:
    layer = LMU(3, 6, horizon=STEPS, order=8)
    assert verdicts(layer) == ["holds"]
    layer.A_bar.mul_(5)
    assert verdicts(layer) == ["violated"]


def test_a_dilated_layer_hands_back_every_dth_input() -> None:
    class Leaking(DilatedRNN):
        def step(self, projected: Any, state: State, recurrent_weights: Any) -> State:
            after = super().step(projected, state, recurrent_weights)
            return (after[0] + 0.1 * state[0], *after[1:])

    assert verdicts(DilatedRNN(3, 6, start=3)) == ["holds"]
    (found,) = findings(Leaking(3, 6, start=3))
    assert found.verdict == "violated" and isinstance(found.measured, float | int) and found.measured > 10
    assert verdicts(DilatedRNN(3, 6)) == ["not applicable"]


def residual(model: DeepModel) -> ClaimVerdict:
    evidence = ChainMeasurements(DeepNetwork(model, 1), Batch(torch.randn(2, 3), torch.randn(2, 1)), "mse", 2)
    (found,) = check_claims(evidence)
    return found


def test_residual_layers_with_small_step_stay_near_identity() -> None:
    """Residual layers with a small step stay near the identity."""

    class Stretched(ResnetMlp):
        def step(self, layer: tuple[Tensor, ...], state: State, shared: None) -> State:
            return (1.5 * super().step(layer, state, shared)[0],)

    small = ResnetMlp(3, 5, layers=10, step_size=0.05)
    assert residual(small).verdict == "holds"
    assert residual(Stretched(3, 5, layers=10, step_size=0.05)).verdict == "violated"
    assert residual(ResnetMlp(3, 5, layers=10, step_size=1.0)).verdict == "not applicable"
