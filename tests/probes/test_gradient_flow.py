import json
import math

import pytest
import torch
from probe_networks import emitting_stack, linear_network, stack, still_batch
from torch import Tensor, nn

from stablebench.data.batch import Batch
from stablebench.models.network import Network
from stablebench.probes.chain import Chain, frozen
from stablebench.probes.gradient_flow import GradientFlow, Loss, gradient_flow


def flow_of(network: Network, batch: Batch, which: Loss = "task", loss: str = "mse") -> GradientFlow:
    network = frozen(network)
    chain = Chain(network, batch.inputs)
    return gradient_flow(network, chain, chain.states(), batch, loss=loss, which=which)


@pytest.mark.parametrize("a", [0.5, 1.0, 1.5])
def test_a_scalar_chain_gives_a_to_the_t_far_beyond_float64(a: float) -> None:
    steps = 5000
    flow = flow_of(linear_network(torch.tensor([[a]])), still_batch(3, steps))
    back = torch.arange(steps, -1, -1)
    expected = math.log(2) + back * math.log(a)
    torch.testing.assert_close(flow.log_norms, expected.expand(3, -1), rtol=1e-13, atol=1e-10)
    rate = flow.growth_rate()
    assert rate.mean == pytest.approx(math.log(a), abs=1e-13)
    assert rate.interval_95 is not None and rate.interval_95 == pytest.approx((math.log(a),) * 2, abs=1e-12)
    assert flow.log10_first_over_last() == pytest.approx(steps * math.log10(a), abs=1e-9)
    assert flow.zeros() == [0] * (steps + 1)


def gradient_by_restart(network: Network, batch: Batch, k: int, weights: Tensor) -> Tensor:
    """Norms of the derivative of sum_t weights_t loss_t in all states at step k, the network restarted from there."""
    start = [
        tuple(part.clone() for part in layer.initial_state(len(batch.inputs))) for layer in network.recurrent_layers
    ]
    states = network(batch.inputs[:, :k])[1] if k else start
    leaves = [tuple(part.detach().requires_grad_() for part in state) for state in states]
    scores = network(batch.inputs[:, k:], leaves)[0]
    if k:
        joined = torch.cat([part for state in leaves for part in state], dim=1)
        here = network.head(Chain(network, batch.inputs).outputs(joined[None], first=k))
        scores = torch.cat([here.transpose(0, 1), scores], dim=1)
    counted = slice(max(k - 1, 0), None)
    losses = nn.functional.cross_entropy(scores.transpose(1, 2), batch.targets[:, counted], reduction="none")
    flat = [part for state in leaves for part in state]
    parts = torch.autograd.grad((losses * weights[:, counted]).sum(), flat, allow_unused=True)
    found = [torch.zeros_like(p) if g is None else g for p, g in zip(flat, parts, strict=True)]
    return torch.cat(found, dim=1).norm(dim=1)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", ["rnn", "dizzy", "lstm", "cornn", "emitting"])
@pytest.mark.parametrize("which", ["task", "last"])
def test_norms_are_those_of_autograd_from_a_restart_at_t(name: str, layers: int, which: Loss) -> None:
    """Norms are those of autograd through the network restarted at t."""
    network = emitting_stack(layers) if name == "emitting" else stack(name, layers, 6)
    scored = torch.tensor([[0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 0], [0, 0, 1, 1, 1, 0]], dtype=torch.bool)
    batch = Batch(torch.randint(5, (3, 6)), torch.randint(3, (3, 6)), scored=scored)
    weights = torch.zeros(3, 6)
    if which == "task":
        weights[:] = 1 / 6  # the mean over all steps of one sample
    else:
        weights[:, 4] = 1  # the last scored step is the fifth
    flow = flow_of(network, batch, which, "cross_entropy")
    last = 6 if which == "task" else 5
    assert flow.log_norms.shape == (3, last + 1)
    for k in range(6):
        expected = gradient_by_restart(network, batch, k, weights)
        torch.testing.assert_close(flow.log_norms[:, k].exp(), expected, rtol=1e-10, atol=1e-14)


def test_a_sample_has_the_same_gradient_in_a_batch_of_any_size() -> None:
    network = stack("rnn", 1, 6)
    batch = Batch(torch.randint(5, (3, 6)), torch.randint(3, (3, 6)))
    alone = flow_of(network, Batch(batch.inputs[1:2], batch.targets[1:2]), loss="cross_entropy")
    together = flow_of(network, batch, loss="cross_entropy")
    torch.testing.assert_close(together.log_norms[1:2], alone.log_norms, rtol=1e-12, atol=1e-12)


def test_the_mask_decides_what_a_samples_loss_averages() -> None:
    network = stack("rnn", 1, 6)
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[0, 2:4] = mask[1, 5] = True
    batch = Batch(torch.randint(5, (2, 6)), torch.randint(3, (2, 6)), mask)
    flow = flow_of(network, batch, loss="cross_entropy")
    expected = gradient_by_restart(network, batch, 0, mask / mask.sum(1, keepdim=True))
    torch.testing.assert_close(flow.log_norms[:, 0].exp(), expected, rtol=1e-10, atol=1e-14)
    assert flow.log_norms[0, 5:].isneginf().all()  # nothing is read from there
    assert flow.zeros()[5:] == [1, 1]


def test_a_gradient_of_exactly_zero_is_null_and_counted() -> None:
    network = linear_network(torch.eye(2), "relu")
    with torch.no_grad():
        network.get_parameter("layers.0.b").fill_(-1.0)  # every unit is dead
    flow = flow_of(network, still_batch(4, 9))
    assert flow.zeros() == [4] * 9 + [0]
    assert flow.growth_rate().mean is None and flow.log10_first_over_last() is None
    document = flow.document()
    assert document["log10_norm"]["median"][:9] == [None] * 9
    assert document["log10_norm"]["median"][9] == pytest.approx(math.log10(2 * math.sqrt(2)))
    json.dumps(document, allow_nan=False)


def test_the_interval_comes_from_the_spread_of_samples() -> None:
    slopes = torch.tensor([0.1, 0.2, 0.4])
    flow = GradientFlow("task", -slopes[:, None] * torch.arange(11))
    rate = flow.growth_rate()
    assert rate.mean == pytest.approx(0.7 / 3)
    assert rate.standard_error == pytest.approx(0.0881917)  # 0.152753 / sqrt(3)
    # the 97.5 % point of Student's t with 2 degrees of freedom is 4.30265
    assert rate.interval_95 == pytest.approx((0.7 / 3 - 4.30265 * 0.0881917, 0.7 / 3 + 4.30265 * 0.0881917), rel=1e-5)


def test_the_quantiles_are_those_of_the_samples() -> None:
    logs = torch.arange(21)[:, None] * math.log(10)
    rows = GradientFlow("task", logs).quantiles()
    assert (rows["median"], rows["p5"], rows["p95"]) == (
        pytest.approx([10.0]),
        pytest.approx([1.0]),
        pytest.approx([19.0]),
    )
