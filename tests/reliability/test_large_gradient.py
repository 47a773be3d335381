"""A gradient whose squares pass its type is measured and clipped all the same; any other as torch does it."""

import math
from pathlib import Path

import odd_models
import pytest
import torch
from tiny_runs import curve, run, tiny
from torch import Tensor, nn

from stablebench.models import registry as model_registry
from stablebench.models.base import ParameterGroup
from stablebench.schema.optim import OptimSpec
from stablebench.training.updates.optimiser import Updater


def updater_of(gradients: list[Tensor], clip: float | None, name: str = "adam", rule: str = "optimiser") -> Updater:
    parameters = [nn.Parameter(torch.eye(5) if rule != "optimiser" else torch.zeros_like(g)) for g in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    group = ParameterGroup("main", parameters, rule)  # pyright: ignore[reportArgumentType]
    return Updater([group], OptimSpec.model_validate({"name": name, "clip_norm": clip}), None)


def left(updater: Updater) -> float:
    """Return the norm of what is left of the gradient, in float64."""
    gradients = [p.grad for p in updater.parameters if p.grad is not None]
    parts = [torch.view_as_real(g) if g.is_complex() else g for g in gradients]
    return math.sqrt(sum(part.double().square().sum().item() for part in parts))


@pytest.mark.parametrize(
    "gradients",
    [
        [torch.full((1000,), 1e20)],
        [torch.full((10, 50), 1e20), torch.zeros(3), torch.full((500,), -1e20), torch.full((2,), 1e-20)],
        [torch.full((500,), 1e20 + 1e20j)],
        [torch.full((1000,), 1e200, dtype=torch.float64)],
        [torch.full((1000,), 3e38)],  # the norm itself passes float32
    ],
    ids=["one", "several", "complex", "float64", "beyond"],
)
@pytest.mark.parametrize("name", ["adam", "rmsprop", "adagrad", "sgd"])
def test_a_finite_gradient_is_clipped_however_large_it_is(gradients: list[Tensor], name: str) -> None:
    updater = updater_of(gradients, 1.0, name)
    assert updater.gradient_norm().item() == math.inf
    norm = updater.norm_of_large()
    largest = max(torch.view_as_real(g).max().item() if g.is_complex() else g.max().item() for g in gradients)
    assert norm == pytest.approx(largest * math.sqrt(1000), rel=1e-6)
    assert left(updater) == pytest.approx(1.0, rel=1e-5)


def test_the_clipped_gradient_keeps_its_direction() -> None:
    gradient = torch.tensor([3e20, -4e20])
    updater = updater_of([gradient], 10.0)
    updater.gradient_norm()
    assert updater.norm_of_large() == pytest.approx(5e20)
    assert updater.parameters[0].grad is not None
    torch.testing.assert_close(updater.parameters[0].grad, torch.tensor([6.0, -8.0]))


@pytest.mark.parametrize("bad", [math.inf, -math.inf])
def test_an_infinite_entry_stays_infinite(bad: float) -> None:
    updater = updater_of([torch.tensor([1.0, bad])], 1.0)
    assert updater.gradient_norm().item() == math.inf
    assert updater.norm_of_large() == math.inf


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 0.5, 1.0, 7.3, 1e6, 1e18])
@pytest.mark.parametrize("rule", ["optimiser", "exponential"])
def test_ordinary_gradient_is_clipped_as_torch_does_it(scale: float, rule: str) -> None:
    """An ordinary gradient is clipped as torch does it bit for bit."""
    rng = torch.Generator().manual_seed(0)
    gradients = [scale * torch.randn(5, 5, generator=rng) for _ in range(3)]
    updater = updater_of(gradients, 1.0, rule=rule)
    reference = [nn.Parameter(torch.zeros(5, 5)) for _ in gradients]
    for parameter, gradient in zip(reference, gradients, strict=True):
        parameter.grad = gradient.clone()
    assert torch.equal(updater.gradient_norm(), nn.utils.clip_grad_norm_(reference, 1.0))
    for ours, theirs in zip(updater.parameters, reference, strict=True):
        assert ours.grad is not None and theirs.grad is not None
        assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("clip", [1.0, None])
def test_large_gradient_goes_on_where_it_is_clipped(clip: float | None, tmp_path: Path) -> None:
    """A run with a large gradient goes on where it is clipped and else says why it ends."""
    name = odd_models.named("Steep")
    model_registry.model_entry(name)
    folder = run(tiny(name, "copy", **{"optim.clip_norm": clip, "train.steps": 10}), tmp_path)
    record = folder.read_record()
    if clip is None:
        assert record.status == "diverged" and record.step == 0
        assert record.error == (
            "the gradient norm is 6e+20 in update 1: its square passes float32; `optim.clip_norm` would bound it"
        )
        return
    assert record.status == "finished"
    (line,) = [line for line in curve(folder) if line["split"] == "train"]
    assert line["gradient_norm"] == pytest.approx(6e20) and line["gradient_norm_max"] >= line["gradient_norm"]


def test_spike_between_two_lines_of_the_curve_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spike of the gradient between two lines of the curve is recorded."""
    from stablebench.training.step import TrainingStep

    gradients = TrainingStep.gradients

    def spiky(step: TrainingStep, parts: object) -> tuple[Tensor, Tensor]:
        loss, norm = gradients(step, parts)  # pyright: ignore[reportArgumentType]
        return loss, norm * 1e6 if step.state.step == 13 else norm

    monkeypatch.setattr(TrainingStep, "gradients", spiky)
    first, second = [line for line in curve(run(tiny(), tmp_path)) if line["split"] == "train"]
    assert second["gradient_norm_max"] > 1e4 * second["gradient_norm"]
    assert first["gradient_norm_max"] < 100 * first["gradient_norm"]
