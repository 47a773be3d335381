"""BN-LSTM: the equation in training and in evaluation, and what becomes of the statistics."""

import copy

import pytest
import torch
from torch import Tensor

from stablebench.models.network import Network
from stablebench.models.recurrent.bn_lstm import BNLSTM


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def model_of(**arguments: object) -> BNLSTM:
    model = BNLSTM(2, 3, horizon=6, **arguments)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        for parameter in (model.b, model.gamma_h, model.gamma_x, model.gamma_c, model.beta_c):
            parameter.copy_(torch.randn_like(parameter))
    return model


def literal(model: BNLSTM, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the outputs in training, and what is normalised at each step, (batch, 9 hidden)."""
    normalised: list[list[Tensor]] = []

    def bn(z: Tensor, gamma: Tensor, beta: Tensor | float = 0.0) -> Tensor:
        normalised[-1].append(z)
        mean = z.sum(0) / len(z)
        variance = ((z - mean) ** 2).sum(0) / len(z)
        return beta + gamma * (z - mean) / torch.sqrt(variance + 1e-5)

    n = model.hidden
    h = c = torch.zeros(len(x), n)
    outputs = []
    for x_t in x.unbind(1):
        normalised.append([])
        gates = bn(h @ model.W_h.T, model.gamma_h) + bn(x_t @ model.W_x.T, model.gamma_x) + model.b
        f, i, o, g = gates[:, :n], gates[:, n : 2 * n], gates[:, 2 * n : 3 * n], gates[:, 3 * n :]
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(bn(c, model.gamma_c, model.beta_c))
        outputs.append(h)
    return torch.stack(outputs, dim=1), [torch.cat(parts, dim=1).detach() for parts in normalised]


def test_in_training_gradients_pass_through_the_statistics() -> None:
    """In training it is the equation with gradients through the statistics."""
    model, x = model_of(), torch.randn(5, 6, 2)
    found, expected = model(x)[0], literal(model, x)[0]
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
    weights = torch.randn_like(found)
    ours = torch.autograd.grad((found * weights).sum(), list(model.parameters()))
    theirs = torch.autograd.grad((expected * weights).sum(), list(model.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)  # h_0 = 0 has no variance: divided by sqrt(epsilon)


def test_in_training_features_have_mean_0_deviation_gamma() -> None:
    """In training features have mean zero and deviation gamma at every step."""
    model, x = BNLSTM(2, 3, horizon=6, gamma=0.1), 100 * torch.randn(50, 6, 2)
    seen: list[Tensor] = []
    model(x)
    for projected in model.input_projection(x).unbind(1):
        given = torch.native_batch_norm(projected, model.gamma_x, None, None, None, True, 0.0, 1e-5)[0]
        seen.append(given)
    for z in seen:
        torch.testing.assert_close(z.mean(0), torch.zeros(12), rtol=0, atol=1e-12)
        torch.testing.assert_close(z.std(0, correction=0), torch.full((12,), 0.1), rtol=1e-6, atol=0)  # epsilon


def test_evaluation_normalises_each_step_with_its_own_population() -> None:
    model = model_of(momentum=0.1)
    batches = [torch.randn(7, 6, 2) + k for k in range(3)]
    for x in batches:
        model(x)
        model.after_update()
    expected = torch.zeros(2, 6, 27)
    for x in batches:  # three batches with momentum 0.1: still their plain mean
        for t, z in enumerate(literal(model, x)[1]):
            expected[:, t] += torch.stack([z.mean(0), z.var(0, correction=0)]) / 3
    torch.testing.assert_close(model.population, expected, rtol=1e-9, atol=1e-11)

    model.eval()
    x, n = torch.randn(2, 8, 2), 3
    found, _ = model(x)
    h = c = torch.zeros(2, n)
    for t in range(8):
        mean, variance = expected[:, min(t, 5)]  # the last one's from there on
        scale = 1 / torch.sqrt(variance + 1e-5)
        a, b, d = slice(0, 4 * n), slice(4 * n, 8 * n), slice(8 * n, 9 * n)
        recurrent = (h @ model.W_h.T - mean[a]) * scale[a] * model.gamma_h
        inputs = (x[:, t] @ model.W_x.T - mean[b]) * scale[b] * model.gamma_x
        f, i, o, g = (recurrent + inputs + model.b).split(n, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh((c - mean[d]) * scale[d] * model.gamma_c + model.beta_c)
        torch.testing.assert_close(found[:, t], h, rtol=1e-9, atol=1e-11)


def test_population_moves_with_momentum_after_enough_updates() -> None:
    """The population moves with the momentum after enough updates."""
    model = model_of(momentum=0.25)
    x = torch.randn(7, 6, 2)
    for _ in range(4):
        model(torch.randn(7, 6, 2))
        model.after_update()
    before = model.population.clone()
    model(x)
    model.after_update()
    z = torch.stack(literal(model, x)[1])
    batch = torch.stack([z.mean(1), z.var(1, correction=0)])
    torch.testing.assert_close(model.population, before + 0.25 * (batch - before), rtol=1e-9, atol=1e-11)


def test_training_and_evaluation_agree_once_population_is_batch() -> None:
    """Training and evaluation agree once the population is the batch."""
    model, x = model_of(), torch.randn(9, 6, 2)
    trained, _ = model(x)
    model.after_update()
    torch.testing.assert_close(model.eval()(x)[0], trained, rtol=1e-8, atol=1e-9)


def network_of(model: BNLSTM, recompute_every: int | None = None) -> Network:
    return Network([model], 2, readout="last", input="values", recompute_every=recompute_every)


@pytest.mark.parametrize("recompute_every", [1, 4])
def test_recomputing_for_gradient_counts_once(recompute_every: int) -> None:
    """Recomputing for the gradient counts once and changes nothing."""
    model, x = model_of(), torch.randn(5, 6, 2)
    twin = copy.deepcopy(model)
    torch.manual_seed(1)
    whole = network_of(model)
    torch.manual_seed(1)
    pieces = network_of(twin, recompute_every)
    for network in (whole, pieces):
        network(x)[0].square().sum().backward()
        network.after_update()
    assert torch.equal(twin.updates, torch.ones(6))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[name], value, rtol=1e-12, atol=1e-13)
    for mine, other in zip(twin.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-9, atol=1e-11)


def test_only_training_with_gradients_leaves_statistics() -> None:
    model, x = model_of(), torch.randn(5, 6, 2)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        model(x)
    model.eval()
    model(x)
    model.after_update()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_steps_that_were_not_seen_keep_their_statistics() -> None:
    model = model_of()
    model(torch.randn(5, 2, 2))
    model.after_update()
    assert model.updates.tolist() == [1, 1, 0, 0, 0, 0]
    assert (model.population[0, 2:] == 0).all() and (model.population[1, 2:] == 1).all()


def test_noise_starts_the_state_in_training_alone() -> None:
    model = BNLSTM(2, 200, horizon=6, noise=0.3)
    h, c, t = model.initial_state(50)
    assert abs(h.std().item() - 0.3) < 0.01 and not c.any() and not t.any()  # 10,000 draws: 0.002 is one deviation
    assert not model.eval().initial_state(50)[0].any()


def test_small_gammas_keep_gradients_in_bounds() -> None:
    """Small gammas keep gradients in bounds where large ones do not."""
    norms: dict[float, float] = {}
    for gamma in (0.1, 1.0):
        torch.manual_seed(0)
        model = BNLSTM(4, 64, horizon=60, gamma=gamma)
        x, (_, *rest) = torch.randn(32, 60, 4), model.initial_state(32)
        h = (0.1 * torch.randn(32, 64)).requires_grad_()
        last = model(x, (h, *rest))[0][:, -1]
        (gradient,) = torch.autograd.grad((last * torch.randn_like(last)).sum() / last.norm(), h)
        norms[gamma] = gradient.norm().item()
    assert 0.1 < norms[0.1] < 10 and norms[1.0] > 20 * norms[0.1]  # 1.5 and 366
