import math
from pathlib import Path

import numpy as np
import pytest
import torch

from stablebench import registry
from stablebench.data.task import Task, resolve_params
from stablebench.data.tasks import lorenz96
from stablebench.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lorenz96, "COUNTS", {"train": 5, "test": 3})


def derivative(x: list[float], F: float) -> list[float]:
    """Equation 17 of the paper with its indices put right, written out for five variables x1 ... x5."""
    x1, x2, x3, x4, x5 = x
    return [
        (x2 - x4) * x5 - x1 + F,
        (x3 - x5) * x1 - x2 + F,
        (x4 - x1) * x2 - x3 + F,
        (x5 - x2) * x3 - x4 + F,
        (x1 - x3) * x4 - x5 + F,
    ]


def runge_kutta(x: list[float], F: float, points: int, steps_per_point: int) -> np.ndarray:
    """Return the classical fourth-order solution at points 0.01 apart, (points, 5)."""
    h, found = 0.01 / steps_per_point, [x]
    for _ in range(points - 1):
        for _ in range(steps_per_point):
            k1 = derivative(x, F)
            k2 = derivative([a + h / 2 * b for a, b in zip(x, k1, strict=True)], F)
            k3 = derivative([a + h / 2 * b for a, b in zip(x, k2, strict=True)], F)
            k4 = derivative([a + h * b for a, b in zip(x, k3, strict=True)], F)
            slopes = zip(x, k1, k2, k3, k4, strict=True)
            x = [a + h / 6 * (p + 2 * q + 2 * r + s) for a, p, q, r, s in slopes]
        found.append(x)
    return np.array(found)


@pytest.mark.parametrize("F", [0.9, 8.0])
def test_targets_follow_from_inputs_by_the_equation(F: float):
    starts = F - 0.5 + np.random.default_rng(7).random((3, 5))
    solved = lorenz96.trajectories(starts, F, 2000)
    for trajectory in solved:
        for begin in (0, 300, 1974):  # from late points too, which chaos makes unlike any other solution's
            expected = runge_kutta(trajectory[begin].tolist(), F, 26, 32)
            # the classical method with steps of 0.01 / 32 is itself wrong by about 1e-9
            assert np.abs(trajectory[begin : begin + 26] - expected).max() < 1e-8


def test_without_chaos_a_stricter_tolerance_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    starts = 0.4 + np.random.default_rng(8).random((4, 5))
    usual = lorenz96.trajectories(starts, 0.9, 2000)
    monkeypatch.setattr(lorenz96, "TOLERANCE", 3e-14)
    assert np.abs(usual - lorenz96.trajectories(starts, 0.9, 2000)).max() < 1e-9


def test_the_equilibrium_stays_where_it_is():
    assert np.abs(lorenz96.trajectories(np.full((1, 5), 0.9), 0.9, 2000) - 0.9).max() == 0


def test_trajectories_begin_around_equilibrium():
    """Trajectories begin around the equilibrium and differ between parts."""
    for F in (0.9, 8.0):
        parts = [lorenz96.load(name, F=F, length=3, ahead=1).inputs[:, 0] for name in ("train", "test")]
        assert [len(part) for part in parts] == [256, 128]
        starts = torch.cat(parts) - F
        assert starts.abs().max() <= 0.5 and len(starts.unique(dim=0)) == 384
        assert starts.mean().abs() < 4.5 * (1 / 12 / starts.numel()) ** 0.5  # 4.5 standard errors
        assert starts.min() < -0.49 and starts.max() > 0.49


def test_an_oracle_that_looks_ahead_is_perfect(few: None):
    batch = lorenz96.load("test", F=8.0, length=60, ahead=25)
    assert batch.inputs.shape == batch.targets.shape == (3, 35, 5) and batch.inputs.dtype == torch.float32
    assert torch.equal(batch.targets[:, :10], batch.inputs[:, 25:])
    starts = 8.0 - 0.5 + np.random.default_rng(1).random((3, 5))
    whole = lorenz96.trajectories(starts, 8.0, 60)
    assert np.abs(batch.inputs.numpy() - whole[:, :35]).max() < 1e-6  # float32
    assert np.abs(batch.targets.numpy() - whole[:, 25:]).max() < 1e-6


def test_a_trajectory_without_targets_is_refused():
    assert lorenz96.sizes(length=2000, ahead=25).steps == 1975
    with pytest.raises(UserError, match=r"`length` must be > ahead = 25 .* got 25"):
        lorenz96.load("train", length=25)


def test_it_is_computed_once_and_kept_by_force_and_length(few: None, own_cache: Path, monkeypatch: pytest.MonkeyPatch):
    first = lorenz96.load("train", length=40)
    other = lorenz96.load("train", length=40, F=2.0)
    assert len(list((own_cache / "prepared").glob("lorenz96-*/tensors.safetensors"))) == 2
    monkeypatch.setattr(lorenz96, "trajectories", None)  # a further computation would fail
    assert torch.equal(lorenz96.load("train", length=40).inputs, first.inputs)
    assert torch.equal(lorenz96.load("train", length=40, F=2.0).inputs, other.inputs)


@pytest.mark.parametrize("variant", ["f0_9", "f8"])
def test_baseline_is_the_better_of_two_guesses(variant: str):
    card = registry.task_card("lorenz96")
    params = resolve_params(card, variant=variant)
    train, test = (lorenz96.load(name, **params) for name in ("train", "test"))
    targets = test.targets.double()

    def nrmse(guess: torch.Tensor) -> float:
        return math.sqrt((guess - targets).square().sum().item() / targets.square().sum().item())

    mean = train.targets.double().mean((0, 1)).expand_as(targets)
    best = min(nrmse(test.inputs.double()), nrmse(mean))
    # trajectories at F 8 end elsewhere on another machine; their mean over 128 of them moves by less than a percent
    assert card.baseline("nrmse", params) == pytest.approx(best, rel=0.01)
    assert nrmse(torch.zeros_like(targets)) == 1.0


def test_half_of_the_training_trajectories_validate():
    card = registry.task_card("lorenz96")
    task = Task(card, resolve_params(card, settings={"length": 30}))
    trained = torch.cat([task.train_batch(0, i, 32).inputs[:, 0] for i in range(4)])
    starts = torch.cat([trained, task.split("validation").inputs[:, 0], task.split("test").inputs[:, 0]])
    assert task.steps_per_epoch(32) == 4 and len(starts.unique(dim=0)) == len(starts) == 384
