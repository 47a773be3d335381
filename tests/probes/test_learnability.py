"""Signal and noise by lag against closed forms, and against every sample's own gradient."""

import json
import math

import pytest
import torch
from probe_networks import linear_network, stack

from stablebench.data.batch import Batch
from stablebench.models.network import AnyNetwork
from stablebench.probes.chain import chain_of, frozen
from stablebench.probes.learnability import Learnability, chosen_lags, learnability


def of(network: AnyNetwork, batch: Batch, loss: str) -> Learnability:
    network = frozen(network)
    chain = chain_of(network, batch.inputs)
    found = learnability(network, chain, chain.states(), batch, loss=loss, which="last")
    assert found is not None
    return found


@pytest.mark.parametrize("a", [0.5, 0.999])
def test_a_scalar_with_a_constant_state_has_one_ratio(a: float) -> None:
    # h = 1 at all steps, so that C_k,i = 2 r_i a^k (1, 1 - a, 1) with the residual r_i
    network, steps = linear_network(torch.tensor([[a]])), 1500
    with torch.no_grad():
        network.get_parameter("layers.0.V").fill_(1.0)
    residuals = torch.tensor([1.0, 2.0] * 8)
    inputs = torch.full((16, steps, 1), 1 - a)
    inputs[:, 0] = 1
    found = of(network, Batch(inputs, 1 - residuals[:, None]), "mse")
    pairs = (residuals.sum() ** 2 - residuals.square().sum()) / (16 * 15)
    whole = residuals.square().mean()
    expected = (pairs / (whole - pairs)).item()
    assert found.lags[0] == 0 and found.lags[-1] == steps - 1
    torch.testing.assert_close(found.snr[:-1], torch.full((len(found.lags) - 1,), expected), rtol=1e-9, atol=0)
    logs = torch.tensor(found.lags[:-1]) * math.log(a)
    torch.testing.assert_close(found.log_rms[:-1] - found.log_rms[0], logs, rtol=1e-9, atol=1e-9)
    assert found.window(1) == steps - 1 if expected >= 1 else found.window(1) is None
    assert found.needed[3].item() == pytest.approx(1 / expected)
    json.dumps(found.document(), allow_nan=False)


def test_signal_and_noise_are_those_of_the_samples_own_gradients() -> None:
    network = stack("rnn", 1, 4)
    batch = Batch(torch.randint(5, (5, 4)), torch.randint(3, (5, 4)))
    found = of(network, batch, "cross_entropy")
    cold = frozen(network)
    own = []
    for i in range(5):  # the last step's own part, whose state before it is held
        chain = chain_of(cold, batch.inputs[i : i + 1])
        states = chain.states()
        traced = chain.trace(4, states[3])
        with torch.enable_grad():
            scores = cold.head(chain.outputs(traced.after[None], 4))[0]
            total = torch.nn.functional.cross_entropy(scores, batch.targets[i : i + 1, 3])
            parts = torch.autograd.grad(total, traced.used, allow_unused=True)
        own.append(torch.cat([p.flatten() for p in parts if p is not None]))
    rows = torch.stack(own)
    gram = rows @ rows.T
    off = gram[~torch.eye(5, dtype=torch.bool)]
    whole = gram.diagonal().mean()
    assert found.signal[0].item() == pytest.approx((off.mean() / whole).item(), rel=1e-9)
    assert found.error[0].item() == pytest.approx((2 / 20 * off.square().mean() / whole**2).sqrt().item(), rel=1e-9)
    assert found.log_rms[0].item() == pytest.approx(whole.log().item() / 2, rel=1e-9)


def test_noise_alone_shows_no_signal() -> None:
    signal = torch.tensor([0.02, -0.3, 0.9])
    found = Learnability("last", 8, (0, 1, 2), signal, torch.full((3,), 0.05), torch.zeros(3))
    assert found.resolved.tolist() == [False, False, True] and found.snr[:2].isnan().all()
    assert found.window(1) == 2 and found.needed[2].item() == pytest.approx(1 / 9)
    assert found.document()["signal_to_noise"][:2] == [None, None]


def test_lags_are_all_of_a_short_chain_and_some_of_a_long_one() -> None:
    assert chosen_lags(9) == set(range(10)) and chosen_lags(0) == {0}
    lags = chosen_lags(9999)
    assert set(range(16)) <= lags and 9999 in lags and len(lags) <= 48


def test_one_sample_or_nothing_trained_has_none() -> None:
    network = frozen(stack("rnn", 1, 4))
    for name, samples in (("rnn", 1), ("leaky_esn", 3)):
        network = frozen(stack(name, 1, 4))
        batch = Batch(torch.randint(5, (samples, 4)), torch.randint(3, (samples, 4)))
        chain = chain_of(network, batch.inputs)
        states = chain.states()
        assert learnability(network, chain, states, batch, loss="cross_entropy", which="task") is None
