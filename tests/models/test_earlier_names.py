"""A user's model that was written for version 0.1 runs, with one line for each name that has changed."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stablebench.models import base
from stablebench.models.base import ChainModel, RecurrentModel
from stablebench.models.chain_model import EARLIER_NAMES


class Today(RecurrentModel):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        torch.manual_seed(0)
        self.V, self.W = nn.Linear(in_features, hidden), nn.Linear(hidden, hidden)

    def input_projection(self, x: Tensor) -> Tensor:
        return self.V(x)

    def recurrent_weights(self) -> Tensor:
        return self.W.weight

    def step(self, projected: Any, state: Any, recurrent_weights: Any) -> Any:
        return (torch.tanh(projected + state[0] @ recurrent_weights.T),)

    def layer_output(self, output: Tensor, x: Tensor) -> Tensor:
        return 2 * output


def earlier_class() -> type[RecurrentModel]:
    class Earlier(Today):
        def drive(self, x: Tensor) -> Tensor:
            return self.V(x)

        def transition(self) -> Tensor:
            return super().transition()  # pyright: ignore[reportAttributeAccessIssue]

        def emit(self, output: Tensor, x: Tensor) -> Tensor:
            return 3 * output

    return Earlier


def test_earlier_names_of_methods_mean_todays() -> None:
    with pytest.warns(FutureWarning) as lines:
        model = earlier_class()(2, 3)
    assert [str(line.message) for line in lines] == [
        f"Earlier: `{name}` is now called `{EARLIER_NAMES[name]}`." for name in ("drive", "transition", "emit")
    ]
    x = torch.ones(1, 4, 2)
    torch.testing.assert_close(model(x)[0], 1.5 * Today(2, 3)(x)[0], rtol=0, atol=0)
    assert model.drive(x).equal(model.input_projection(x))  # pyright: ignore


def test_a_part_of_a_model_may_have_an_earlier_name() -> None:
    model = Today(2, 3)
    model.emit = nn.Linear(3, 1)
    assert isinstance(model.emit, nn.Linear) and model.layer_output(torch.ones(1), torch.ones(1)).item() == 2


def test_an_overridden_method_reaches_that_of_its_base() -> None:
    """By its earlier name, as `super().transition()` above does."""
    with pytest.warns(FutureWarning):
        model = earlier_class()(2, 3)
    assert model.recurrent_weights() is model.get_parameter("W.weight")


def test_looking_up_a_parameter_is_left_to_torch() -> None:
    """It is done at every time step of the reference engine."""
    assert ChainModel.__getattr__ is nn.Module.__getattr__


@pytest.mark.parametrize(
    ("earlier", "name"),
    [
        ("Folded", "DilatedCell"),
        ("Stretch", "LayerGroup"),
        ("grouped", "with_main_group"),
        ("own_generator", "frozen_generator"),
        ("drives_by_step", "split_by_step"),
    ],
)
def test_earlier_names_are_imported(earlier: str, name: str) -> None:
    with pytest.warns(FutureWarning, match=f"`{earlier}` is now called `{name}`"):
        assert getattr(base, earlier) is getattr(base, name)
