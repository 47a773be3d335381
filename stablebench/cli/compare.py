"""Run what a suite is missing, then print its leaderboard."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stablebench import registry
from stablebench.cli.shared import completion, options
from stablebench.cli.shared.added_seeds import (
    Failures,
    add_seeds,
    decisions_of,
    refuse_until_decided_with,
    with_seeds,
)
from stablebench.cli.shared.board_options import refuse_with_data, refuse_with_rates, refuse_without
from stablebench.cli.shared.commands import OUTPUT, option
from stablebench.cli.shared.executors import Executor
from stablebench.cli.shared.requests import SuiteRunOptions, suite_overrides
from stablebench.cli.shared.selection import say_suite, say_untuned
from stablebench.cli.ui.output import echo, note
from stablebench.process.garbage_collection import collector_paused

if TYPE_CHECKING:
    from collections.abc import Callable

    from stablebench.execution.suites import SuiteOverrides
    from stablebench.schema.suite import Suite
    from stablebench.specs.request import Resolved

_MAX_NOTES = 20
"""Unreadable records that are listed."""


def compare(
    *,
    suite: Annotated[
        str | None,
        typer.Argument(
            help="The suite, or a suite's file (default: quick).", metavar="SUITE", autocompletion=completion.suites
        ),
    ] = None,
    asked: SuiteRunOptions,
    data_dir: options.DataDir = None,
    executor: Executor,
    self_check: options.SelfCheck = True,
    no_run: Annotated[bool, option("Print the leaderboard from stored runs; run nothing.", None, "--no-run")] = False,
    dry_run: Annotated[
        bool, option("Print the runs of the suite, and which are to be run, and stop.", None, "--dry-run")
    ] = False,
    estimate: Annotated[
        bool, option("Only time a few updates of each kind of run, and estimate the suite.", None, "--estimate")
    ] = False,
    check: Annotated[
        Path | None, option("Compare with this baseline leaderboard; exit code 5 if a score got worse.", metavar="FILE")
    ] = None,
    margin: Annotated[
        float | None, option("Relative tolerance of --check (default: 0.1, a tenth).", metavar="X", min=0)
    ] = None,
    statistics: Annotated[
        bool, option("Also print intervals, times to a goal, pairwise tests, ranks, profiles.", None, "--statistics")
    ] = False,
    interval: Annotated[
        Literal["median", "mean"],
        option(
            "Interval of a row: of its median, or Student's t of the mean; below 5 seeds a median has a range only."
        ),
    ] = "median",
    equal_within: Annotated[
        float | None,
        option(
            "Call models equal that differ by less than X in the metric shown; prints --statistics.",
            metavar="X",
            min=0,
        ),
    ] = None,
    until_decided: Annotated[
        bool,
        option(
            "Add seeds until every two models are told apart, with 5 % false decisions at most in all.",
            None,
            "--until-decided",
        ),
    ] = False,
    max_seeds: Annotated[
        int | None, option("With --until-decided: seeds of a model, at most (default: 20).", metavar="N", min=5)
    ] = None,
    across_budgets: Annotated[
        bool, option("Rank rows of unequal updates, batch or width all the same.", None, "--across-budgets")
    ] = False,
    rates: Annotated[
        bool,
        option(
            "Train at 7 learning rates from 1e-4 to 1e-1 in place of the recipe's; print how many reach the target.",
            None,
            "--rates",
        ),
    ] = False,
    lengths: Annotated[
        list[str] | None,
        option(
            "Also score finished runs at these lengths, each once (default: what the suite says): a,b or repeated.",
            metavar="A,B",
        ),
    ] = None,
    shown: options.TableOutputOptions,
    columns: Annotated[
        list[str] | None, option("Columns of the leaderboard: a,b or repeated, or all.", OUTPUT, metavar="A,B")
    ] = None,
    live: Annotated[bool, option("Show all runs in one table while they run.", OUTPUT, "--live")] = False,
    output: Annotated[
        Path | None,
        option("Also write the leaderboard as JSON, with its statistics.", OUTPUT, "--output", "-o", metavar="FILE"),
    ] = None,
    force: options.Force = False,
) -> None:
    """Run what is missing of a suite, then print its leaderboard.

    With --model and --task it is an ad-hoc suite of these. Stored runs are not run again. Exit code 0 when every run
    finished or diverged, 1 when one failed; with --no-run, when a stored one did.

    Examples:
        stablebench compare --model rnn,roarnn --task copy,adding --seeds 3 --steps 1000
        stablebench compare my_suite.yaml --estimate
        stablebench compare --model 'rnn[activation=relu],rnn' --task copy/t100 --seeds 0-4 --workers 2
    """
    if suite is not None:
        registry.suite(suite)  # a name is checked before torch is imported
    from stablebench import leaderboard
    from stablebench.api.suite_runs import leaderboard_of, missing_runs
    from stablebench.cli.shared.near_runs import near_runs
    from stablebench.cli.shared.output_file import refuse_existing
    from stablebench.cli.ui.output import json_text, print_json
    from stablebench.runs.atomic import write_atomically

    if output is not None:
        refuse_existing(output, force)
    asked_columns = options.names_of("--columns", columns)
    if asked_columns is not None:
        leaderboard.check_columns(asked_columns)
    of_table = {"--columns": columns is not None, "--interval": interval == "mean"}
    refuse_without({"--max-seeds": max_seeds is not None}, until_decided, "--until-decided")
    refuse_without({"--margin": margin is not None}, check is not None, "--check")
    refuse_with_data(of_table, shown)
    if rates:
        of_pairs = {"--until-decided": until_decided, "--equal-within": equal_within is not None}
        refuse_with_rates(of_table | of_pairs | {"--statistics": statistics, "--check": check is not None})
    statistics = statistics or equal_within is not None
    margin = 0.1 if margin is None else margin
    if until_decided:
        refuse_until_decided_with(asked, no_run=no_run, dry_run=dry_run, estimate=estimate)
        asked = replace(asked, seeds=["1"])
    refused: dict[str, str] = {}
    name, resolved_suite, overrides, runs = _planned(suite, asked, rates, refused, shown.quiet)
    at_lengths = options.numbers_of("--lengths", lengths)
    scored_at = _lengths_of(resolved_suite, runs, at_lengths)
    decisions = decisions_of(runs, max_seeds or 20, equal_within, across_budgets) if until_decided else None
    baseline = leaderboard.read_baseline(check) if check is not None else None
    code, failures = 0, list(refused.items())
    if dry_run:
        from stablebench.cli.shared.previews import print_runs

        print_runs(runs, missing_runs(runs, shown.runs_dir), shown)
        for line in _reasons(failures):
            note(line)
        raise typer.Exit(1 if failures else 0)
    if estimate:
        from stablebench.cli.shared.estimates import print_estimates

        missing = missing_runs(runs, shown.runs_dir)
        possible = print_estimates(runs, missing, executor.at_once(missing or runs), data_dir, shown)
        for line in _reasons(failures):
            note(line)
        raise typer.Exit(0 if possible and not failures else 1)

    def run_missing(wanted: "list[Resolved]") -> tuple[int, Failures]:
        return _run_missing(name, wanted, executor, data_dir, shown, live=live, self_check=self_check)

    if decisions is not None:
        suite_runs = partial(with_seeds, resolved_suite, overrides)
        code, failed, runs = add_seeds(decisions, suite_runs, run_missing, shown.runs_dir, across_budgets)
        failures += failed
    elif not no_run:
        code, failed = run_missing(runs)
        failures += failed
    if code:
        left = len(missing_runs(runs, shown.runs_dir))
        for line in _reasons(failures):
            note(line)
        note(f"interrupted: {left} of {len(runs)} runs have not ended; the same command continues.")
        raise typer.Exit(code)
    if not no_run and any(scored_at(run) for run in runs):
        from stablebench.execution.scored_lengths import score_missing

        of_each, line = [scored_at(run) for run in runs], _silent if shown.quiet else note
        failures += score_missing(runs, of_each, shown.runs_dir, data_dir, line, executor.here(runs)).items()
    tidy = shown.fmt == "csv" or shown.as_json or output is not None
    board, recorded, failed_before = leaderboard_of(
        name, resolved_suite, overrides, runs, shown.runs_dir, across_budgets=across_budgets, tidy=tidy
    )
    if not any(recorded):
        for line in near_runs(runs, shown.runs_dir):
            note(line)
    lost = failed_before if no_run else _lost(runs, recorded, failures)
    if decisions is not None:
        board = board.replaced(seed_decisions=decisions.document())
    if statistics or ((shown.as_json or output is not None) and not rates):
        board = board.replaced(statistics=leaderboard.statistics(board, equal_within))
    if output is not None:
        write_atomically(output, json_text(board.as_dict()).encode())
    if shown.as_json:
        print_json(board.as_dict())
    else:
        echo(leaderboard.render(board, shown.fmt, asked_columns, interval))
        if statistics and board.statistics is not None:
            echo("\n" + leaderboard.render_statistics(board.statistics, shown.fmt))
    for line in [] if decisions is None else decisions.summary():
        note(line)
    unreadable = board.unreadable or {}
    for line in [*_reasons(failures + lost), *_listed(unreadable)]:
        note(line)
    if baseline is not None:
        regressions = leaderboard.check(board, baseline, margin)
        for line in regressions:
            note(f"regression: {line}")
        if regressions:
            raise typer.Exit(5)
        note(f"no regression against {check} (margin {margin:.0%})")
    raise typer.Exit(1 if failures or lost or unreadable else 0)


@collector_paused()
def _planned(
    suite: str | None, asked: SuiteRunOptions, rates: bool, refused: dict[str, str], quiet: bool
) -> "tuple[str, Suite, SuiteOverrides, list[Resolved]]":
    """Return the suite by name, what the options change of it, and its runs; `refused` takes those that cannot be."""
    overrides = replace(suite_overrides(asked), rates=rates)
    if not quiet:
        say_suite(suite, overrides)
    from stablebench.execution.suites import runs_of, suite_of

    name, resolved_suite = suite_of(suite, overrides)
    if not quiet:
        say_untuned(suite, overrides, resolved_suite)
    return name, resolved_suite, overrides, runs_of(resolved_suite, overrides, refused)


def _lengths_of(suite: "Suite", runs: "list[Resolved]", asked: list[int] | None) -> "Callable[[Resolved], list[int]]":
    """Return a function from a run, of any seed, to the lengths that it is to be scored at."""
    from stablebench.execution.asked_lengths import lengths_of

    of_each = lengths_of(suite, runs, asked)
    by_spec = {run.spec.spec_hash(): wanted for run, wanted in zip(runs, of_each, strict=True)}
    return lambda run: by_spec.get(run.spec.spec_hash(), [])


def _silent(text: str) -> None:
    """Say nothing."""


def _lost(runs: "list[Resolved]", recorded: list[bool], failures: Failures) -> Failures:
    """Return the runs that did not fail and yet have no record: their folders went while the others ran."""
    failed = {name for name, _ in failures}
    names = [run.label for run, there in zip(runs, recorded, strict=True) if not there]
    why = "its run folder was removed or renamed while the suite ran; the same command runs it again"
    return [(name, why) for name in names if name not in failed]


def _reasons(failures: Failures) -> list[str]:
    """Return why runs failed, each reason once with the runs that it stopped."""
    stopped: dict[str, list[str]] = {}
    for name, why in failures:
        stopped.setdefault(why, []).append(name)
    return [f"failed: {', '.join(names)}: {why}" for why, names in stopped.items()]


def _listed(unreadable: dict[str, str]) -> list[str]:
    """Return a line per record that cannot be read, and a count of those beyond a screenful."""
    lines = [f"not in the leaderboard: {problem}" for problem in unreadable.values()]
    left = len(lines) - _MAX_NOTES
    more = [f"and {left:,} more that cannot be read; --json has them all."] if left > 0 else []
    return lines[:_MAX_NOTES] + more


def _run_missing(
    suite: str,
    runs: "list[Resolved]",
    executor: Executor,
    data_dir: Path | None,
    shown: options.TableOutputOptions,
    *,
    live: bool,
    self_check: bool,
) -> tuple[int, Failures]:
    """Run what has no record; return the exit code of a signal, else 0, and which runs failed and why."""
    from stablebench.api.suite_runs import missing_runs, without_broken
    from stablebench.cli.ui.suite_progress import suite_progress
    from stablebench.execution.events import RunCallbacks
    from stablebench.training.run import ExecutionOptions

    missing, broken = without_broken(missing_runs(runs, shown.runs_dir), note)
    if not missing:
        return 0, broken
    threads = max(run.spec.threads for run in missing)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # read when torch starts, in the runs' processes
    with suite_progress(suite, missing, len(runs), quiet=shown.quiet, live=live) as progress:
        code = executor.runner()(
            missing,
            ExecutionOptions(shown.runs_dir, data_dir, wait=True, track=executor.trackers, self_check=self_check),
            executor.at_once(missing),
            RunCallbacks(progress.start, progress.report, progress.end),
        )
    return code, [*broken, *_in_order(progress.failures, missing)]


def _in_order(failures: Failures, runs: "list[Resolved]") -> Failures:
    """Return failures in the order of the suite, whichever run ended first."""
    place = {run.label: i for i, run in enumerate(runs)}
    return sorted(failures, key=lambda failure: place[failure[0]])
