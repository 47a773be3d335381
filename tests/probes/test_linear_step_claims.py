"""Claims of models with steps that are linear in the state hold for them, and not for models that break them."""

from typing import Any

import pytest
import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.models.base import RecurrentModel, State
from stablebench.models.blocks.delta_rule import DeltaRule
from stablebench.models.claims.linear_steps import drawn_inputs, maps_of_heads
from stablebench.models.network import Network
from stablebench.models.recurrent.deltanet import DeltaNet
from stablebench.models.recurrent.deltaproduct import DeltaProduct
from stablebench.models.recurrent.gated_deltanet import GatedDeltaNet
from stablebench.models.recurrent.lru import LRU
from stablebench.models.recurrent.mamba2 import Mamba2
from stablebench.models.recurrent.mamba3 import Mamba3
from stablebench.models.recurrent.mingru import MinGRU
from stablebench.models.recurrent.mlstm import MLSTM
from stablebench.models.recurrent.rg_lru import RGLRU
from stablebench.models.recurrent.rotrnn import RotRNN
from stablebench.models.recurrent.s4d import S4D
from stablebench.models.recurrent.s5 import S5
from stablebench.probes.measurements import ChainMeasurements, ClaimVerdict, check_claims

IN, HIDDEN, STEPS = 3, 6, 12


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def findings(*layers: RecurrentModel) -> list[ClaimVerdict]:
    network = Network(list(layers), 2, readout="last", input="values")
    return check_claims(ChainMeasurements(network, Batch(torch.randn(2, STEPS, IN), torch.randn(2, 2)), "mse", 2))


def verdicts(layer: RecurrentModel) -> list[str]:
    return [entry.verdict for entry in findings(layer)]


def beta_of_three(model: DeltaRule) -> None:
    model.largest_beta = 3.0
    with torch.no_grad():
        model.beta.bias.fill_(9.0)


def keys_of_length_two(model: DeltaRule) -> None:
    own = model._writes

    def longer(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keys, values, beta = own(x)
        return 2 * keys, values, beta

    model._writes = longer  # pyright: ignore


def decays_above_one(model: Any) -> None:
    own = model.decay.logarithms
    model.decay.logarithms = lambda steps: -own(steps)


def negative(model: Any) -> None:
    own = model.terms

    def turned(projected: Any, recurrent_weights: Any) -> tuple[Tensor, Tensor]:
        a, b = own(projected, recurrent_weights)
        return -a, b

    model.terms = turned


def grown(model: Any) -> None:
    own = model.step
    model.step = lambda *arguments: tuple(3 * part for part in own(*arguments))


def sheared(model: Mamba3) -> None:
    own = model.step

    def step(projected: Any, state: State, recurrent_weights: Any) -> State:
        (packed,) = own(projected, state, recurrent_weights)
        return (torch.cat([0.5 * packed[:, : model.hidden], packed[:, model.hidden :]], dim=-1),)

    model.step = step  # pyright: ignore


def wide(model: Any) -> None:
    own = model.recurrent_weights
    model.recurrent_weights = lambda: 2 * own() if isinstance(own(), Tensor) else tuple(2 * part for part in own())


def stabiliser_too_large(model: MLSTM) -> None:
    own = model.step

    def shifted(projected: Any, state: State, recurrent_weights: Any) -> State:
        (packed,) = own(projected, state, recurrent_weights)
        return (torch.cat([packed[:, : -model.heads], packed[:, -model.heads :] + 1], dim=-1),)

    model.step = shifted  # pyright: ignore


def skewed(model: RotRNN) -> None:
    own = model.bases
    model.bases = lambda: 1.01 * own()  # pyright: ignore


BROKEN = [
    (DeltaNet, {"heads": 2, "key_size": 3}, beta_of_three, ["violated", "violated"]),
    (DeltaNet, {"negative_eigenvalues": True}, keys_of_length_two, ["violated", "violated"]),
    (GatedDeltaNet, {"heads": 3, "key_size": 2}, decays_above_one, ["violated", "violated"]),
    (DeltaProduct, {"key_size": 3}, grown, ["violated", "violated"]),
    (Mamba2, {"heads": 2}, decays_above_one, ["violated", "violated"]),
    (Mamba2, {}, negative, ["violated", "holds"]),
    (RGLRU, {}, negative, ["violated", "holds"]),
    (RGLRU, {}, wide, ["holds", "holds"]),  # c is 16: other decays, between 0 and 1 too
    (Mamba3, {"heads": 2, "key_size": 4}, grown, ["violated", "holds"]),
    (Mamba3, {"key_size": 2}, sheared, ["holds", "violated"]),
    (MLSTM, {"heads": 2}, stabiliser_too_large, ["violated"]),
    (MLSTM, {"forget": "exp"}, stabiliser_too_large, ["violated"]),
    (RotRNN, {"heads": 3}, skewed, ["violated", "holds"]),
    (RotRNN, {}, grown, ["holds", "violated"]),
    (S5, {}, wide, ["violated", "holds"]),
    (S5, {}, grown, ["holds", "violated"]),
    (S4D, {}, grown, ["holds", "violated"]),
    (LRU, {}, grown, ["holds", "violated", "holds"]),
    (MinGRU, {}, grown, ["violated"]),
]


@pytest.mark.parametrize(("cls", "arguments", "broken", "expected"), BROKEN)
def test_claims_hold_until_the_model_breaks_them(
    cls: type[Any], arguments: dict[str, Any], broken: Any, expected: list[str]
) -> None:
    model = cls(IN, HIDDEN, **arguments)
    assert "violated" not in verdicts(model)
    broken(model)
    assert verdicts(model) == expected


@pytest.mark.parametrize("negative_eigenvalues", [False, True])
def test_eigenvalues_fill_the_interval_that_is_claimed(negative_eigenvalues: bool) -> None:
    claim = findings(DeltaNet(IN, HIDDEN, negative_eigenvalues=negative_eigenvalues))[0]
    least = -1.0 if negative_eigenvalues else 0.0
    assert claim.verdict == "holds" and claim.bound == (least, 1.0)
    assert claim.measured == pytest.approx((least, 1.0), abs=1e-3)


def test_maps_of_heads_are_those_of_the_equation() -> None:
    model = GatedDeltaNet(IN, HIDDEN, heads=2, key_size=3, negative_eigenvalues=True).double()
    x = drawn_inputs(model)
    keys, _, beta = model._writes(x)
    assert model.decay is not None
    k, alpha = keys.unflatten(-1, (2, 3))[:, 0], model.decay(x)[:, 0, :, None, None]
    expected = alpha * (torch.eye(3) - beta[:, 0, :, None, None] * k[..., :, None] * k[..., None, :])
    torch.testing.assert_close(maps_of_heads(model), expected, rtol=0, atol=1e-13)


def test_claims_about_steps_are_checked_in_every_layer() -> None:
    first, second = DeltaNet(IN, HIDDEN), DeltaNet(HIDDEN, HIDDEN, negative_eigenvalues=True)
    assert [entry.verdict for entry in findings(first, second) if entry.claim.startswith("layer")] == ["holds"] * 2
    beta_of_three(second)
    entries = [entry for entry in findings(first, second) if entry.claim.startswith("layer")]
    assert [entry.verdict for entry in entries] == ["holds", "violated"]
