"""Of which loss `sb.probe` measures: each sample's own, in the order of time, and the samples' mean."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import stablebench as sb

T, BATCH, IN, HIDDEN = 7, 5, 2, 3
Loss = Callable[[Tensor], Tensor]


@pytest.fixture
def x() -> Tensor:
    return torch.randn(BATCH, T, IN, generator=torch.Generator().manual_seed(0)).double()


def squares(outputs: Tensor) -> Tensor:
    return outputs[:, -1].square().sum()


def of_the_first_sample(outputs: Tensor) -> Tensor:
    """A loss that may read only what it is given: one sample, (1, time, out)."""
    assert outputs.shape[0] == 1 and outputs.dim() == 3
    weights = torch.linspace(-1, 2, outputs.shape[1], dtype=outputs.dtype)
    return (weights[:, None] * outputs[0].sin()).sum() + outputs[0, 1].prod()


def last(outputs: Tensor) -> Tensor:
    return outputs[:, -1].sum()


LOSSES: list[Loss] = [last, squares, of_the_first_sample]


def asked(loss: Loss) -> dict[str, Any]:
    return {} if loss is last else {"loss": loss}


def gru() -> nn.GRU:
    torch.manual_seed(1)
    return nn.GRU(IN, HIDDEN, batch_first=True).double()


def mean_loss(module: nn.Module, x: Tensor, loss: Loss, parameters: dict[str, Tensor]) -> Tensor:
    outputs, _ = torch.func.functional_call(module, parameters, (x,))
    return torch.stack([loss(outputs[i : i + 1]) for i in range(len(x))]).mean()


def hessian(module: nn.Module, x: Tensor, loss: Loss) -> Tensor:
    """The Hessian of the samples' mean loss, by plain autograd."""
    given = {name: p.detach() for name, p in module.named_parameters()}
    sizes = [p.numel() for p in given.values()]

    def of(flat: Tensor) -> Tensor:
        parts = zip(given.items(), flat.split(sizes), strict=True)
        return mean_loss(module, x, loss, {name: part.view(p.shape) for (name, p), part in parts})

    return torch.autograd.functional.hessian(of, torch.cat([p.flatten() for p in given.values()]))  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_sharpness_is_that_of_the_mean_loss(x: Tensor, loss: Loss) -> None:
    module = gru()
    measured = sb.probe(module, x, what="curvature", **asked(loss)).measured.curvature
    assert measured is not None
    expected = torch.linalg.eigvalsh(hessian(module, x, loss))[-1].item()
    assert measured.hessian == pytest.approx(expected, rel=2e-3)


def test_gauss_newton_is_that_of_the_mean_loss(x: Tensor) -> None:
    module = gru()
    measured = sb.probe(module, x, what="curvature", loss=squares).measured.curvature
    assert measured is not None
    jacobian = []
    for unit in range(HIDDEN):
        for sample in x:
            value = module(sample[None])[0][0, -1, unit]
            jacobian.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(module.parameters()))]))
    J = torch.stack(jacobian)
    expected = torch.linalg.eigvalsh(2 * J @ J.T / BATCH)[-1].item()  # d^2 (y . y) / dy^2 = 2
    assert measured.gauss_newton == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_noise_is_that_of_the_samples_own_gradients(x: Tensor, loss: Loss) -> None:
    module = gru()
    measured = sb.probe(module, x, what="curvature", **asked(loss)).measured.curvature
    rows = []
    for i in range(BATCH):
        value = mean_loss(module, x[i : i + 1], loss, dict(module.named_parameters()))
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(module.parameters()))]))
    gradients = torch.stack(rows)
    assert measured is not None
    assert measured.noise == pytest.approx(gradients.var(0).sum().item(), rel=1e-9)
    square = gradients.mean(0).square().sum().item() - measured.noise / BATCH
    assert measured.gradient_square == pytest.approx(square, rel=1e-9)


def numbers(value: Any, path: str = "") -> dict[str, float]:
    """Every number of a document, by its path."""
    if isinstance(value, dict):
        parts = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list):
        parts = [(str(i), inner) for i, inner in enumerate(value)]
    else:
        return {path: float(value)} if isinstance(value, int | float) and math.isfinite(value) else {}
    return {name: number for key, inner in parts for name, number in numbers(inner, f"{path}/{key}").items()}


OF_THE_SPREAD = ("standard_error", "interval_95", "samples", "gradient_square", "gradient_noise", "noise_scale")
"""What says how sure a mean over so many samples is, or is estimated from pairs of different ones."""


@pytest.mark.parametrize("loss", LOSSES)
def test_copies_of_a_sample_change_no_measure(x: Tensor, loss: Loss) -> None:
    module, one = gru(), x[:1]
    once = sb.probe(module, one, what="all", **asked(loss)).document()
    copies = sb.probe(module, one.repeat(4, 1, 1), what="all", **asked(loss)).document()
    assert {"gradient_flow", "lag_share", "sensitivity", "curvature", "dimension", "schur"} <= set(once["measures"])
    copied, compared = numbers(copies), 0
    for name, number in numbers(once).items():
        if not any(part in OF_THE_SPREAD for part in name.split("/")):
            assert copied[name] == pytest.approx(number, rel=1e-6, abs=1e-9), name
            compared += 1
    assert compared > 100


