"""The transformer against a slow loop in float64, and what every attention model promises."""

import math

import pytest
import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.models import registry as model_registry
from stablebench.models.attention.transformer import AttentionBlock, Transformer, turned, waves
from stablebench.models.attention_network import AttentionNetwork
from stablebench.models.base import count_parameters
from stablebench.probes.input_flow import input_flow
from stablebench.schema.expression import evaluate

POSITIONS = ("none", "rotary", "sinusoidal")


def drawn(hidden: int = 6, inputs: int = 3, **arguments: object) -> Transformer:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    return Transformer(inputs, hidden, **arguments)  # type: ignore[arg-type]


def some(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(pairs: int, size: int, t: int) -> Tensor:
    """Return R_t as a matrix, a turn of 2 x 2 for each pair."""
    matrix = torch.eye(size)
    for i in range(pairs):
        angle = t / 10_000 ** (2 * i / size)
        turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        matrix[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = torch.tensor(turn)
    return matrix


def normed(norm: torch.nn.LayerNorm, u: Tensor) -> Tensor:
    centred = u - u.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * norm.weight + norm.bias


def attended(block: AttentionBlock, streams: list[Tensor], t: int) -> Tensor:
    """Return the heads' y_t side by side, one key at a time."""
    d, width = block.head_size, len(streams[0])
    W_q, W_k, W_v = block.query_key_value.weight.split(width)
    sides = []
    for head in range(block.heads):
        own = slice(head * d, min((head + 1) * d, width))
        R = [rotation(d // 2, d, s) if block.rotary else torch.eye(d) for s in range(t + 1)]

        def part(W: Tensor, s: int, own: slice = own, R: list[Tensor] = R, turn: bool = True) -> Tensor:
            x = torch.zeros(d)
            x[: own.stop - own.start] = W[own] @ normed(block.attention_norm, streams[s])
            return R[s] @ x if turn else x

        q = part(W_q, t)
        weights = torch.tensor([math.exp(float(q @ part(W_k, s)) / math.sqrt(d)) for s in range(t + 1)])
        y = sum(w * part(W_v, s, turn=False) for s, w in enumerate((weights / weights.sum()).tolist()))
        assert isinstance(y, Tensor)
        sides.append(y[: own.stop - own.start])
    return torch.cat(sides)


def literal(model: Transformer, x: Tensor, positions: str) -> Tensor:
    """Return the outputs of one sequence (time, in) by the equation, a step and a head at a time."""
    streams = [model.encoder(x_t) for x_t in x]
    if positions == "sinusoidal":
        for t, u in enumerate(streams):
            for i in range(model.hidden):
                angle = t / 10_000 ** (2 * (i // 2) / model.hidden)
                u[i] += math.cos(angle) if i % 2 else math.sin(angle)
    for block in model.blocks:
        assert isinstance(block, AttentionBlock)
        streams = [u + block.out(attended(block, streams, t)) for t, u in enumerate(streams)]
        up, _, down = block.mlp
        streams = [
            u + down(0.5 * (z := up(normed(block.mlp_norm, u))) * (1 + torch.erf(z / math.sqrt(2)))) for u in streams
        ]
    return torch.stack([normed(model.norm, u) for u in streams])


@torch.no_grad()
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize(("hidden", "heads"), [(6, 2), (7, 3), (4, 1), (5, 9)])
def test_it_is_the_equation(hidden: int, heads: int, positions: str) -> None:
    model = drawn(hidden, heads=heads, positions=positions)
    for parameter in model.parameters():  # norms that are not 1 and 0
        parameter.add_(0.1 * some(*parameter.shape, seed=3))
    x = some(2, 9, 3)
    expected = torch.stack([literal(model, one.clone(), positions) for one in x])
    torch.testing.assert_close(model(x), expected, rtol=1e-11, atol=1e-11)


def test_rotary_scores_depend_on_the_distance_only() -> None:
    torch.set_default_dtype(torch.float64)
    q, k = turned(some(1, 6).expand(9, 6)), turned(some(1, 6, seed=2).expand(9, 6))
    scores = q @ k.T
    for lag in range(9):
        diagonal = scores.diagonal(-lag)
        torch.testing.assert_close(diagonal, diagonal[:1].expand(len(diagonal)), rtol=1e-12, atol=1e-12)
    assert (scores.diagonal(-1)[0] - scores[0, 0]).abs() > 1e-3
    assert torch.equal(waves(3, 5)[0], torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0]))


@pytest.mark.parametrize("positions", POSITIONS)
def test_an_output_depends_on_no_later_input(positions: str) -> None:
    model, x = drawn(positions=positions), some(2, 8, 3)
    other = x.clone()
    other[:, 5:] = some(2, 3, 3, seed=7)
    assert torch.equal(model(x)[:, :5], model(other)[:, :5])
    assert (model(x)[:, 5:] != model(other)[:, 5:]).any()
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[:, 4].pow(3).sum(), x)  # the plain sum of a norm is constant
    assert gradient[:, :5].abs().amin() > 0 and not gradient[:, 5:].any()


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_sequence_ignores_the_others_of_its_batch(positions: str) -> None:
    model, x = drawn(positions=positions), some(4, 8, 3)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("readout", ["last", "every"])
@pytest.mark.parametrize("positions", POSITIONS)
def test_padding_changes_no_number(positions: str, readout: str) -> None:
    network = AttentionNetwork([drawn(positions=positions)], 2, readout=readout, input="values")  # type: ignore[arg-type]
    x, lengths = some(3, 9, 3), torch.tensor([9, 4, 1])
    output, states = network(x, None, lengths)
    assert states == []
    for i, n in enumerate(lengths.tolist()):
        alone = network(x[i : i + 1, :n])[0][0]
        padded = output[i] if readout == "last" else output[i, :n]
        torch.testing.assert_close(padded, alone, rtol=1e-12, atol=1e-12)
    other = x.clone()
    other[1, 4:], other[2, 1:] = 1e6, -1e6
    again, _ = network(other, None, lengths)
    assert torch.equal(
        output[1] if readout == "last" else output[1, :4], again[1] if readout == "last" else again[1, :4]
    )


@pytest.mark.parametrize("positions", POSITIONS)
def test_every_parameter_gets_a_gradient(positions: str) -> None:
    model = drawn(positions=positions)
    model(some(2, 8, 3)).pow(3).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_computes_in_its_own_precision(dtype: torch.dtype) -> None:
    for positions in POSITIONS:
        model, x = drawn(positions=positions).to(dtype), some(2, 8, 3).to(dtype)
        assert model(x).dtype == dtype
        torch.testing.assert_close(model(x).double(), model.double()(x.double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("inputs", "hidden"), [(3, 6), (6, 6), (1, 16)])
def test_the_docstring_has_its_size(inputs: int, hidden: int) -> None:
    formulas = model_registry.model_formulas(model_registry.model_docstring("transformer"))
    names = model_registry.model_entry("transformer").resolve({}) | {"inputs": inputs, "hidden": hidden}
    assert evaluate(formulas["parameters"], names) == count_parameters(drawn(hidden, inputs).parameters())
    matrices = sum(p.numel() for p in drawn(hidden, inputs).parameters() if p.dim() == 2)
    assert evaluate(formulas["cost"], names) == matrices


def test_only_the_first_layer_of_a_stack_reads_inputs() -> None:
    upper = drawn(6, 6, layer=1, positions="sinusoidal")
    assert isinstance(upper.encoder, torch.nn.Identity) and not upper.waves


def test_input_flow_is_the_derivative_in_every_input() -> None:
    network = AttentionNetwork([drawn()], 2, readout="last", input="values")
    x, lengths = some(3, 7, 3), torch.tensor([7, 5, 2])
    batch = Batch(x, torch.tensor([0, 1, 1]), lengths=lengths)
    flow = input_flow(network, batch, loss="cross_entropy", which="task")
    for i, n in enumerate(lengths.tolist()):
        one = x[i : i + 1, :n].clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(network(one)[0], batch.targets[i : i + 1])
        (gradient,) = torch.autograd.grad(loss, one)
        torch.testing.assert_close(flow.log_norms[i, :n].exp(), gradient[0].norm(dim=1), rtol=1e-9, atol=1e-12)
        assert flow.log_norms[i, n:].isinf().all()
    assert flow.first == 1 and flow.document()["t"] == list(range(1, 8)) and flow.symbol == "||dL/dx_t||"
