"""The chain over layers: closed forms, widths that change, states beside each other, and theorem 2.1 on it."""

import math

import pytest
import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.models.base import DeepModel, LayerGroup, State
from stablebench.models.deep.highway import Highway
from stablebench.models.deep.mlp import Mlp
from stablebench.models.deep.roafnn import RoaFNN
from stablebench.models.deep_network import DeepNetwork
from stablebench.probes.chain import chain_of, frozen
from stablebench.probes.gradient_flow import gradient_flow
from stablebench.probes.jacobian import jacobian_singular_values
from stablebench.probes.measurements import ClaimVerdict
from stablebench.probes.probe import probe


class Products(DeepModel):
    """h_l = A_l h_{l-1}: the derivative of the last in the first is the product of what stands between."""

    def __init__(self, *layer_groups: Tensor) -> None:
        super().__init__(layer_groups[0].shape[2], layer_groups[-1].shape[1])
        self.matrices = torch.nn.ParameterList(list(layer_groups))

    def layer_groups(self) -> list[LayerGroup]:
        return [LayerGroup((A,)) for A in self.matrices]

    def step(self, layer: tuple[Tensor, ...], state: State, shared: None) -> State:
        return (torch.nn.functional.linear(state[0], layer[0]),)

    def product(self) -> Tensor:
        """A_N ... A_2."""
        first, *rest = [A for group in self.matrices for A in group]
        found = torch.eye(len(first))
        for A in rest:
            found = A.detach() @ found
        return found


def summing(model: DeepModel) -> DeepNetwork:
    """A network whose one output is the sum of the last h."""
    network = DeepNetwork(model, 1)
    with torch.no_grad():
        network.head.weight.fill_(1)  # pyright: ignore
        network.head.bias.zero_()  # pyright: ignore
    return network


WIDTHS = {
    "equal": [(9, 4, 4)],
    "shrinking": [(3, 6, 6), (1, 4, 6), (2, 4, 4), (1, 2, 4)],
    "growing": [(1, 3, 2), (2, 3, 3), (1, 5, 3), (3, 5, 5)],
    "from wide": [(1, 3, 20), (4, 3, 3)],
}


@pytest.mark.parametrize("shapes", WIDTHS.values(), ids=WIDTHS.keys())
def test_the_jacobian_is_the_product_of_the_layers(shapes: list[tuple[int, int, int]]) -> None:
    model = Products(*(torch.randn(*shape) for shape in shapes))
    chain = chain_of(frozen(DeepNetwork(model, 1)), torch.randn(3, model.in_features))
    assert chain.steps == sum(count for count, *_ in shapes)
    assert chain.inner_size == max(outer for _, outer, _ in shapes)
    found = jacobian_singular_values(chain, chain.states())
    expected = torch.linalg.svdvals(model.product())
    rank = min(model.product().shape)
    torch.testing.assert_close(found.logs[:, : len(expected)].exp(), expected.repeat(3, 1), rtol=1e-9, atol=1e-9)
    assert found.logs.shape == (3, chain.inner_size) and (found.logs[:, rank:] < -30).all()  # the rest of the vector


@pytest.mark.parametrize("shapes", WIDTHS.values(), ids=WIDTHS.keys())
def test_gradient_norms_are_those_of_autograd_at_every_layer(shapes: list[tuple[int, int, int]]) -> None:
    model = Products(*(torch.randn(*shape) for shape in shapes))
    network = frozen(summing(model))
    batch = Batch(torch.randn(2, model.in_features), torch.randn(2, 1))
    chain = chain_of(network, batch.inputs)
    logs = gradient_flow(network, chain, chain.states(), batch, loss="mse", which="task").log_norms
    h = batch.inputs.clone().requires_grad_()
    states = [h]
    for A in (A for group in model.matrices for A in group):
        h = h @ A.T
        h.retain_grad()
        states.append(h)
    ((h.sum(1, keepdim=True) - batch.targets) ** 2).sum().backward()
    expected = torch.stack([s.grad.norm(dim=1) for s in states if s.grad is not None], dim=1)
    torch.testing.assert_close(logs.exp(), expected, rtol=1e-10, atol=0)


def test_model_with_its_own_first_layer_begins_at_the_input() -> None:
    """A model with a first layer of its own begins at the input too."""
    network = frozen(DeepNetwork(Highway(3, 5, layers=8), 2))
    x = torch.randn(4, 3)
    chain = chain_of(network, x)
    states = chain.states()
    assert chain.steps == 6 and torch.equal(states[0, :, :3], x)
    torch.testing.assert_close(states[1, :, :5], network.model.embed_input(x)[0])
    torch.testing.assert_close(states[-1, :, :5], network.model(x))


