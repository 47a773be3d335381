"""What the runs of a suite share: updates, batch, and the width or the parameters."""

import dataclasses

from stablebench import registry
from stablebench.execution.equal_parameters import parameters_at
from stablebench.execution.suites import SuiteOverrides, runs_of, suite_of
from stablebench.schema.suite import Suite, SuiteTask
from stablebench.specs.resolve import Resolved


def steps_batch_and_width(runs: list[Resolved]) -> set[tuple[int, int, int]]:
    return {(r.spec.train.steps, r.spec.train.batch_size, r.spec.model.hidden) for r in runs}


def test_models_without_a_suite_share_the_cards_budget() -> None:
    asked = SuiteOverrides(models=["lstm", "s4d", "leaky_esn", "eunn"], tasks=["adding/t200"])
    protocol = registry.task_card("adding").protocol
    card = (protocol.steps, protocol.batch_size, protocol.hidden)
    assert steps_batch_and_width(runs_of(suite_of(None, asked)[1], asked)) == {card}
    recipes = dataclasses.replace(asked, match="recipe")
    assert len(steps_batch_and_width(runs_of(suite_of(None, recipes)[1], recipes))) > 2
    shorter = dataclasses.replace(asked, options={"train.steps": 30, "model.hidden": 8})
    assert steps_batch_and_width(runs_of(suite_of(None, shorter)[1], shorter)) == {(30, protocol.batch_size, 8)}


def test_matched_parameters_are_those_of_the_first_model() -> None:
    asked = SuiteOverrides(models=["rnn", "lstm", "gru"], tasks=["adding/t200"], match="params")
    runs = runs_of(suite_of(None, asked)[1], asked)
    widths = [run.spec.model.hidden for run in runs]
    assert widths[0] == registry.task_card("adding").protocol.hidden and widths[1] < widths[2] < widths[0]
    counts = [parameters_at(run, run.spec.model.hidden) for run in runs]
    assert max(counts) < 1.05 * min(counts)


def test_the_first_model_has_the_width_asked_for() -> None:
    own = {"train.steps": 30, "model.hidden": 32}
    asked = SuiteOverrides(models=["lstm", "rnn"], tasks=["adding/t200"], match="params", options=own)
    of_suite = Suite(summary="s", tasks=[SuiteTask(task="adding", T=200)], models=["lstm", "rnn"], seeds=[0])
    ways = [
        (suite_of(None, given)[1], given) for given in (asked, dataclasses.replace(asked, options={}, settings=own))
    ]
    ways.append((of_suite.model_copy(update={"overrides": own}), SuiteOverrides(match="params")))
    for suite, given in ways:
        first, second = runs_of(suite, given)
        counts = [parameters_at(run, run.spec.model.hidden) for run in (first, second)]
        assert first.spec.model.hidden == 32 and second.spec.model.hidden > 48
        assert max(counts) < 1.05 * min(counts)
        assert first.spec.train.steps == second.spec.train.steps == 30


def test_a_suites_own_values_stand_before_the_cards() -> None:
    suite = Suite(
        summary="s",
        tasks=[SuiteTask(task="copy", overrides={"train.steps": 7})],
        models=["rnn", "eunn"],
        seeds=[0],
        equal=["updates", "units"],
        model_overrides={"rnn": {"model.hidden": 5}},
    )
    runs = runs_of(suite, SuiteOverrides())
    assert [run.spec.train.steps for run in runs] == [7, 7]
    assert [run.spec.model.hidden for run in runs] == [5, registry.task_card("copy").protocol.hidden]
