"""A sweep's memory: Optuna's study in a journal file, one process at a time, and what a trial is.

What trial n tries depends on the seed, on n and on what came out of the trials before it, not on how often the sweep
was interrupted: the sampler gets a seed of its own for each trial.
"""
# pyright: reportMissingImports=false
# optuna is an extra

import contextlib
import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from stablebench.data.metrics import higher_is_better
from stablebench.errors import StablebenchError, UserError
from stablebench.process.extras import require
from stablebench.schema.sweep import Dimension, Sampler, Scalar, SweepSpace
from stablebench.specs.search_space import grid, rounded

if TYPE_CHECKING:
    import optuna

Pruner = Literal["median", "none"]
TrialStatus = Literal["running", "finished", "pruned", "diverged", "failed"]
_STUDY = "sweep"


@dataclass(frozen=True)
class Plan:
    """What decides the trials of a sweep.

    Args:
        space: What is searched.
        metric: What is optimised, on validation examples.
        base: Hash of the run spec that the searched values are laid over.
        card: Digest of the task's card.
        sampler: How values are drawn.
        pruner: Whether trials worse than the median of those before, at the same update, end early.
        seed: Of the sampler.
        startup: Trials that are drawn at random (tpe) and never pruned (median); None for Optuna's 10 and 5.
        warmup: Updates before which no trial is pruned.
    """

    space: SweepSpace
    metric: str
    base: str
    card: str
    sampler: Sampler = "tpe"
    pruner: Pruner = "median"
    seed: int = 0
    startup: int | None = None
    warmup: int = 0

    def document(self) -> dict[str, Any]:
        """Return it as JSON can hold it; two sweeps with the same document are one."""
        searched = {key: dimension.model_dump(mode="json") for key, dimension in self.space.space.items()}
        document = asdict(self) | {"space": searched}
        return document if self.warmup else {key: value for key, value in document.items() if key != "warmup"}


