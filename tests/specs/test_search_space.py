"""Spaces of a sweep: what is refused, where they come from, the points of a grid."""

from pathlib import Path

import pytest

from stablebench import registry
from stablebench.errors import UserError
from stablebench.execution.validate import check_file
from stablebench.resources import sweeps_dir
from stablebench.schema.strict import validate
from stablebench.schema.sweep import Dimension, SweepSpace
from stablebench.schema.yaml_file import parse
from stablebench.specs.resolve import RunRequest
from stablebench.specs.search_space import check_space, describe, find_space, grid, rounded


def space(text: str, more: str = "") -> SweepSpace:
    return validate(parse(f"summary: s\nsource: ours\n{more}\nspace:\n{text}"), SweepSpace, "space.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  optim.lr: {}", "must have `choices`, or `low` and `high`"),
        ("  optim.lr: {low: 1, high: 0.5}", "`low` must be < `high`, got 1 and 0.5"),
        ("  optim.lr: {low: 0, high: 0.5, log: true}", "`low` must be > 0 on a logarithmic scale"),
        ("  optim.lr: {choices: [1, 2], low: 1}", "`choices` excludes the others"),
        ("  optim.lr: {choices: [1, 1]}", "a value stands twice"),
        ("  model.hidden: {low: 1.5, high: 4, integer: true}", "whole numbers"),
        ("  optim.lr: {lo: 1, high: 0.5}", "unknown key. Did you mean low?"),
    ],
)
def test_a_space_that_says_nothing_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match="space.yaml:5: ") as error:
        space(text)
    assert message in str(error.value)


def test_a_key_is_searched_or_set() -> None:
    with pytest.raises(UserError, match="must not share keys, got optim.lr"):
        space("  optim.lr: {low: 1, high: 2}", "overrides: {optim.lr: 1}")


@pytest.mark.parametrize(
    ("text", "request_", "message"),
    [
        ("  task.S: {choices: [2, 3]}", RunRequest("rnn", "copy"), "task.S: only model.NAME, optim.NAME, train.NAME"),
        ("  seed: {choices: [2, 3]}", RunRequest("rnn", "copy"), "seed: only model.NAME"),
        ("  model.rho: {choices: [1.0]}", RunRequest("rnn", "copy"), "unknown key"),
        (
            "  optim.lr: {low: -1, high: 1}",
            RunRequest("rnn", "copy"),
            "optim.lr -1.0: optim.lr: must be >",
        ),
        (
            "  optim.lr: {low: 0.1, high: 1}",
            RunRequest("rnn", "copy", options={"optim.lr": 0.1}),
            "also given (option)",
        ),
        ("  optim.lr: {low: 0.1, high: 1}", RunRequest("rnn", "copy", settings={"optim.lr": 1}), "also given (--set)"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_trial(text: str, request_: RunRequest, message: str) -> None:
    with pytest.raises(UserError) as error:
        check_space(space(text), request_)
    assert message in str(error.value)


def test_a_grid_has_every_point_once_in_an_order_of_the_seed() -> None:
    searched = space("  optim.lr: {low: 1.0e-3, high: 1.0e-1, log: true, points: 3}\n  model.rho: {choices: [1, 2]}")
    points = grid(searched, 0)
    assert sorted((p["optim.lr"], p["model.rho"]) for p in points) == [
        (lr, rho) for lr in (0.001, 0.01, 0.1) for rho in (1, 2)
    ]
    assert points == grid(searched, 0) and points != grid(searched, 1)
    with pytest.raises(UserError, match=r"optim.lr must have `choices` or `points`"):
        grid(space("  optim.lr: {low: 1, high: 2}"), 0)


def test_drawn_values_are_rounded_inside_their_range() -> None:
    assert rounded(Dimension(low=0.1, high=1.0), 0.123456) == 0.1235
    assert rounded(Dimension(low=0.12354, high=1.0), 0.123541) == 0.12354  # and not 0.1235
    assert rounded(Dimension(low=1, high=9, integer=True), 4) == 4
    assert rounded(Dimension(choices=[0.123456]), 0.123456) == 0.123456


def test_the_presets_are_the_papers_spaces() -> None:
    adding = registry.sweep("cornn/adding")
    assert adding.overrides == {"optim.lr": 0.02, "train.batch_size": 50}
    assert describe(adding.space) == (
        "model.dt 0.01 to 0.1 (log); model.gamma 1 to 100 (log); model.epsilon 1 to 100 (log)"
    )
    assert len(grid(registry.sweep("roarnn/rho"), 0)) == 12
    label, found = find_space(None, "cornn", "psmnist")
    assert label == "cornn/psmnist" and found.space["model.gamma"].high == 10


@pytest.mark.parametrize("name", registry.sweep_names())
def test_a_shipped_space_has_no_problems(name: str) -> None:
    assert check_file(sweeps_dir() / f"{name}.yaml") == []


@pytest.mark.parametrize(
    ("name", "model", "task", "message"),
    [
        ("cornn/adding", "rnn", "adding", "made for the model cornn, not rnn"),
        ("cornn/adding", "cornn", "copy", "made for the task adding, not copy"),
        ("cornn/ading", "cornn", "adding", "No sweep named 'cornn/ading'. Did you mean cornn/adding?"),
        (None, "mlp", "double_moon", "there is no preset mlp/any_task; name a file, or a preset"),
        ("nowhere.yaml", "rnn", "copy", "nowhere.yaml"),
    ],
)
def test_a_space_that_does_not_fit_is_refused(name: str | None, model: str, task: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_space(name, model, task)


def test_a_recipe_may_state_its_space(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    text = "task: copy\nmodel: rnn\nsource: ours\ntuned_by: paper\nspace: {{optim.lr: {{low: {}, high: 1}}}}\n"
    recipe.write_text(text.format("0.1"))
    _, found = find_space(None, "rnn", "copy", recipe)
    assert found.space["optim.lr"].low == 0.1
    assert check_file(recipe) == []
    recipe.write_text(text.format("-0.1"))
    assert "recipe.yaml:5: space.optim.lr" in check_file(recipe)[0]
