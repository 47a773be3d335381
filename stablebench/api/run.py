"""`train`, `evaluate`, `load`, `list_runs`: a run as an object; folder and record are the command line's."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch

from stablebench.api.asked import Model, count_of, lengths_of, path_of, request_of, split_off
from stablebench.api.frames import frame
from stablebench.api.run_tables import curve_rows, run_rows
from stablebench.api.table_files import columns_of
from stablebench.errors import UserError
from stablebench.models.network import AnyNetwork
from stablebench.models.user_code.namespace import disregard_loaded
from stablebench.models.user_code.running_script import begin_call
from stablebench.process import python_random, settings
from stablebench.process.settings import prepare_process
from stablebench.registry import task_parts
from stablebench.runs.curve import read_curve
from stablebench.runs.progress import Lines, Reporter, Silent
from stablebench.runs.run_paths import run_and_checkpoint, run_folder, runs_within
from stablebench.runs.store import RunFolder
from stablebench.schema.run_record import RunRecord
from stablebench.specs.request import Resolved
from stablebench.specs.resolve import resolve
from stablebench.training import run as session
from stablebench.training import run_code
from stablebench.training.monitor import MonitorConfig
from stablebench.training.resumed_run import resumed
from stablebench.training.score import EvaluationOptions, Score, score, trained_network
from stablebench.training.trackers import check_trackers

if TYPE_CHECKING:
    from stablebench.report.figures.style import Figure

_TRAIN = ("data_dir", "rerun", "wait", "probe", "track", "self_check")
"""Options of `train` that can change no number."""


@dataclass(frozen=True, repr=False)
class Run:
    """A run in its folder.

    Args:
        folder: The run folder: `record.json`, the curve, checkpoints.
    """

    folder: Path

    @cached_property
    def record(self) -> RunRecord:
        """Its record, as it was when it was first read."""
        return RunFolder(self.folder).read_record()

    @property
    def status(self) -> str:
        """`running`, `finished`, `diverged`, `interrupted` or `failed`."""
        return self.record.status

    @property
    def spec_hash(self) -> str:
        """Digest of all settings that can change its numbers, but the seed."""
        return self.record.spec_hash

    @property
    def test(self) -> dict[str, float]:
        """Metrics on the test split, by name; empty where it was not tested."""
        return dict(self.record.result.test or {})

    def curve(self) -> list[dict[str, Any]]:
        """Return what was recorded along the run, one dict an entry: `kind`, `step`, and what was measured."""
        return list(read_curve(RunFolder(self.folder).curve_path))

    def network(self) -> AnyNetwork:
        """Return its trained network on the CPU: the weights that were tested, else those of its newest checkpoint.

        Raises:
            UserError: It has no checkpoint, or its model's code is not known here.
        """
        run, record = RunFolder(self.folder), self.record
        load_code(run, record, None)
        return trained_network(run, record)[0]

    def to_frame(self) -> Any:
        """Return the curve as a pandas DataFrame.

        Raises:
            UserError: pandas is not installed.
        """
        rows = self.curve()
        return frame(columns_of(rows))

    def __repr__(self) -> str:
        record = self.record
        tested = "".join(f", test {name} {value:.4g}" for name, value in self.test.items())
        error = f" ({record.error})" if record.error else ""
        what = f"{record.spec.model.label} on {record.spec.task.name} seed {record.spec.seed}"
        return f"<Run {what}: {record.status} after {record.step} steps{error}{tested}; {self.folder}>"


class Runs(list[Run]):
    """Runs as a list, and as one table."""

    def to_frame(self, *, curves: bool = False, library: Literal["pandas", "polars"] = "pandas") -> Any:
        """Return a DataFrame with a row a run: every setting, every test metric, times and sizes.

        Args:
            curves: Whether it has a row for each entry of the runs' curves instead.
            library: Whose DataFrame.

        Raises:
            UserError: The library is not installed, or a record or a curve cannot be read.
        """
        stored = [(run.folder, run.record) for run in self]
        return frame(columns_of(curve_rows(stored) if curves else run_rows(stored)), library)

    def plot(self, metric: str | None = None) -> "Figure":
        """Return the learning curves as `stablebench plot curves` draws them: a panel a task, a line a model.

        Args:
            metric: What is drawn; None for each task's own.

        Raises:
            UserError: No run has the metric.
        """
        from stablebench.report.figures.leaderboard import curve_plots
        from stablebench.report.figures.panels import draw_plots

        return draw_plots(curve_plots([run.record for run in self], metric))


def train(
    model: Model | None = None,
    task: str | Path | None = None,
    *,
    resume: "Run | str | Path | None" = None,
    runs_dir: str | Path = "runs",
    quiet: bool = True,
    **options: Any,
) -> Run:
    """Train one model on one task, as `stablebench train` does: a finished run is not run again.

    The process's torch settings and random numbers are as before afterwards.

    Args:
        model: A registered name, `file.py:Class`, or the class; also a cell's class, `torch.nn.GRUCell`, or a function
            `(in_features, hidden)` that makes a cell.
        task: `task` or `task/variant`.
        resume: In place of model and task, a run, as `load` takes it: an interrupted one goes on, with `steps` a
            finished one for longer, in a folder of its own. `model` may name the code of the run's own model, `task`
            the card of its own task, where they were not named on this machine before.
        runs_dir: The run store.
        quiet: Whether no progress is printed, on stderr.
        options: The command's, with `_` for `-`: `T`, `hidden`, `layers`, `steps`, `epochs`, `batch_size`, `lr`,
            `recompute_every`, `seed`, `device`, `threads`, `engine`, `precision`, `deterministic`, `recipe`; `set`, a
            dict by key; and `data_dir`, `rerun`, `wait`, `probe` ("every=100"), `track` ("tensorboard"), `self_check`,
            `force_resume`.

    Returns:
        The run; one that diverged is a result, with the status `diverged`.

    Raises:
        UserError: An option is wrong, the data are missing, or the model breaks the contract.
        StablebenchError: The run failed, or another process is running it.
        KeyboardInterrupt: A signal ended it; the same call resumes it.
    """
    begin_call()
    own, rest = split_off(options, *_TRAIN, "force_resume")
    if (probe := own.get("probe")) is not None:
        MonitorConfig.parse(probe)
    force, folder = bool(own.pop("force_resume", False)), None
    if resume is None:
        resolved = resolve(request_of(model, task, rest, (*_TRAIN, "resume", "force_resume")))
    else:
        resolved, folder = _resumed(
            resume, path_of("runs_dir", runs_dir), model, task, rest, bool(own.get("rerun")), force
        )
    execution = session.ExecutionOptions(
        path_of("runs_dir", runs_dir),
        path_or_none(own.get("data_dir")),
        rerun=bool(own.get("rerun", False)),
        wait=bool(own.get("wait", False)),
        force=force,
        folder=folder,
        probe=probe,
        track=check_trackers(own.get("track") or ""),
        self_check=bool(own.get("self_check", True)),
        check_model=True,
    )
    reporter: Reporter = Silent() if quiet else Lines(sys.stderr)
    with settings_kept():
        outcome = session.train(resolved, execution, reporter)
    if outcome.exit_code not in (0, 3):
        raise KeyboardInterrupt
    return Run(outcome.folder.path)


def _resumed(
    run: "Run | str | Path",
    runs_dir: Path,
    model: Model | None,
    task: str | Path | None,
    options: dict[str, Any],
    rerun: bool,
    force: bool,
) -> tuple[Resolved, RunFolder]:
    """Return what a run is resumed with, and its folder or the longer run's."""
    steps = options.pop("steps", None)
    task = None if task is None else str(task)
    others = [*options, *(["task"] if task is not None and not task_parts(task)[2] else [])]
    others += ["model"] if model is not None and not (isinstance(model, str) and ":" in model) else []
    if others:
        raise UserError(f"{', '.join(others)}: a run is resumed with its own spec; leave it out, or start a new run.")
    return resumed(
        run_folder(path_of("resume", getattr(run, "folder", run)), runs_dir),
        model=None if model is None else str(model),
        task=task,
        steps=None if steps is None else count_of("steps", steps),
        rerun=rerun,
        force=force,
    )


