"""A finished run goes on for more updates: as the longer run, in a folder of its own, from its checkpoint.

No schedule depends on the number of updates in all, so that the longer run is the one that it would have been from its
start, bit for bit on a CPU. The shorter run stays as it is.
"""

import dataclasses
import json
from typing import Any

from stablebench.errors import UserError
from stablebench.runs import checkpoint
from stablebench.runs.atomic import write_atomically
from stablebench.runs.checkpoint import Checkpoint
from stablebench.runs.curve import read_curve
from stablebench.runs.store import RunFolder
from stablebench.schema.run_record import Evaluation, RunRecord
from stablebench.specs.limits import check_spec
from stablebench.specs.request import Resolved
from stablebench.training.resume import latest_valid_checkpoint
from stablebench.training.state import best_of


def longer(folder: RunFolder, record: RunRecord, resolved: Resolved, steps: int) -> tuple[Resolved, RunFolder]:
    """Return the run of `steps` updates that a finished one is the beginning of, and its folder, next to the other.

    Args:
        folder: The finished run's.
        record: Its record.
        resolved: What it was resolved to.
        steps: Updates in all.

    Raises:
        UserError: The run has not finished its budget, or has as many updates; or the longer one is there.
    """
    budget = record.spec.train.steps
    if record.status != "finished":
        way_out = "" if record.status == "diverged" else f" `stablebench train --resume {folder.path}` finishes it."
        raise UserError(
            f"--steps {steps}: only a finished run goes on for longer; this one is {record.status}.{way_out}"
        )
    if record.step < budget:
        raise UserError(
            f"--steps {steps}: the run ended at its target (train.stop_at_target), and would end there again."
        )
    if steps <= budget:
        raise UserError(f"--steps {steps}: must be more than the {budget:,} updates that the run has.")
    train = record.spec.train.model_copy(update={"steps": steps})
    spec = record.spec.model_copy(update={"train": train})
    check_spec(spec, resolved.card)
    target = RunFolder(folder.path.with_name(f"{spec.spec_hash()}-s{spec.seed}"))
    if target.record_path.exists():
        raise UserError(
            f"--steps {steps}: there is such a run, {target.path}; `stablebench train --resume {target.path}` shows it "
            "or goes on with it."
        )
    origin = resolved.origin | {"train.steps": "option"}
    return dataclasses.replace(resolved, spec=spec, origin=origin), target


def begin(folder: RunFolder, resolved: Resolved, target: RunFolder) -> None:
    """Give the longer run the checkpoint and the curve of the shorter one, from which it is resumed.

    Where it has a checkpoint already, a process that was to train it ended before its first record: it goes on.

    Raises:
        UserError: The checkpoint is damaged or gone, or is not that of the last update.
        StablebenchError: The disk does not take it, or another process has the folder.
    """
    record = folder.read_record()
    saved = latest_valid_checkpoint(folder)
    if saved is None or saved.step != record.step:
        why = "" if folder.checkpoints() else f": {folder.why_no_weights()}"
        raise UserError(
            f"{folder.path}: the checkpoint of update {record.step} is needed to go on, and is not there{why}."
        )
    lines = list(read_curve(folder.curve_path))
    state: dict[str, Any] = saved.state | {"spec_hash": resolved.spec.spec_hash()}
    if record.step % record.spec.train.eval_every:  # an evaluation that the longer run would not have made
        evaluations = [Evaluation.model_validate(e) for e in state["evaluations"] if e["step"] != record.step]
        best = best_of(record.metric, evaluations)
        if resolved.card.protocol_at(record.spec.task.params).select_on == "validation" and best != record_best(record):
            raise UserError(
                f"{folder.path}: its best weights are those of update {record.step}, where a longer run would not have "
                "been evaluated; run it from its start."
            )
        state |= {"evaluations": [e.model_dump() for e in evaluations], "best": best}
        lines = [line for line in lines if (line["step"], line["split"]) != (record.step, "validation")]
    text = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    note = f"{record.step:,} to {resolved.spec.train.steps:,} updates, begun as {folder.path.name}"
    state |= {"curve_length": len(text), "extended": [*state.get("extended", []), note]}
    (target.path / "checkpoints").mkdir(parents=True, exist_ok=True)
    with target.lock():
        if target.checkpoints():
            return
        write_atomically(target.curve_path, text, within=target.path)
        checkpoint.save(target.checkpoint_path(saved.step), Checkpoint(saved.tensors, state))


def record_best(record: RunRecord) -> tuple[float, int] | None:
    """Return the best validation value of a record and its update."""
    result = record.result
    return None if result.best is None or result.best_step is None else (result.best, result.best_step)