class Pairs(Products):
    """Two states of two widths; the second collects the first's sums."""

    output_state = 1

    def embed_input(self, x: Tensor) -> State:
        return x, torch.zeros_like(x[:, :1])

    def step(self, layer: tuple[Tensor, ...], state: State, shared: None) -> State:
        h = torch.tanh(state[0] @ layer[0].T)
        return h, state[1] + h.sum(1, keepdim=True)

    @property
    def out_features(self) -> int:
        return 1


def test_states_stand_beside_each_other() -> None:
    network = frozen(DeepNetwork(Pairs(torch.randn(5, 3, 3)), 2))
    x = torch.randn(4, 3)
    chain = chain_of(network, x)
    states = chain.states()
    assert chain.size == chain.inner_size == 4 and chain.steps == 6
    output, last = network(x)
    torch.testing.assert_close(states[-1], torch.cat(last, dim=1))
    torch.testing.assert_close(network.head(chain.outputs(states[-1:], 6)[0]), output)
    whole = torch.autograd.functional.jacobian(lambda s: chain.step(3, s[None])[0], states[2, 0])
    pulled = chain.vjp(3, states[2], torch.eye(4)[:, None].expand(4, 4, 4))[:, 0]
    torch.testing.assert_close(pulled, whole)


def findings(model: DeepModel) -> list[ClaimVerdict]:
    network = DeepNetwork(model, 1)
    batch = Batch(5 * torch.randn(3, model.in_features), torch.randn(3, 1))
    return probe(network, batch, loss="mse", samples=3).claims


@pytest.mark.parametrize("widths", [None, [6, 6, 6, 4, 4, 3, 3, 3]], ids=["equal", "shrinking"])
@pytest.mark.parametrize("orthogonal", ["dense", "permutation", "identity"])
def test_theorem_2_1_holds_where_its_hypothesis_does(orthogonal, widths: list[int] | None) -> None:
    model = RoaFNN(2, 3, layers=10, rho=0.2, widths=widths, orthogonal=orthogonal)
    with torch.no_grad():
        model.W[0][0].mul_(100)  # h_1's own weights are no part of dh_T/dh_1
    found = findings(model)
    assert [f.verdict for f in found[:3]] == ["holds"] * 3
    a, N = 0.2 / 9, 7
    behind = [W for Ws in model.W for W in Ws.detach()][1:]
    s = max(torch.linalg.matrix_norm(W, 2).item() for W in behind)
    assert found[0].bound == pytest.approx(N * math.log10(1 + a * (s - 1)))
    assert found[2].bound == pytest.approx(N * math.log10(1 - a * (1 + s)))


def test_lower_bound_does_not_apply_to_growing_widths() -> None:
    """Its lower bound does not apply to growing widths or a large rho."""
    growing = findings(RoaFNN(2, 6, layers=6, rho=0.1, widths=[2, 3, 4, 6]))
    assert [f.verdict for f in growing] == ["holds", "holds", "not applicable", "not applicable"]
    large = findings(RoaFNN(2, 4, layers=6, rho=5.0))
    assert [f.verdict for f in large][2:] == ["not applicable"] * 2


def test_a_filter_that_stretches_violates_the_upper_bound() -> None:
    model = RoaFNN(2, 3, layers=30, rho=0.01)
    with torch.no_grad():
        model.get_buffer("O_1").mul_(1.1)
    assert findings(model)[0].verdict == "violated"


def test_a_filter_that_shrinks_violates_the_lower_bound() -> None:
    model = RoaFNN(2, 3, layers=30, rho=0.01)
    with torch.no_grad():
        model.get_buffer("O_1").mul_(0.9)
    assert [f.verdict for f in findings(model)[2:]] == ["violated"] * 2


def test_one_hidden_layer_has_an_empty_product() -> None:
    found = probe(DeepNetwork(Mlp(2, 3, layers=3), 1), Batch(torch.randn(3, 2), torch.randn(3, 1)), loss="mse")
    assert found.jacobian is not None and found.jacobian.steps == 0
    torch.testing.assert_close(found.jacobian.logs, torch.zeros(3, 3), rtol=0, atol=1e-12)
    assert all(f.verdict in ("holds", "not applicable") for f in findings(RoaFNN(2, 3, layers=3)))