@overload
def evaluate(run: Run | str | Path, *, T: int | None = None, lengths: None = None, **options: Any) -> Score: ...
@overload
def evaluate(run: Run | str | Path, *, lengths: int | Iterable[int], **options: Any) -> dict[int, Score]: ...
def evaluate(
    run: Run | str | Path,
    *,
    T: int | None = None,
    lengths: int | Iterable[int] | None = None,
    split: Literal["test", "validation"] = "test",
    model: str | None = None,
    runs_dir: str | Path = "runs",
    **options: Any,
) -> Score | dict[int, Score]:
    """Score a trained run on a split, at its own length or another, as `stablebench evaluate` does.

    Args:
        run: The run, as `load` takes it, or one checkpoint file in its folder.
        T: Another length than in training, >= 1.
        lengths: Several lengths in place of one.
        split: Which examples.
        model: The code of the run's own model, `file.py:Class`, where it was not named on this machine before.
        runs_dir: The run store, where the run is named.
        options: `data_dir`, `device`, `engine`, `threads`.

    Returns:
        `metrics` and `baselines` by name, `step`, `params`, `split`; for `lengths` a dict of them by length, the
        shortest first.

    Raises:
        UserError: There is no such run, no whole checkpoint, no such length, or the data are missing.
    """
    own, rest = split_off(options, "data_dir", "device", "engine", "threads")
    if rest:
        raise UserError(f"{', '.join(rest)}: unknown. Options: T, lengths, split, data_dir, device, engine, threads.")
    if split not in ("test", "validation"):
        raise UserError(f"split: must be test or validation, got '{split}'.")
    several = None if lengths is None else lengths_of(lengths)
    if several is not None and (T is not None or not several):
        raise UserError("lengths: " + ("leave T out." if several else "must name at least one length."))
    folder, file = run_and_checkpoint(path_of("run", getattr(run, "folder", run)), path_of("runs_dir", runs_dir))
    record = folder.read_record()
    with settings_kept():
        prepare_process(count_of("threads", own.get("threads", 1)), record.spec.precision, record.spec.deterministic)
        load_code(folder, record, model)
        wanted = EvaluationOptions(
            path_or_none(own.get("data_dir")), own.get("device", "auto"), own.get("engine", "auto"), file
        )
        if several is not None:
            return {length: score(folder, record, wanted, T=length, split=split) for length in several}
        return score(folder, record, wanted, T=None if T is None else count_of("T", T), split=split)


