"""`compare`: models on tasks, or a suite: what is missing is run, and the leaderboard is an object."""

import os
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stablebench import leaderboard, registry
from stablebench.api.asked import (
    Model,
    check_task,
    count_of,
    model_name,
    names_of,
    path_of,
    plain,
    settings_of,
    split_off,
)
from stablebench.api.asked import lengths_of as asked_lengths
from stablebench.api.frames import frame
from stablebench.api.run import path_or_none, settings_kept
from stablebench.api.suite_runs import leaderboard_of, missing_runs, without_broken
from stablebench.api.table_files import columns_of
from stablebench.errors import UserError, did_you_mean
from stablebench.execution.asked_lengths import lengths_of
from stablebench.execution.events import RunCallbacks, RunEnd
from stablebench.execution.local import run_locally
from stablebench.execution.scored_lengths import score_missing
from stablebench.execution.suites import SuiteOverrides, runs_of, suite_of
from stablebench.leaderboard.text import IntervalOf
from stablebench.models.user_code.code import Code
from stablebench.models.user_code.loading import rehearse
from stablebench.models.user_code.running_script import begin_call, is_script
from stablebench.process.cgroups import cores
from stablebench.schema.leaderboard import Leaderboard
from stablebench.schema.seeds import MAX_SEED, WHY, seeds_named
from stablebench.specs.own_card import OwnCard
from stablebench.specs.request import OPTION_KEYS, Resolved
from stablebench.tables import Format
from stablebench.training.run import ExecutionOptions

_OWN = (
    "T",
    "set",
    "budget",
    "match",
    "recipes",
    "data_dir",
    "no_run",
    "across_budgets",
    "rates",
    "lengths",
    "self_check",
)


@dataclass(frozen=True, repr=False)
class Board:
    """A leaderboard; `print` shows what `stablebench compare` does.

    Args:
        board: Every table, row and run, as `--json` has them.
        failures: Why runs failed, by their names.
    """

    board: Leaderboard
    failures: dict[str, str] = field(default_factory=dict)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a row a run: every setting, every test metric, times and sizes.

        Raises:
            UserError: pandas is not installed.
        """
        return frame(columns_of(self.board.runs or []))

    def render(
        self, format: Format = "table", columns: Sequence[str] | None = None, interval: IntervalOf = "median"
    ) -> str:
        """Return the tables as text.

        Args:
            format: `table`, `github`, `latex`, `html`, `csv` (a row a run) or `json`.
            columns: Names of columns, or `["all"]`; None for the usual ones.
            interval: Whether a score is the median with its interval, or the mean with Student's.

        Raises:
            UserError: There is no such column.
        """
        return leaderboard.render(self.board, format, columns, interval, 'render(columns=["all"]) or names')

    def to_latex(self, columns: Sequence[str] | None = None, interval: IntervalOf = "median") -> str:
        """Return the tables in LaTeX; arguments as `render`."""
        return self.render("latex", columns, interval)

    def statistics(self, equal_within: float | None = None) -> str:
        """Return intervals, pairwise tests, ranks and profiles as text, as `compare --statistics` prints them.

        Args:
            equal_within: Models that differ by less, in the task's metric, are called equal; > 0.
        """
        return leaderboard.render_statistics(leaderboard.statistics(self.board, equal_within), "table")

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict, as `compare --json` prints it, without the statistics."""
        return self.board.as_dict()

    def __repr__(self) -> str:
        return "\n".join([self.render(), *(f"failed: {name}: {why}" for name, why in self.failures.items())])

    def _repr_html_(self) -> str:
        return self.render("html")


def compare(
    models: Iterable[Model] | str | None = None,
    tasks: Iterable[str | Path] | str | Path | None = None,
    *,
    suite: str | Path | None = None,
    seeds: int | str | Iterable[int] | None = None,
    runs_dir: str | Path = "runs",
    workers: int | None = None,
    quiet: bool = True,
    **options: Any,
) -> Board:
    """Run what is missing of models on tasks, or of a suite, each run in a process of its own; return the leaderboard.

    Args:
        models: Names, `file.py:Class` or classes, as a list or with commas; None for the suite's.
        tasks: `task` or `task/variant`, likewise.
        suite: A suite's name or file; by default `quick`, unless models and tasks are given.
        seeds: Their number, or the seeds, as a list or a text, "0,1,5-7"; None for the suite's, and seed 0 without one.
        runs_dir: The run store.
        workers: Runs at once, >= 1; by default cores / threads.
        quiet: Whether no line is printed, on stderr, when a run ends.
        options: The command's, with `_` for `-`: `T`, `hidden`, `layers`, `steps`, `epochs`, `batch_size`, `lr`,
            `recompute_every`, `device`, `threads`, `engine`, `precision`, `deterministic`, `set` (a dict), `budget`,
            `match`, `recipes`, `data_dir`, `no_run`, `across_budgets`, `rates`, `lengths` (a list), `self_check`.

    Returns:
        The leaderboard; a run that failed is in its `failures`.

    Raises:
        UserError: A name or an option is wrong.
        KeyboardInterrupt: A signal ended it; the same call goes on.
    """
    begin_call()
    own, rest = split_off(options, *_OWN)
    if isinstance(models, (str, Path)) and registry.is_suite(str(models)):
        raise UserError(f"models: {models} is a suite: compare(suite='{models}').")
    overrides = _overrides(models, tasks, seeds, own, rest)
    lengths = own.get("lengths")
    wanted_lengths = None if lengths is None else asked_lengths(lengths)
    root = path_of("runs_dir", runs_dir)
    with settings_kept():
        name, chosen = suite_of(None if suite is None else str(suite), overrides)
        refused: dict[str, str] = {}
        runs = runs_of(chosen, overrides, refused)
        failures = list(refused.items())
        if not own.get("no_run", False):
            execution = ExecutionOptions(
                root, path_or_none(own.get("data_dir")), wait=True, self_check=bool(own.get("self_check", True))
            )
            failures += _run(missing_runs(runs, root), execution, workers, quiet)
            wanted = lengths_of(chosen, runs, wanted_lengths)
            with _started_without_main(_threads(runs)):
                at_once = _at_once(runs, workers)
                failures += score_missing(runs, wanted, root, execution.data_dir, lambda text: None, at_once).items()
        across = bool(own.get("across_budgets", False))
        board, *_ = leaderboard_of(name, chosen, overrides, runs, root, across_budgets=across, tidy=True)
    return Board(board, dict(failures))