@dataclass(frozen=True)
class Trial:
    """One trial.

    Args:
        number: From 0.
        values: What it tries, by dotted key of the run spec.
        status: How it stands.
        value: What it scored in the sweep's metric: of a pruned or diverged one, the last it had.
        evaluations: Validation values by update.
        facts: What else was noted: `run`, `message`.
    """

    number: int
    values: dict[str, Scalar]
    status: TrialStatus
    value: float | None = None
    evaluations: dict[int, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def standing(self) -> str:
        """Its status in words, where its process is no more: what was running is interrupted, and goes on."""
        return "interrupted" if self.status == "running" else self.status


class StudyHeld(StablebenchError):
    """Another process is working on a study."""


class _HeldLock:
    """A lock of Optuna's that does nothing: the sweep holds the file for as long as it runs.

    Optuna's own is a link that stays behind when the process is killed.
    """

    def acquire(self) -> bool:
        """Return that it is held."""
        return True

    def release(self) -> None:
        """Do nothing."""


class Study:
    """The trials of a sweep, in a file that survives the process. Use it as a context.

    Args:
        path: The journal; it need not exist yet.
        plan: What decides the trials.
        workers: Trials at once; with more than one, those that run are counted as bad ones by tpe, so that they
            are not drawn twice.
        wait: Whether to wait for another process that is working on it.

    Raises:
        UserError: Optuna is not installed, or the file holds another sweep.
        StudyHeld: Another process is working on it, and `wait` is false.
    """

    def __init__(self, path: Path, plan: Plan, workers: int = 1, *, wait: bool = False) -> None:
        self.path, self.plan, self._workers, self._wait = path, plan, workers, wait
        self._grid = grid(plan.space, plan.seed) if plan.sampler == "grid" else None
        require("optuna", "a search over settings (`sweep`, `tune`)")
        self._lock = FileLock(path.with_name(f"{path.name}.lock"))

    def __enter__(self) -> "Study":
        """Take the file and read what is there."""
        if self.path.is_dir():
            raise UserError(f"{self.path}: a sweep's journal is a file, and this is a folder.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=-1 if self._wait else 0)
        except Timeout:
            raise StudyHeld(f"{self.path}: another process is running this sweep.") from None
        try:
            self._study = self._opened()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        """Give the file back."""
        self._lock.release()

    def _opened(self) -> "optuna.Study":
        with _quiet():
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend

            optuna.logging.set_verbosity(optuna.logging.ERROR)
            _cut_torn_line(self.path)
            backend = JournalFileBackend(str(self.path), _HeldLock())  # pyright: ignore[reportArgumentType]
            try:
                study = optuna.create_study(
                    storage=JournalStorage(backend),
                    study_name=_STUDY,
                    direction="maximize" if higher_is_better(self.plan.metric) else "minimize",
                    pruner=self._pruner(),
                    load_if_exists=True,
                )
            except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
                raise UserError(f"{self.path}: not a journal of a sweep ({type(error).__name__}: {error}).") from None
            before = study.user_attrs.get("plan")
            now = self.plan.document()
            if before is None:
                study.set_user_attr("plan", now)
            elif not isinstance(before, dict):
                raise UserError(f"{self.path}: not a journal of a sweep (its plan is {before!r}).")
            elif before != now:
                differ = sorted(key for key in now if before.get(key) != now[key])
                raise UserError(
                    f"--storage {self.path}: it holds a sweep with another {', '.join(differ)}; name another file."
                )
            return study

    def _pruner(self) -> "optuna.pruners.BasePruner":
        import optuna

        if self.plan.pruner == "none":
            return optuna.pruners.NopPruner()
        startup = 5 if self.plan.startup is None else self.plan.startup
        return optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=self.plan.warmup)

    def _sampler(self, number: int) -> "optuna.samplers.BaseSampler":
        import optuna

        digest = hashlib.sha256(f"{self.plan.seed} {number}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        if self.plan.sampler != "tpe":
            return optuna.samplers.RandomSampler(seed=seed)
        startup = 10 if self.plan.startup is None else self.plan.startup
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, constant_liar=self._workers > 1)

    @property
    def _frozen(self) -> "list[optuna.trial.FrozenTrial]":
        return self._study.get_trials(deepcopy=False)

    # -- trials --------------------------------------------------------------------------------------------------

    @property
    def most(self) -> int | None:
        """How many trials there can be: the points of a grid; None for no end."""
        return None if self._grid is None else len(self._grid)

    def trials(self) -> list[Trial]:
        """Return all trials there are, in the order of their numbers."""
        return [self._seen(frozen) for frozen in self._frozen]

    def unfinished(self) -> list[Trial]:
        """Return the trials that were running when the sweep last ended."""
        return [trial for trial in self.trials() if trial.status == "running"]

    def ask(self) -> Trial:
        """Begin a new trial and return it."""
        with _quiet():
            number = len(self._frozen)
            self._study.sampler = self._sampler(number)
            if self._grid is not None:
                self._study.enqueue_trial(dict(self._grid[number]))
            self._study.ask()
        return self.resume(number)

    def resume(self, number: int) -> Trial:
        """Complete the values of a trial whose process ended while they were drawn, and return it."""
        with _quiet():
            asked = self._live(number)
            for key, dimension in self.plan.space.space.items():
                _suggest(asked, key, dimension)
            return self._seen(self._frozen[number])

    def report(self, number: int, step: int, value: float) -> bool:
        """Note a validation value of a running trial and return whether it is to end here."""
        with _quiet():
            live = self._live(number)
            if step not in self._frozen[number].intermediate_values:
                live.report(value, step)
            return live.should_prune()

    def tell(self, number: int, status: TrialStatus, value: float | None, **facts: Any) -> Trial:
        """End a trial.

        Args:
            number: Which.
            status: How it ended.
            value: What it scored; only that of a finished one counts.
            facts: What else to note.
        """
        import optuna

        states = {"finished": optuna.trial.TrialState.COMPLETE, "failed": optuna.trial.TrialState.FAIL}
        with _quiet():
            live = self._live(number)
            for key, fact in {"status": status, **facts}.items():
                live.set_user_attr(key, fact)
            self._study.tell(
                number,
                value if status == "finished" else None,
                state=states.get(status, optuna.trial.TrialState.PRUNED),
            )
            return self._seen(self._frozen[number])

    def best(self) -> Trial | None:
        """Return the finished trial with the best value, the first of equal ones; None where none finished."""
        return best_trial(self.trials(), self.plan.metric)

    def _live(self, number: int) -> "optuna.Trial":
        import optuna

        self._study.sampler = self._sampler(number)
        return optuna.Trial(self._study, self._frozen[number]._trial_id)

    def _seen(self, frozen: "optuna.trial.FrozenTrial") -> Trial:
        space = self.plan.space.space
        facts = dict(frozen.user_attrs)
        status = facts.pop("status", "failed") if frozen.state.is_finished() else "running"
        values = {key: rounded(space[key], value) for key, value in frozen.params.items()}
        value = frozen.value if frozen.state.is_finished() else None
        return Trial(frozen.number, values, status, value, dict(frozen.intermediate_values), facts)


def best_trial(trials: list[Trial], metric: str) -> Trial | None:
    """Return the finished trial with the best value, the first of equal ones; None where none finished."""
    finished = [trial for trial in trials if trial.status == "finished" and trial.value is not None]
    sign = -1.0 if higher_is_better(metric) else 1.0
    return min(finished, key=lambda trial: sign * (trial.value or 0.0), default=None)


def journal_path(folder: Path, plan: Plan, model: str, task: str) -> Path:
    """Return where the journal of a search lies in a folder: the same plan finds it again."""
    digest = hashlib.sha256(json.dumps(plan.document(), sort_keys=True).encode()).hexdigest()[:8]
    return folder / f"{task}-{model.rpartition(':')[2]}-{digest}.journal"


def _suggest(trial: "optuna.Trial", key: str, dimension: Dimension) -> None:
    if dimension.choices is not None:
        trial.suggest_categorical(key, dimension.choices)
        return
    assert dimension.low is not None and dimension.high is not None  # the schema holds this
    if dimension.integer:
        trial.suggest_int(key, int(dimension.low), int(dimension.high), log=dimension.log)
    else:
        trial.suggest_float(key, dimension.low, dimension.high, log=dimension.log)


def _cut_torn_line(path: Path) -> None:
    """Take off what a killed process left of its last line: Optuna would append to it."""
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's remarks about its own interfaces from the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
