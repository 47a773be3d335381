"""Widths solved for: the nearest to a number of parameters, and those of a paper's matched comparison."""

import pytest

from stablebench.data.task import sizes_of
from stablebench.errors import UserError
from stablebench.execution.equal_parameters import width_for
from stablebench.execution.suites import SuiteOverrides, runs_of, suite_of
from stablebench.models.base import count_parameters
from stablebench.models.build import build_network
from stablebench.schema.suite import Suite
from stablebench.specs.resolve import RunRequest, resolve


def test_widths_are_those_of_the_papers_comparison() -> None:
    """The widths are those of the papers comparison at equal parameters."""
    # nnRNN, supplement: 1.32M parameters on characters are an LSTM of 475 units and an expRNN of 1,386
    assert width_for(resolve(RunRequest("lstm", "ptb_char/t150")), 1_320_000) == 475
    assert width_for(resolve(RunRequest("exprnn", "ptb_char/t150")), 1_320_000) == pytest.approx(1386, abs=1)


@pytest.mark.parametrize("model", ["gru", "roarnn", "fastgrnn"])
@pytest.mark.parametrize("params", [300, 9_999])
def test_no_other_width_is_nearer(model: str, params: int) -> None:
    resolved = resolve(RunRequest(model, "copy/t100"))

    def count(hidden: int) -> int:
        spec = resolved.spec.model_copy(update={"model": resolved.spec.model.model_copy(update={"hidden": hidden})})
        return count_parameters(
            build_network(spec, resolved.card, sizes_of(resolved.card, spec.task.params)).parameters()
        )

    found = width_for(resolved, params)
    assert abs(count(found) - params) <= min(abs(count(n) - params) for n in range(1, 130))


def test_a_number_that_no_width_has_is_refused() -> None:
    with pytest.raises(UserError, match=r"lstm: has \d+ parameters at width 1 already, more than 5"):
        width_for(resolve(RunRequest("lstm", "copy/t200")), 5)


def test_suites_runs_have_equal_parameters() -> None:
    """A suites cells have equal parameters unless a width is asked for and a short budget."""
    suite = Suite.model_validate(
        {
            "summary": "s",
            "tasks": [{"task": "copy/t100", "match_parameters": 20_000}],
            "models": ["lstm", "exprnn"],
            "seeds": [0, 1],
            "short_overrides": {"train.steps": 7},
        }
    )
    lstm, _, exprnn, _ = runs_of(suite, SuiteOverrides())
    assert lstm.spec.model.hidden < 100 < exprnn.spec.model.hidden
    assert {c.spec.model.hidden for c in runs_of(suite, SuiteOverrides(options={"model.hidden": 9}))} == {9}
    assert lstm.spec.train.steps > 7
    assert {c.spec.train.steps for c in runs_of(suite, SuiteOverrides(short=True))} == {7}
    with pytest.raises(UserError, match="no `short_overrides`"):
        runs_of(suite.model_copy(update={"short_overrides": {}}), SuiteOverrides(short=True))


def test_models_asked_for_run_where_the_suite_runs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Models asked for run where the suite runs them and others on every task."""
    tasks = [{"task": "copy/t100", "models": ["lstm", "rnn"]}, {"task": "digits"}]
    suite = Suite.model_validate({"summary": "s", "tasks": tasks, "models": ["gru", "lstm"], "seeds": [0]})
    monkeypatch.setattr("stablebench.registry.suite", lambda _: suite)

    def asked(*models: str) -> set[tuple[str, str]]:
        made = SuiteOverrides(models=list(models))
        return {(c.spec.task.name, c.spec.model.name) for c in runs_of(suite_of("any", made)[1], made)}

    assert asked("gru") == {("digits", "gru")}
    assert asked("lstm") == {("copy", "lstm"), ("digits", "lstm")}
    assert asked("rnn") == {("copy", "rnn")}
    assert asked("roarnn") == {("copy", "roarnn"), ("digits", "roarnn")}
    with pytest.raises(UserError, match="gruu"):
        asked("gruu")


def test_task_asked_for_keeps_the_suites_settings_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A task asked for keeps the suites settings of it and any other has those of all runs."""
    tasks = [
        {"task": "copy/t100", "models": ["lstm", "rnn"], "overrides": {"train.steps": 300, "model.hidden": 8}},
        {"task": "digits", "overrides": {"train.steps": 440}},
        {"task": "digits", "models": ["rnn"], "overrides": {"train.steps": 20}},
    ]
    document = {"summary": "s", "tasks": tasks, "models": ["gru", "lstm"], "seeds": [0], "overrides": {"optim.lr": 0.5}}
    suite = Suite.model_validate(document)
    monkeypatch.setattr("stablebench.registry.suite", lambda _: suite)

    def asked(task: str, *models: str) -> list[tuple[str, int, float]]:
        made = SuiteOverrides(models=list(models) or None, tasks=[task])
        specs = [run.spec for run in runs_of(suite_of("any", made)[1], made)]
        return [(spec.model.name, spec.train.steps, spec.optim.lr) for spec in specs]

    assert asked("digits", "lstm") == [("lstm", 440, 0.5)]
    assert asked("digits") == [("gru", 440, 0.5), ("lstm", 440, 0.5), ("rnn", 20, 0.5)]
    assert asked("copy/t100", "lstm") == [("lstm", 300, 0.5)]
    assert asked("copy/t100", "gru") == [("gru", 300, 0.5)]  # not the suite's model there: with its settings, too
    ((model, steps, lr),) = asked("first_recall/t50", "gru")
    assert (model, lr) == ("gru", 0.5) and steps not in (20, 300, 440)
