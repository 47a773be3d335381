"""Parameter groups get their own rate and rule; the rate is a function of the step."""

from typing import Any

import pytest
import torch
from torch import nn

from stablebench.data.metrics import stalls
from stablebench.errors import UserError
from stablebench.models.base import ParameterGroup
from stablebench.schema.optim import OptimSpec
from stablebench.training.updates.adam import Adam
from stablebench.training.updates.eager import eager
from stablebench.training.updates.optimiser import Updater


def groups(*names: str) -> list[ParameterGroup]:
    return [ParameterGroup(name, [nn.Parameter(torch.ones(2))]) for name in names]


def spec(**values: object) -> OptimSpec:
    return OptimSpec.model_validate(values)


def moved(updater: Updater, step: int) -> list[float]:
    before = [p.detach().clone() for p in updater.parameters]
    for p in updater.parameters:
        p.grad = torch.ones_like(p)
    updater.update(step)
    return [(b - p.detach())[0].item() for b, p in zip(before, updater.parameters, strict=True)]


def test_a_group_has_its_own_rate() -> None:
    updater = Updater(groups("main", "orthogonal"), spec(name="sgd", lr=0.5, groups={"orthogonal": {"lr": 0.1}}), None)
    assert moved(updater, 0) == pytest.approx([0.5, 0.1])


def test_weight_decay_of_one_group_leaves_the_other_alone() -> None:
    updater = Updater(groups("main", "lower"), spec(name="sgd", lr=1.0, groups={"lower": {"weight_decay": 0.5}}), None)
    assert moved(updater, 0) == pytest.approx([1.0, 1.5])


@pytest.mark.parametrize(("unit", "drop"), [("steps", 2), ("epochs", 14)])
def test_the_rate_drops_where_the_schedule_says(unit: str, drop: int) -> None:
    schedule = {"at": [2], "unit": unit, "factor": 0.1}
    updater = Updater(groups("main"), spec(name="sgd", lr=1.0, schedule=schedule), 7)
    assert moved(updater, drop - 1) == pytest.approx([1.0])
    assert moved(updater, drop) == pytest.approx([0.1])


def test_rate_drops_at_every_stall_where_schedule_says_so() -> None:
    """The rate drops at every stall where the schedule says so."""
    for schedule, rates in (({"on_stall": True}, [1.0, 0.5, 0.125]), ({"at": [9]}, [1.0, 1.0, 1.0])):
        updater = Updater(groups("main"), spec(name="sgd", lr=1.0, schedule=schedule | {"factor": 0.5}), None)
        assert [updater.rate_factor(4, stalls) for stalls in (0, 1, 3)] == rates
    assert stalls("bpc", [3.0, 2.0, 2.0, 2.5, 1.0]) == stalls("accuracy", [0.1, 0.5, 0.4, 0.5, 0.6]) == 2


def test_the_rate_warms_up_linearly() -> None:
    updater = Updater(groups("main"), spec(name="sgd", lr=1.0, warmup=4), None)
    assert [moved(updater, step)[0] for step in (0, 1, 3, 4)] == pytest.approx([0.25, 0.5, 1.0, 1.0])


@pytest.mark.parametrize(
    ("name", "options", "cls"),
    [
        ("adam", {"betas": [0.5, 0.9]}, torch.optim.Adam),
        ("rmsprop", {"alpha": 0.9, "momentum": 0.1}, torch.optim.RMSprop),
        ("rmsprop", {"alpha": 0.0}, torch.optim.RMSprop),
        ("adagrad", {"eps": 1e-8}, torch.optim.Adagrad),
        ("sgd", {"momentum": 0.9, "nesterov": True}, torch.optim.SGD),
    ],
)
def test_updates_are_those_of_torch(name: str, options: dict[str, object], cls: type[torch.optim.Optimizer]) -> None:
    ours = Updater(groups("main"), spec(name=name, lr=0.1, **options), None)
    theirs = nn.Parameter(torch.ones(2))
    if "betas" in options:
        options = options | {"betas": tuple(options["betas"])}  # pyright: ignore[reportArgumentType]
    optimiser = cls([theirs], lr=0.1, **options)  # pyright: ignore[reportCallIssue]
    for step in range(3):
        moved(ours, step)
        theirs.grad = torch.ones_like(theirs)
        optimiser.step()
    assert torch.equal(ours.parameters[0], theirs)


