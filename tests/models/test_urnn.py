"""The poster's uRNN keeps its recurrent matrix orthogonal and, with |phi'| = 1, the norm of the gradient."""

import pytest
import torch

from stablebench.models.recurrent.urnn import URNN
from stablebench.schema.optim import OptimSpec
from stablebench.training.optimisers import Updater


def test_the_matrix_stays_orthogonal_while_training() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    model = URNN(2, 12, activation="relu")
    spec = OptimSpec.model_validate({"lr": 0.01, "groups": {"orthogonal": {"lr": 0.1}}})
    updater = Updater(model.parameter_groups(), spec, None)
    start = model.W.detach().clone()
    for step in range(100):
        updater.zero_grad()
        outputs, _ = model(torch.randn(4, 10, 2))
        (outputs - 1).square().mean().backward()
        updater.update(step)
    assert (model.W.T @ model.W - torch.eye(12)).abs().max() < 1e-13
    assert (model.W - start).abs().max() > 0.01


@pytest.mark.parametrize(("activation", "kept"), [("abs", True), ("identity", True), ("relu", False), ("tanh", False)])
def test_the_gradient_norm_is_kept_exactly_where_the_slope_is_one(activation: str, kept: bool) -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    model = URNN(3, 16, activation=activation)  # pyright: ignore[reportArgumentType]
    states = [tuple(s.requires_grad_() for s in model.initial_state(5))]
    W, drives = model.transition(), model.drive(torch.randn(5, 40, 3))
    for drive in drives.unbind(1):
        states.append(model.step(drive, states[-1], W))
    norms = torch.stack([g.norm() for g in torch.autograd.grad(states[-1][0].sum(), [s[0] for s in states])])
    spread = (norms.max() / norms.min() - 1).item()
    assert spread < 1e-12 if kept else spread > 0.1
