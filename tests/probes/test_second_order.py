"""Products by recurrences over the steps are those of the whole graph, and what has no second derivative is refused."""

import copy

import pytest
import torch
from probe_networks import stack
from torch.autograd.function import once_differentiable

from stablebench.data.batch import Batch
from stablebench.errors import UserError
from stablebench.models import recurrent_model
from stablebench.models.base import RecurrentModel
from stablebench.models.network import Network
from stablebench.probes.chain import Chain, frozen
from stablebench.probes.curvature import curvature
from stablebench.probes.forward_rules import forward_squares
from stablebench.probes.gradient_flow import summed
from stablebench.probes.lanczos import largest_eigenvalue
from stablebench.probes.linearised import Linearised
from stablebench.probes.measurements import ChainMeasurements
from stablebench.probes.second_order import GraphProducts, SweepProducts
from stablebench.probes.sensitivity import sensitivity

NAMES = [("rnn", 1), ("lstm", 2), ("cornn", 1), ("dizzy", 2), ("hippo_legs", 1), ("urnn_arjovsky", 1), ("lru", 2)]


@pytest.mark.parametrize(("name", "layers"), NAMES)
def test_recurrences_give_the_products_of_the_whole_graph(
    name: str, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stablebench.probes.second_order.deep_model.run_layers", recurrent_model.run_steps)
    batch = Batch(torch.randint(5, (3, 7)), torch.randint(3, (3, 7)))
    network = frozen(stack(name, layers, 7)).requires_grad_()
    other = copy.deepcopy(network)
    with torch.enable_grad():
        ours = SweepProducts(network, batch, summed("cross_entropy"), list(network.parameters()))
        whole = GraphProducts(other, batch, summed("cross_entropy"), list(other.parameters()))
        v = torch.randn(len(ours.gradient))
        for one, reference in [
            (ours.gradient, whole.gradient),
            (ours.hessian(v), whole.hessian(v)),
            (ours.gauss_newton(v), whole.gauss_newton(v)),
            (ours.sample_gradients(), whole.sample_gradients()),
        ]:
            torch.testing.assert_close(one, reference, rtol=1e-9, atol=1e-12 * float(reference.abs().max()))


@pytest.mark.parametrize(("name", "layers"), NAMES)
def test_sensitivity_is_that_of_forward_mode(name: str, layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over pieces of 3 of the 8 steps, the last of which is shorter."""
    monkeypatch.setattr("stablebench.probes.sensitivity._STEPS_AT_ONCE", 3)
    network, inputs = frozen(stack(name, layers, 6)), torch.randint(5, (3, 8))
    result = sensitivity(network, inputs)
    assert result is not None
    below = {key: p for key, p in network.named_parameters() if not key.startswith("head.")}
    rng = torch.Generator().manual_seed(0)
    for row in result.squares:
        flat = torch.randn(sum(p.numel() for p in below.values()), generator=rng, dtype=torch.float64)
        pieces = flat.split([p.numel() for p in below.values()])
        direction = {k: u.view(p.shape).to(p.dtype) for (k, p), u in zip(below.items(), pieces, strict=True)}
        torch.testing.assert_close(row, forward_squares(network, inputs, direction), rtol=1e-10, atol=1e-14)


def test_inputs_of_a_step_that_counts_by_its_first_row() -> None:
    """HiPPO-LegS takes k of the first row for all rows, so that rows of different steps cannot be one batch."""
    batch = Batch(torch.randint(5, (3, 7)), torch.randint(3, (3, 7)))
    for name in ("hippo_legs", "rnn"):
        evidence = ChainMeasurements(stack(name, 1, 7), batch, "cross_entropy", 2)
        inputs = evidence.flow("last").log_input_norms
        assert inputs is not None
        torch.testing.assert_close(inputs, evidence.last_loss_log_input_norms, rtol=0, atol=1e-6)


def test_recurrences_are_products_with_the_jacobians() -> None:
    """Of d_t = J_t d_{t-1} + e_t and of g_t = J_{t+1}^T g_{t+1} + c_t, written out with dense J_t."""
    chain = Chain(frozen(stack("lstm", 1, 4)), torch.randint(5, (1, 6)))
    states = chain.states()
    piece = Linearised(chain, 3, states[2], 4)
    torch.testing.assert_close(piece.states, states[3:])
    J: list[torch.Tensor] = []
    for t in range(3, 7):
        dense = torch.autograd.functional.jacobian(lambda s, t=t: chain.step(t, s)[0], states[t - 1])
        assert isinstance(dense, torch.Tensor)
        J.append(dense[:, 0])
    e, c, d = torch.randn(4, 1, 8), torch.randn(4, 1, 8), torch.randn(1, 8)
    moved, expected = d[0], []
    for J_t, e_t in zip(J, e, strict=True):
        moved = J_t @ moved + e_t[0]
        expected.append(moved)
    torch.testing.assert_close(piece.push(e, d)[:, 0], torch.stack(expected), rtol=1e-12, atol=1e-14)
    pulled, backwards = torch.zeros(8), []
    for J_t, c_t in zip(reversed(J), c.flip(0), strict=True):
        backwards.append(pulled + c_t[0])
        pulled = J_t.T @ backwards[-1]
    own, begin = piece.pull(c)
    torch.testing.assert_close(own[:, 0], torch.stack(backwards[::-1]), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(begin[0], pulled, rtol=1e-12, atol=1e-14)


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x

    @staticmethod
    @once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: torch.Tensor) -> torch.Tensor:
        return 0.5 * grads[0]


class Once(RecurrentModel):
    """A step that is differentiated once."""

    def __init__(self, in_features: int, hidden: int, *, in_weights: bool) -> None:
        super().__init__(in_features, hidden)
        self.in_weights = in_weights
        self.W, self.V = torch.nn.Linear(hidden, hidden), torch.nn.Linear(in_features, hidden)

    def recurrent_weights(self) -> torch.Tensor:
        return _Once.apply(self.W.weight.T) if self.in_weights else self.W.weight.T  # pyright: ignore

    def step(self, projected: torch.Tensor, state: tuple[torch.Tensor, ...], recurrent_weights: torch.Tensor):
        h = state[0] @ recurrent_weights + self.V(projected)
        return (torch.tanh(h if self.in_weights else _Once.apply(h)),)  # pyright: ignore


@pytest.mark.parametrize("in_weights", [True, False])
def test_what_is_differentiated_once_is_refused(in_weights: bool) -> None:
    """Left out, it would make the curvature wrong without a message."""
    network = frozen(Network([Once(2, 4, in_weights=in_weights)], 2, readout="last", input="values"))
    with pytest.raises(UserError, match="Once has no second derivative: a function is marked with @once_differ"):
        curvature(network, Batch(torch.randn(3, 5, 2), torch.randint(2, (3,))), loss="cross_entropy")
    with pytest.raises(NotImplementedError):  # nor has it a forward derivative
        sensitivity(network, torch.randn(3, 5, 2))


def spectrum(values: torch.Tensor) -> torch.Tensor:
    Q = torch.linalg.qr(torch.randn(len(values), len(values))).Q
    return Q @ torch.diag(values.to(Q)) @ Q.T


@pytest.mark.parametrize(
    "values",
    [
        torch.linspace(-1, 1, 60),
        torch.linspace(-5, -1, 60),
        torch.cat([torch.tensor([-9.0]), torch.zeros(50), torch.tensor([0.5])]),
        torch.cat([torch.linspace(0, 1, 80), torch.tensor([1.02, 1.05])]),
        torch.ones(20),
        torch.tensor([3.0, -1.0, 2.0]),
    ],
)
def test_the_largest_eigenvalue_is_within_a_thousandth(values: torch.Tensor) -> None:
    A = spectrum(values)
    products: list[torch.Tensor] = []

    def product(v: torch.Tensor) -> torch.Tensor:
        products.append(v)
        return A @ v

    value, vector = largest_eigenvalue(product, [torch.randn(len(A))])
    assert value == pytest.approx(values.max().item(), rel=1e-3)
    assert vector is not None and vector.norm().item() == pytest.approx(1)
    assert (vector @ A @ vector).item() == pytest.approx(value, rel=1e-6)
    assert len(products) < max(9, len(A))


def test_starts_of_zeros_and_matrices_of_zeros() -> None:
    A = spectrum(0.9 ** torch.arange(30))
    assert largest_eigenvalue(lambda v: A @ v, [torch.zeros(30)])[0] == pytest.approx(1, rel=1e-3)
    assert largest_eigenvalue(lambda v: 0 * v, [torch.zeros(30)]) == (0.0, None)
    cut = torch.diag(torch.tensor([0.0] * 10 + [2.0] * 10))
    assert largest_eigenvalue(lambda v: cut @ v, [torch.eye(20)[0]])[0] == pytest.approx(2)


def test_what_does_not_converge_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stablebench.probes.lanczos._MAX_PRODUCTS", 4)
    A = spectrum(torch.linspace(0, 1, 200))
    with pytest.raises(UserError, match="did not converge in 4 products"):
        largest_eigenvalue(lambda v: A @ v, [torch.randn(200)])