def load(run: str | Path, runs_dir: str | Path = "runs") -> Run:
    """Return a run.

    Args:
        run: Its folder; or its name in the run store, `copy/dizzy/1dd9e824cdfa-s0`, the start of the name or of its
            hash, its label, or `last`, also `copy/last`.
        runs_dir: The run store.

    Raises:
        UserError: There is no such run, or several are called so: the message names them.
    """
    loaded = Run(run_folder(path_of("run", getattr(run, "folder", run)), path_of("runs_dir", runs_dir)).path)
    assert loaded.record
    return loaded


def list_runs(folder: str | Path = "runs") -> Runs:
    """Return all runs in a run store, or below a folder of it, in the order of their paths; those without a record not.

    Args:
        folder: The folder.

    Raises:
        UserError: There is no such folder.
    """
    if not path_of("folder", folder).is_dir():
        raise UserError(f"{folder}: there is no such folder.")
    return Runs(Run(run.path) for run in runs_within(Path(folder)))


def load_code(folder: RunFolder, record: RunRecord, model: str | None) -> None:
    """Load the code of a run's own model: what `model` names, else the run's copy if the user has named it before.

    Raises:
        UserError: It names no code or other code, the code cannot be loaded, or it is not known here.
    """
    run_code.name_code(folder, record.spec, model)


def path_or_none(path: str | Path | None) -> Path | None:
    """Return a path, or None."""
    return None if path is None else path_of("data_dir", path)


@contextmanager
def settings_kept() -> Iterator[None]:
    """Context of a function's work, after which torch's settings and the generators of random numbers are as before."""
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    deterministic, benchmark = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    algorithms, precision = torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    flushes = settings.flags()["flush_denormal"]
    states = python_random.states()
    disregard_loaded()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        python_random.set_states(states)
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_flush_denormal(flushes)
        torch.set_float32_matmul_precision(precision)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = deterministic, benchmark
        if torch.are_deterministic_algorithms_enabled() != algorithms:
            torch.use_deterministic_algorithms(algorithms)
