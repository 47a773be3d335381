"""The poster's uRNN keeps its recurrent matrix orthogonal, and its gradients within the slopes of phi."""

import pytest
import torch
from torch import Tensor

from stablebench import registry
from stablebench.models.base import State
from stablebench.models.blocks.activations import Activation
from stablebench.models.recurrent.urnn import URNN
from stablebench.schema.optim import OptimSpec
from stablebench.training.updates.optimiser import Updater


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def test_matrix_starts_orthogonal_and_stays_so_while_training() -> None:
    """The matrix starts orthogonal and stays so while training."""
    model = URNN(2, 12, activation="relu")
    spec = OptimSpec.model_validate({"lr": 0.01, "groups": {"orthogonal": {"lr": 0.1}}})
    updater = Updater(model.parameter_groups(), spec, None)
    start = model.W.detach().clone()
    torch.testing.assert_close(start.T @ start, torch.eye(12), rtol=0, atol=1e-14)
    losses = []
    for step in range(100):
        updater.zero_grad()
        outputs, _ = model(torch.randn(4, 10, 2))
        loss = (outputs - 1).square().mean()
        loss.backward()
        updater.update(step)
        losses.append(loss.item())
    assert (model.W.T @ model.W - torch.eye(12)).abs().max() < 1e-14
    assert (model.W - start).abs().max() > 0.01
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_only_the_recurrent_matrix_starts_otherwise() -> None:
    starts = []
    for recurrent_init in ("orthogonal", "identity"):
        torch.manual_seed(3)
        starts.append(URNN(2, 12, recurrent_init=recurrent_init))
    random, unit = starts
    assert torch.equal(unit.W, torch.eye(12)) and (random.W - unit.W).abs().max() > 0.1
    assert torch.equal(random.V, unit.V) and torch.equal(random.b, unit.b)


def test_from_the_unit_matrix_sequences_agree_on_the_gradient() -> None:
    """Its norm is the same from both starts; its mean over sequences is all but lost from a random matrix.

    From the unit matrix a symbol that comes twice can take a unit to 0 exactly, where its gradient ends.
    """
    agreement = []
    for recurrent_init in ("orthogonal", "identity"):
        torch.manual_seed(0)
        model = URNN(10, 64, recurrent_init=recurrent_init)
        projected = model.input_projection(torch.eye(10)[torch.randint(10, (200, 40))])
        first = h = torch.zeros(200, 64, requires_grad=True)
        for t in range(40):
            (h,) = model.step(projected[:, t], (h,), model.recurrent_weights())
        weights = torch.randn(64)
        (gradient,) = torch.autograd.grad((h @ weights).sum(), [first])
        torch.testing.assert_close(gradient.norm(dim=1).median(), weights.norm())
        agreement.append((gradient.mean(0).norm() / weights.norm()).item())
    assert agreement[0] < 0.15 and agreement[1] > 0.4


def chain(model: URNN, x: Tensor) -> list[State]:
    """Return the states 0 ... T, from a random one, each with its gradient."""
    states: list[State] = [(torch.randn(len(x), model.hidden, requires_grad=True),)]
    W = model.recurrent_weights()
    for projected in model.input_projection(x).unbind(1):
        states.append(model.step(projected, states[-1], W))
    return states


@pytest.mark.parametrize(("activation", "kept"), [("abs", True), ("identity", True), ("relu", False), ("tanh", False)])
def test_gradient_norm_is_kept_exactly_where_slope_is_one(activation: Activation, kept: bool) -> None:
    """The gradient norm is kept exactly where the slope is one."""
    states = chain(URNN(3, 16, activation=activation), torch.randn(5, 40, 3))
    norms = torch.stack([g.norm() for g in torch.autograd.grad(states[-1][0].sum(), [s[0] for s in states])])
    spread = (norms.max() / norms.min() - 1).item()
    assert spread < 1e-12 if kept else spread > 0.1


def test_blank_inputs_keep_the_gradient_norm_too() -> None:
    model = URNN(3, 16)
    states: list[State] = [tuple(s.requires_grad_() for s in model.initial_state(1))]
    for projected in model.input_projection(torch.zeros(1, 5, 3)).unbind(1):
        states.append(model.step(projected, states[-1], model.recurrent_weights()))
    norms = [g.norm().item() for g in torch.autograd.grad(states[-1][0].sum(), [s[0] for s in states])]
    assert norms == pytest.approx([4.0] * 6)  # of a vector of sixteen ones


@pytest.mark.parametrize(
    ("activation", "alpha", "beta"),
    [("abs", 1, 1), ("identity", 1, 1), ("leaky_relu", 0.01, 1), ("relu", 0, 1), ("tanh", 0, 1)],
)
@pytest.mark.parametrize("steps", [1, 4])
def test_singular_values_lie_between_powers_of_the_slopes(
    activation: Activation, alpha: float, beta: float, steps: int
) -> None:
    model = URNN(3, 8, activation=activation)
    x = 3 * torch.randn(1, steps, 3)

    def last(h: Tensor) -> Tensor:
        return model(x, (h[None],))[1][0][0]

    jacobian = torch.autograd.functional.jacobian(last, torch.randn(8))
    assert isinstance(jacobian, Tensor)
    values = torch.linalg.svdvals(jacobian)
    assert alpha**steps - 1e-13 <= values.min() and values.max() <= beta**steps + 1e-13
    if activation == "leaky_relu":  # both ends are reached or nearly so: some units on either side at each step
        assert values.min() < 0.3 and values.max() > 0.3


RECIPES = [name for name in registry.recipe_names() if name.endswith(("/urnn", "/ugru"))]


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_the_posters_and_move_the_matrix(name: str) -> None:
    """The update takes gradients as they are, so that a rate which is small next to Adam's leaves the matrix still."""
    task, _, model = name.partition("/")
    recipe = registry.recipe(task, model)
    assert recipe is not None
    for part in (recipe, *recipe.variants):
        assert part.params.get("activation", "abs") in ("abs", "relu", "leaky_relu")
        assert part.optim.get("groups", recipe.optim["groups"])["orthogonal"]["lr"] >= 1e-3
