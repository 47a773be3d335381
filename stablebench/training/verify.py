"""Re-run the first updates of a run and report where they differ from what it stored, bit for bit."""

import tempfile
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from stablebench.engines import numerics
from stablebench.errors import UserError
from stablebench.runs import checkpoint
from stablebench.runs.checkpoint import Checkpoint
from stablebench.runs.curve import read_curve
from stablebench.runs.progress import Reporter, Silent, StopAfter
from stablebench.runs.store import RunFolder
from stablebench.schema.run_record import Environment, RunRecord
from stablebench.specs.request import Resolved
from stablebench.training.build import build_run
from stablebench.training.loop import run_part
from stablebench.training.network_state import NetworkState
from stablebench.training.reproducibility import difference, equal

_COMPARED = ("network", "optimiser", "carried", "random")
"""Parts of every checkpoint."""
_COMPARED_WHERE_HELD = ("generators", "attributes")
"""Parts that earlier versions did not hold."""
_LEFT_OUT = frozenset(
    {
        *("commit", "platform", "torch_config", "reproducible", "irreproducible"),  # no cause by themselves
        *("packages", "backend", "compiler", "rounding"),  # compared part by part
    }
)
"""Fields of an environment whose values as a whole are not compared."""


@dataclass
class Verdict:
    """How the first updates of a run compare when they are run again.

    Args:
        steps: Updates run again.
        lines: Lines of the curve that were compared: losses of updates, and evaluations.
        checkpoints: Steps of the checkpoints whose tensors were compared.
        result: Whether the end of the run was compared, too.
        differences: Where they differ, in their order; empty if all is equal bit for bit.
        environment: How the environment differs.
        promised: Whether equal numbers are claimed: not of a run on CUDA without `--deterministic`, nor of a model
            that draws what no seed decides.
        cause: Why they are not, or None.
    """

    steps: int
    lines: int = 0
    checkpoints: list[int] = field(default_factory=list)
    result: bool = False
    differences: list[str] = field(default_factory=list)
    environment: list[str] = field(default_factory=list)
    promised: bool = True
    cause: str | None = None

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {"equal": self.is_equal} | asdict(self)


def verify(
    resolved: Resolved,
    record: RunRecord,
    folder: RunFolder,
    steps: int,
    *,
    data_dir: Path | None = None,
    reporter: Reporter | None = None,
) -> Verdict:
    """Run the first `steps` updates again, in a folder of their own, and compare.

    Compared are the losses and evaluations in the curve, the tensors of every whole checkpoint up to there, and, where
    the run ended by then, how it ended and what it scored. A run that was resumed where it began elsewhere, with
    `--force-resume`, need not be equal.

    Args:
        resolved: What the run was resolved to.
        record: Its record.
        folder: Its folder, which is not changed.
        steps: Updates, >= 1; at most those of the run are made.
        data_dir: Folder of the real data sets.
        reporter: Follows the updates.

    Raises:
        UserError: The run has made no update, its data are missing, or its curve is damaged.
    """
    if not record.step and record.status != "diverged":
        raise UserError(f"{folder.path}: the run has made no update yet, there is nothing to verify.")
    to_its_end = steps >= record.step and record.status in ("finished", "diverged")
    steps = min(steps, record.step)
    stored = {saved.step: saved for saved in _checkpoints(folder) if 0 < saved.step <= steps}
    train = resolved.spec.train.model_copy(update={"checkpoint_every": resolved.spec.train.steps})  # none on the way
    quiet = replace(resolved, spec=resolved.spec.model_copy(update={"train": train}))
    with tempfile.TemporaryDirectory(prefix="stablebench-verify-") as temporary:
        again = RunFolder(Path(temporary) / "run")
        verdict = Verdict(steps, promised=record.environment.reproducible is not False)
        if not verdict.promised:
            verdict.cause = record.environment.irreproducible or "the run was made on CUDA without --deterministic"
        for stop in [*sorted(stored.keys() - {steps}), steps]:
            follow = reporter or Silent()
            loop = build_run(
                quiet,
                again,
                reporter=follow if stop == steps and to_its_end else StopAfter(stop, follow),
                data_dir=data_dir,
                self_check=record.self_check != "off",
            )
            loop.parts.engine.compile_as(record.environment.model_dump())
            ended = run_part(loop)
            if stop in stored and ended.step == stop:
                verdict.checkpoints.append(stop)
                verdict.differences += _tensors_differ(stored[stop], checkpoint.load(again.checkpoint_path(stop)), stop)
            if ended.status == "diverged":
                break
        _compare_curves(verdict, folder, again, steps)
        environment = loop.parts.environment.now
        verdict.environment = _environments_differ(record, environment)
        if verdict.promised and environment.irreproducible is not None:  # an older record did not see it
            verdict.promised, verdict.cause = False, environment.irreproducible
        if ended.status != record.status and (to_its_end or ended.status == "diverged"):
            verdict.differences.append(
                f"it {record.status} at step {record.step}; now it {ended.status} at {ended.step}"
            )
        elif to_its_end:
            verdict.result = True
            verdict.differences += _results_differ(record, ended)
    verdict.differences.sort(key=_step_of)
    return verdict