def test_the_state_comes_back() -> None:
    first, second = (Updater(groups("main", "orthogonal"), spec(name="adam"), None) for _ in range(2))
    moved(first, 0)
    second.load(first.tensors())
    for p, q in zip(first.parameters, second.parameters, strict=True):
        q.data.copy_(p.data)
    assert moved(first, 1) == moved(second, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"groups": {"ortogonal": {"lr": 0.1}}}, "no such parameter group. Did you mean orthogonal?"),
        ({"name": "adam", "momentum": 0.9}, "adam has no such option"),
        ({"name": "sgd", "nesterov": True}, "needs a `momentum` above 0"),
        ({"name": "sgd", "groups": {"main": {"betas": [0.1, 0.2]}}}, "sgd has no such option"),
    ],
)
def test_misfits_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Updater(groups("main", "orthogonal"), spec(**values), None)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.SGD])
def test_an_eager_optimiser_computes_what_torchs_does(kind: Any) -> None:
    """Bit for bit, its state and what is loaded into it included."""
    torch.manual_seed(0)
    start, gradients = torch.randn(7, 5), torch.randn(6, 7, 5)
    results = []
    for make in (kind, eager(kind)):
        weight = torch.nn.Parameter(start.clone())
        optimiser = make([{"params": [weight], "weight_decay": 0.1}], lr=0.01)
        for i, gradient in enumerate(gradients):
            if i == 3:
                state = optimiser.state_dict()
                optimiser = make([{"params": [weight]}], lr=0.5)
                optimiser.load_state_dict(state)
            weight.grad = gradient.clone()
            optimiser.step()
        results.append((weight, optimiser.state_dict()))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("optimiser", "options"),
    [
        (torch.optim.Adam, {"name": "adam", "betas": [0.8, 0.99], "weight_decay": 0.01}),
        (torch.optim.RMSprop, {"name": "rmsprop", "momentum": 0.9}),
        (torch.optim.Adagrad, {"name": "adagrad"}),
        (torch.optim.SGD, {"name": "sgd", "momentum": 0.9, "nesterov": True}),
    ],
)
def test_all_parameters_at_once_get_the_same_numbers(
    optimiser: type[torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    rng = torch.Generator().manual_seed(0)
    shapes = [(7, 13), (33,), (64, 64), (1,)]
    one_by_one = [nn.Parameter(torch.randn(shape, generator=rng)) for shape in shapes]
    at_once = [nn.Parameter(p.detach().clone()) for p in one_by_one]
    updater = Updater([ParameterGroup("main", at_once)], spec(lr=0.1, clip_norm=50.0, **options), None)
    own: Any = optimiser
    expected = own(one_by_one, lr=0.1, foreach=False, **{k: v for k, v in options.items() if k != "name"})
    for step in range(20):
        for p, q in zip(one_by_one, at_once, strict=True):
            p.grad = torch.randn(p.shape, generator=rng)
            q.grad = p.grad.clone()
        norm = nn.utils.clip_grad_norm_(one_by_one, 50.0, foreach=False)
        assert torch.equal(updater.gradient_norm(), norm)
        assert norm > 50.0
        expected.step()
        updater.update(step)
    assert all(torch.equal(p, q) for p, q in zip(one_by_one, at_once, strict=True))


def test_adam_is_that_of_torch_on_complex_numbers() -> None:
    """A parameter without a gradient stays as it is, and its count of updates too."""
    rng = torch.Generator().manual_seed(0)
    start = [torch.randn(3, 2, dtype=torch.complex64, generator=rng), torch.randn(5, generator=rng), torch.ones(2)]
    results = []
    for make in (torch.optim.Adam, Adam):
        parameters = [nn.Parameter(value.clone()) for value in start]
        optimiser = make([{"params": parameters, "weight_decay": 0.1}], lr=0.05)
        draws = torch.Generator().manual_seed(1)
        for step in range(7):
            for p in parameters[: 1 if step == 3 else 2]:
                p.grad = torch.randn(p.shape, dtype=p.dtype, generator=draws)
            optimiser.step()
            parameters[1].grad = None
        results.append(([p.detach() for p in parameters], optimiser.state_dict()["state"]))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)
    assert results[0][1].keys() == {0, 1}
    assert results[0][1][1]["step"] == 6
