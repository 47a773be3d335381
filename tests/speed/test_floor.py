"""The floor's products, against lists written by hand."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from stablebench.engines.fused.step_graph import UnsupportedStep
from stablebench.speed.contenders import Contender, floor_products, sequence_contender
from stablebench.speed.workload import Sequences, Size, Workload

B, T, IN = 2, 5, 3
ROARNN = Counter(
    {
        (B * T, IN, 8): 1,  # V x_t of all steps
        (B, 8, 8): 4 * T,  # W h and O h, then their transposes
        (8, B * T, 8): 1,  # dW; O is frozen
        (IN, B * T, 8): 1,  # dV
    }
)
LSTM = Counter({(B * T, IN, 16): 1, (B, 4, 16): T, (B, 16, 4): T, (4, B * T, 16): 1, (IN, B * T, 16): 1})
CORNN = Counter({(B * T, IN, 6): 1, (B, 6, 6): 4 * T, (6, B * T, 6): 2, (IN, B * T, 6): 1})
BY_HAND = {"roarnn": (8, ROARNN), "lstm": (4, LSTM), "cornn": (6, CORNN)}


def built(model: str, hidden: int) -> Sequences:
    return Workload(model, Size(B, hidden, T), inputs=IN).build()


@pytest.mark.parametrize("name", BY_HAND)
def test_the_products_are_those_counted_by_hand(name: str) -> None:
    hidden, expected = BY_HAND[name]
    assert sum((Counter(p.shapes) for p in floor_products(built(name, hidden))), Counter()) == expected


def test_the_flops_are_those_counted_by_hand() -> None:
    recurrent, weight, projected = 2 * B * 8 * 8, 2 * 8 * B * T * 8, 2 * B * T * IN * 8
    flops = sorted(product.flops for product in floor_products(built("roarnn", 8)))
    assert flops == sorted([2 * projected, 2 * T * recurrent, 2 * T * recurrent + weight])


class _Products(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.shapes: Counter[tuple[int, ...]] = Counter()
        self.others: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.mm.out:
            self.shapes[len(args[0]), *args[1].shape] += 1
        elif func is not torch.ops.aten.permute.default:  # a view, the transpose
            self.others.add(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", BY_HAND)
def test_pass_does_these_products_into_buffers_and_nothing_else(name: str) -> None:
    """A pass does these products into buffers and nothing else."""
    hidden, expected = BY_HAND[name]
    contender = sequence_contender("floor", built(name, hidden))
    assert isinstance(contender, Contender)
    with _Products() as done:
        contender.run()
    assert done.shapes == expected
    assert not done.others


def test_a_frozen_drive_has_no_weight_gradient() -> None:
    work = built("rnn", 4)
    work.model.get_parameter("V").requires_grad_(False)
    (projected,) = (product for product in floor_products(work) if not product.recurrent)
    assert projected.shapes == [(B * T, IN, 4)]


UNTRACEABLE = """
import torch
from stablebench.models.recurrent.rnn import Rnn

class Sorted(Rnn):
    def step(self, projected, state, recurrent_weights):
        return (torch.sort(projected + state[0] @ recurrent_weights).values,)

class Cumulative(Rnn):
    def input_projection(self, x):
        return torch.cumsum(super().input_projection(x), -1)
"""


def test_model_that_cannot_be_planned_has_no_floor_but_reason(tmp_path: Path) -> None:
    """A model that cannot be planned has no floor but a reason."""
    path = tmp_path / "untraceable.py"
    path.write_text(UNTRACEABLE)
    for name, reasons in {
        "Sorted": {"fused": "sort", "floor": "sort"},
        "Cumulative": {"floor": "the products of its `input_projection` are not known"},
    }.items():
        work = built(f"{path}:{name}", 4)
        found = {contender: sequence_contender(contender, work) for contender in ("fused", "floor")}
        absent = {c: made.reason for c, made in found.items() if isinstance(made, UnsupportedStep)}
        assert set(absent) == set(reasons)
        assert all(reason in absent[contender] for contender, reason in reasons.items())
        assert floor_products(work) == []