def _checkpoints(folder: RunFolder) -> Iterator[Checkpoint]:
    """Yield a run's whole checkpoints."""
    for path in folder.checkpoints():
        with suppress(UserError):
            yield checkpoint.load(path)


def _compare_curves(verdict: Verdict, before: RunFolder, now: RunFolder, steps: int) -> None:
    splits = ("validation",) if before.unpacked_path.exists() else ("train", "validation")  # an archive rounds
    was, is_ = (_lines(folder, steps, splits) for folder in (before, now))
    for key in dict.fromkeys([*was, *is_]):
        verdict.lines += 1
        step, split = key
        if key not in was or key not in is_:
            where = "is not in the run's curve, where it was lost" if key in is_ else "is in the run's curve only"
            verdict.differences.append(f"step {step}: the {split} line {where}")
            continue
        names = [name for name in was[key] if name in is_[key] and was[key][name] != is_[key][name]]
        verdict.differences += [f"step {step}: {split} {n} {was[key][n]!r} then, {is_[key][n]!r} now" for n in names]


def _lines(folder: RunFolder, steps: int, splits: Collection[str]) -> dict[tuple[int, str], dict[str, Any]]:
    """Return a curve's losses and evaluations up to a step, without times; what a probe measured is left out."""
    return {
        (line["step"], line["split"]): {k: v for k, v in line.items() if k != "wall_s"}
        for line in read_curve(folder.curve_path)
        if line.get("split") in splits and isinstance(line.get("step"), int) and line["step"] <= steps
    }


def _tensors_differ(before: Checkpoint, now: Checkpoint, step: int) -> list[str]:
    lines = []
    for part in (*_COMPARED, *(part for part in _COMPARED_WHERE_HELD if before.part(part))):
        was, is_ = before.part(part), now.part(part)
        for name in dict.fromkeys([*was, *is_]):
            if name not in was or name not in is_:
                lines.append(f"step {step}: {part} {name} is {'now' if name in is_ else 'in the checkpoint'} only")
            elif not equal(was[name], is_[name]):
                lines.append(f"step {step}: {part} {name} differs{_by(was[name], is_[name])}")
    if before.state.get("attributes") not in (None, now.state.get("attributes")):
        name = difference(NetworkState.of_checkpoint(before), NetworkState.of_checkpoint(now))
        lines.append(f"step {step}: the model's attribute {name} differs")
    return lines


def _by(a: Tensor, b: Tensor) -> str:
    if a.shape != b.shape or not (a.is_floating_point() or a.is_complex()):
        return ""
    return f" by up to {(a - b).abs().max().item():.3g}"


def _results_differ(before: RunRecord, now: RunRecord) -> list[str]:
    names = ("test", "tested", "tested_step", "best", "best_step", "steps_to_baseline", "steps_to_target")
    pairs = [(name, getattr(before.result, name), getattr(now.result, name)) for name in names]
    if before.result.test is not None and now.result.test is not None:  # a record need not have every metric of today
        shared = sorted(before.result.test.keys() & now.result.test.keys())
        was, is_ = ({name: test[name] for name in shared} for test in (before.result.test, now.result.test))
        pairs[0] = ("test", was, is_)
    pairs += [("step", before.step, now.step), ("error", before.error, now.error)]
    return [f"the end: {name} {was!r} then, {is_!r} now" for name, was, is_ in pairs if was != is_]


def _environments_differ(record: RunRecord, environment: Environment) -> list[str]:
    before, now = record.environment.model_dump(), environment.model_dump()
    keys = [key for key in before if key not in _LEFT_OUT and before[key] != now[key]]
    lines = [f"{key}: {before[key]} then, {now[key]} now" for key in keys] + numerics.differences(before, now)
    changed = sorted(set(before["packages"]) ^ set(now["packages"]))
    return lines + ([f"packages: {', '.join(changed)}"] if before["packages"] and changed else [])


def _step_of(difference: str) -> tuple[bool, int]:
    word, number = [*difference.split(), "", ""][:2]
    digits = number.rstrip(":")
    return word != "step", int(digits) if word == "step" and digits.isdigit() else 0