@pytest.mark.parametrize("loss", LOSSES)
def test_copies_of_all_samples_change_no_mean(x: Tensor, loss: Loss) -> None:
    module = gru()
    once = sb.probe(module, x, what="curvature,learnability,schur", **asked(loss))
    copies = sb.probe(module, x.repeat(3, 1, 1), what="curvature,learnability,schur", **asked(loss))
    a, b = once.measured, copies.measured
    assert a.curvature and b.curvature and a.learnability and b.learnability and a.schur and b.schur
    assert a.curvature.hessian == pytest.approx(b.curvature.hessian, rel=2e-3)
    assert a.curvature.gauss_newton == pytest.approx(b.curvature.gauss_newton, rel=2e-3, abs=1e-12)
    assert a.learnability.log_rms.tolist() == pytest.approx(b.learnability.log_rms.tolist())
    assert a.schur.loss == pytest.approx(b.schur.loss)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_backward_chain_begins_at_its_own_part_of_h0(x: Tensor, kind: Any) -> None:
    module = kind(IN, HIDDEN, batch_first=True, bidirectional=True).double()
    h0: Any = torch.randn(2, BATCH, HIDDEN).double()
    h0 = (h0, h0.cos()) if kind is nn.LSTM else h0
    for number, direction in enumerate(("forward", "backward")):
        read = x.clone().requires_grad_()
        outputs = module(read, h0)[0][..., number * HIDDEN : (number + 1) * HIDDEN]
        outputs[:, 0 if number else -1].sum().backward()
        assert read.grad is not None
        norms = read.grad.norm(dim=2).quantile(0.5, dim=0)
        found = sb.probe(module, x, h0, direction=direction, what="flow")  # pyright: ignore[reportArgumentType]
        assert found.input_gradient_norms == pytest.approx((norms.flip(0) if number else norms).numpy(), rel=1e-9)


def test_a_loss_reads_a_backward_chain_in_the_order_of_time(x: Tensor) -> None:
    module = nn.GRU(IN, HIDDEN, batch_first=True, bidirectional=True).double()
    read = x.clone().requires_grad_()
    outputs = module(read)[0][..., HIDDEN:]
    torch.stack([of_the_first_sample(outputs[i : i + 1]) for i in range(BATCH)]).sum().backward()
    assert read.grad is not None
    found = sb.probe(module, x, loss=of_the_first_sample, direction="backward", what="flow")
    assert found.input_gradient_norms == pytest.approx(
        read.grad.norm(dim=2).quantile(0.5, dim=0).flip(0).numpy(), rel=1e-9
    )
    second = sb.probe(module, x, loss=lambda o: o[0, 2].sum(), direction="backward", what="flow")
    assert second.gradient_norms is not None and len(second.gradient_norms) == T - 2 + 1  # steps T ... 3, and h_0


def test_h0_has_the_states_of_all_layers(x: Tensor) -> None:
    def zeros(layers: int, size: int = HIDDEN) -> Tensor:
        return torch.zeros(layers, BATCH, size)

    layers, both = {"num_layers": 2}, {"bidirectional": True}
    of_lstm = r"\(2, 5, 3\), \(2, 5, 3\), got "
    wrong: list[tuple[nn.Module, Any, str]] = [
        (nn.GRU(IN, HIDDEN, **layers), zeros(1), r"of all layers must be \(2, 5, 3\), got \(1, 5, 3\)\.$"),
        (nn.GRU(IN, HIDDEN, **layers), zeros(3), r"of all layers must be \(2, 5, 3\), got \(3, 5, 3\)\.$"),
        (nn.GRU(IN, HIDDEN, **layers), zeros(2)[:, :1], r"\(2, 5, 3\), got \(2, 1, 3\)\.$"),
        (nn.GRU(IN, HIDDEN, **layers), zeros(1)[0], r"\(2, 5, 3\), got \(5, 3\)\.$"),
        (nn.RNN(IN, HIDDEN), 0.5, r"\(1, 5, 3\), got float\.$"),
        (nn.RNN(IN, HIDDEN), zeros(2), r"\(1, 5, 3\), got \(2, 5, 3\)\.$"),
        (nn.GRU(IN, HIDDEN), (), r"\(1, 5, 3\), got nothing\.$"),
        (nn.LSTM(IN, HIDDEN, **layers), (zeros(1), zeros(1)), of_lstm + r"\(1, 5, 3\), \(1, 5, 3\)\.$"),
        (nn.LSTM(IN, HIDDEN, **layers), (zeros(2), zeros(3)), of_lstm + r"\(2, 5, 3\), \(3, 5, 3\)\.$"),
        (nn.LSTM(IN, HIDDEN, **layers), zeros(2), of_lstm + r"\(2, 5, 3\)\.$"),
        (nn.LSTM(IN, HIDDEN, proj_size=2), (zeros(1), zeros(1)), r"\(1, 5, 2\), \(1, 5, 3\), got \(1, 5, 3\)"),
        (nn.LSTMCell(IN, HIDDEN), zeros(1)[0], r"a layer's states must be \(5, 3\), \(5, 3\), got \(5, 3\)\.$"),
    ]
    for module, h0, message in wrong:
        with pytest.raises(sb.UserError, match=message):
            sb.probe(module, x, h0, what="flow")
    with pytest.raises(sb.UserError, match=r"layers and directions must be \(2, 5, 3\), got \(1, 5, 3\)\.$"):
        sb.probe(nn.GRU(IN, HIDDEN, **both), x, zeros(1), direction="backward", what="flow")