def _overrides(models: Any, tasks: Any, seeds: Any, own: dict[str, Any], rest: dict[str, Any]) -> SuiteOverrides:
    known = [*OPTION_KEYS.keys() - {"seed"}, "seeds", *_OWN]
    for name in rest:
        if name not in known:
            raise UserError(f"{name}: unknown option.{did_you_mean(name, known)} Options: {', '.join(sorted(known))}.")
    budget, match = own.get("budget", "full"), own.get("match")
    if budget not in ("full", "short"):
        raise UserError(f"budget: must be full or short, got {budget!r}.")
    if match not in (None, "units", "params", "recipe"):
        raise UserError(f"match: must be units, params or recipe, got {match!r}.")
    named_tasks = None if tasks is None else names_of("tasks", tasks)
    for task in named_tasks or ():
        check_task(task)
    return SuiteOverrides(
        models=None if models is None else [model_name(model) for model in _listed("models", models)],
        tasks=named_tasks,
        seeds=_seeds(seeds),
        T=None if own.get("T") is None else count_of("T", own["T"]),
        options={OPTION_KEYS[name]: plain(value) for name, value in rest.items() if value is not None},
        settings=settings_of(own.get("set", {})),
        short=budget == "short",
        match=match,
        recipes=path_or_none(own.get("recipes")),
        rates=bool(own.get("rates", False)),
    )


def _listed(option: str, names: Any) -> list[Any]:
    return names_of(option, [names] if isinstance(names, type) else names)


def _seeds(seeds: Any) -> list[int] | None:
    """Return 0 to N - 1 for a number N, else the seeds given, also as a text: "0,1,5-7"."""
    if seeds is None:
        return None
    if isinstance(seeds, str):
        return seeds_named("seeds", seeds)
    number = plain(seeds)
    listed = list(range(number)) if type(number) is int else list(map(plain, seeds)) if _many(seeds) else []
    listed = list(dict.fromkeys(listed))
    if not listed or not all(type(seed) is int and 0 <= seed <= MAX_SEED for seed in listed):
        raise UserError(f"seeds: must be their number, >= 1, or whole numbers 0 ... {MAX_SEED} ({WHY}), got {seeds!r}.")
    return listed


def _many(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)


def _threads(runs: list[Resolved]) -> int:
    """Return the threads of a process."""
    return max((run.spec.threads for run in runs), default=1)


def _at_once(runs: list[Resolved], workers: int | None) -> int:
    """Return how many processes run at once."""
    return max(1, cores() // _threads(runs)) if workers is None else count_of("workers", workers)


def _run(
    missing: list[Resolved], execution: ExecutionOptions, workers: int | None, quiet: bool
) -> list[tuple[str, str]]:
    """Run what is missing; return which runs failed, and why."""

    def note(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr)

    runs, failures = without_broken(missing, note)
    if not runs:
        return failures
    for code in {code.digest: code for run in runs for code in _codes(run) if is_script(code)}.values():
        rehearse(code)
    threads, at_once = _threads(runs), _at_once(runs, workers)
    failed: dict[int, str] = {}

    def on_end(end: RunEnd) -> None:
        if end.status == "failed":
            failed[end.index] = end.message
        note(f"{runs[end.index].label}: {end.status}, {end.message}")

    with _started_without_main(threads):
        code = run_locally(runs, execution, at_once, RunCallbacks(on_end=on_end))
    if code:
        raise KeyboardInterrupt
    return [*failures, *((runs[index].label, failed[index]) for index in sorted(failed))]


def _codes(run: Resolved) -> list[Code]:
    """Return the user's own code that a run loads: of its model, of its task."""
    task = run.card.files.code if isinstance(run.card, OwnCard) else None
    return [code for code in (run.code, task) if code is not None]


@contextmanager
def _started_without_main(threads: int) -> Iterator[None]:
    """Context in which processes begin with so many threads, and without importing the script that the user runs.

    It may have no `if __name__ == "__main__":`, and would then be run once more in each of them.
    """
    main, before = sys.modules["__main__"], os.environ.get("OMP_NUM_THREADS")
    sys.modules["__main__"] = types.ModuleType("__main__")
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # read when torch starts
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
