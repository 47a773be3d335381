"""Widths, shapes and starts of the layers of deep models."""

import math

import pytest
import torch
from torch import nn

from stablebench.errors import UserError
from stablebench.models.blocks.layered import Init, equal_shapes, hidden_widths, new_biases, new_weights, plain_readout


def test_layers_of_one_shape_are_counted_together() -> None:
    assert equal_shapes(2, [2] * 48) == [(48, 2, 2)]
    assert equal_shapes(64, [32] * 3) == [(1, 64, 32), (2, 32, 32)]
    assert equal_shapes(2, [2, 2, 4, 4, 4, 1]) == [(2, 2, 2), (1, 2, 4), (2, 4, 4), (1, 4, 1)]
    assert equal_shapes(1, [2, 1, 2, 1]) == [(1, 1, 2), (1, 2, 1), (1, 1, 2), (1, 2, 1)]


def test_widths_are_hidden_unless_named() -> None:
    assert hidden_widths(7, 5, None) == [7, 7, 7]
    assert hidden_widths(9, 5, [3, 4, 9]) == [3, 4, 9]


@pytest.mark.parametrize(
    ("hidden", "layers", "widths", "message"),
    [
        (4, 2, None, "`layers` must be >= 3 .* got 2"),
        (4, 5, [4, 4], "3 for --layers 5, the last of --hidden 4; got 2 widths, the last 4"),
        (4, 4, [4, 3], "the last of --hidden 4; got 2 widths, the last 3"),
        (4, 4, [], "got none"),
    ],
)
def test_other_widths_are_refused(hidden: int, layers: int, widths: list[int] | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        hidden_widths(hidden, layers, widths)


@pytest.mark.parametrize(
    ("init", "variance"), [("normal", 1.0), ("glorot", 2 / 50), ("he", 2 / 20), ("orthogonal", 1 / 30)]
)
def test_weights_have_the_variance_of_their_paper(init: Init, variance: float) -> None:
    torch.manual_seed(0)
    W, b = new_weights(init, 400, 20, 30), new_biases(init, 400, 30)
    assert W.shape == (400, 30, 20) and b.shape == (400, 30) and isinstance(W, nn.Parameter) and W.is_contiguous()
    count = W.numel()
    assert abs(W.mean().item()) < 5 * math.sqrt(variance / count)
    assert W.var().item() == pytest.approx(variance, rel=5 * math.sqrt(2 / count))
    if init == "normal":
        assert b.std().item() == pytest.approx(1, rel=0.03)
    else:
        assert not b.any()


@pytest.mark.parametrize(("inner", "outer"), [(6, 6), (3, 8), (8, 3)])
def test_orthogonal_weights_have_entries_of_either_sign(inner: int, outer: int) -> None:
    """Orthogonal weights are and their first entries have either sign."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    W = new_weights("orthogonal", 1000, inner, outer).detach()
    gram = W.mT @ W if outer >= inner else W @ W.mT
    assert (gram - torch.eye(min(inner, outer))).abs().max() < 1e-13
    assert abs((W[:, 0, 0] > 0).double().mean() - 0.5) < 5 * 0.5 / math.sqrt(1000)  # R's signs are given back


def test_readout_is_drawn_like_layers_and_activated_where_asked() -> None:
    """A readout is drawn like the layers and activated where asked."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    linear = plain_readout("linear", "tanh", "normal", 4, 3)
    torch.manual_seed(0)
    layer = plain_readout("layer", "tanh", "normal", 4, 3)
    h = torch.randn(5, 4)
    assert torch.equal(linear.weight, layer.weight) and linear.bias.any()
    torch.testing.assert_close(linear(h), h @ linear.weight.T + linear.bias, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(torch.tanh(linear(h)), layer(h), rtol=1e-13, atol=1e-13)
