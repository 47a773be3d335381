"""ShufflingRNN: the equation, its Jacobian, and the plain shift that it is without gate and hidden layer."""

import math

import pytest
import torch
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import count_parameters
from stablebench.models.recurrent.shift_rnn import ShiftRNN
from stablebench.models.recurrent.shuffling_rnn import ShufflingRNN


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def affine(x: list[float], weight: list[list[float]], bias: list[float]) -> list[float]:
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


@pytest.mark.parametrize("mlp_layers", [1, 3])
def test_it_is_the_equation_unit_by_unit(mlp_layers: int) -> None:
    model = ShufflingRNN(2, 5, mlp_width=4, mlp_layers=mlp_layers)
    maps = [(p.weight.tolist(), p.bias.tolist()) for p in model.f_r if isinstance(p, nn.Linear)]
    assert len(maps) == mlp_layers + 1
    gate = (model.f_s.weight.tolist(), model.f_s.bias.tolist())
    x = torch.randn(1, 8, 2)
    outputs, _ = model(x)
    h = [0.0] * 5
    for t, values in enumerate(x[0].tolist()):
        inner = values
        for weight, bias in maps[:-1]:
            inner = [max(v, 0.0) for v in affine(inner, weight, bias)]
        content = affine(inner, *maps[-1])
        beta = [c / (1 + math.exp(-s)) for c, s in zip(content, affine(values, *gate), strict=True)]
        h = [max(h[i - 1] + beta[i], 0.0) for i in range(5)]  # h[-1] is the last one
        assert outputs[0, t].tolist() == pytest.approx(h, abs=1e-14)


def test_an_open_gate_and_a_linear_network_make_it_shift_rnn() -> None:
    model, plain = ShufflingRNN(3, 6, mlp_width=4), ShiftRNN(3, 6)
    first, _, last = model.f_r
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    first.bias.data.fill_(1e3)  # every ReLU of f_r is on
    model.f_s.bias.data.fill_(1e3)  # sigmoid = 1 in float64
    last.bias.data -= last.weight.data @ first.bias.data
    plain.load_state_dict({"V": last.weight @ first.weight, "b": last.weight @ first.bias + last.bias})
    x = torch.randn(2, 20, 3)
    torch.testing.assert_close(model(x)[0], plain(x)[0], rtol=0, atol=1e-10)  # 1e3 is added and taken away


@pytest.mark.parametrize("steps", [1, 5, 30])
def test_the_jacobian_is_a_partial_permutation(steps: int) -> None:
    model, x = ShufflingRNN(2, 8), torch.randn(1, steps, 2)
    jacobian = torch.autograd.functional.jacobian(lambda h: model(x, (h[None],))[1][0][0], torch.rand(8))
    assert isinstance(jacobian, Tensor)
    assert set(jacobian.flatten().tolist()) <= {0.0, 1.0}
    assert jacobian.sum(0).max() <= 1 and jacobian.sum(1).max() <= 1
    assert jacobian.sum() > 0 or steps > 1


def test_only_the_maps_of_the_input_are_trained() -> None:
    model = ShufflingRNN(10, 128, mlp_width=8)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"f_r", "f_s"}
    assert count_parameters(model.parameters()) == 8 * 11 + 128 * 9 + 128 * 11
    assert model.state_dict().keys() == dict(model.named_parameters()).keys()


def test_one_unit_alone_is_refused() -> None:
    with pytest.raises(UserError, match="`hidden` must be >= 2"):
        ShufflingRNN(2, 1)
