"""Checks, at the start of a sitting, that a run's engine computes what the reference does (`engines.self_check`)."""

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stablebench import engines
from stablebench.engines.self_check import ROWS, difference
from stablebench.errors import UserError, device_failure, first_line, ran_out_of_memory
from stablebench.runs.progress import Lines
from stablebench.schema.run_record import SelfCheck
from stablebench.training.evaluation import to_device

if TYPE_CHECKING:
    from stablebench.models.network import AnyNetwork
    from stablebench.training.trainer import Trainer

_WHY = "self-check: "


def checked(trainer: "Trainer", wanted: bool) -> SelfCheck | None:
    """Check a run's engine on its next batch; a wrong one gives way to the reference.

    Args:
        trainer: The run, before its first update of this sitting.
        wanted: Whether to.

    Returns:
        How it came out; None for the reference engine, and where memory or a device failed meanwhile, which the run
        sees to as in any update.

    Raises:
        UserError: The engine is wrong, and was asked for by name.
    """
    if trainer.engine.name == "reference":
        return "failed" if (trainer.gave_way or "").startswith(_WHY) else None
    if not wanted:
        return "off"
    try:
        what = engine_differs(trainer)
    except Exception as error:
        if ran_out_of_memory(error) or device_failure(error) is not None:
            return None
        what = f"it fails with {type(error).__name__}: {first_line(error)}"
        if not _reference_runs(trainer):
            return None  # the run itself will say it
    if what is None:
        return "passed"
    name = trainer.engine.name
    if trainer.spec.engine != "auto":
        raise UserError(f"{_refusal(trainer.spec.engine, what)}; --no-self-check leaves this check out.")
    trainer.reporter.note(_warning(name, what))
    trainer.resumed_elsewhere.append(f"step {trainer.step}: engine: {name} then, reference now ({_WHY}{what})")
    trainer.give_way(_WHY + what)
    return "failed"


def engine_differs(trainer: "Trainer") -> str | None:
    """Return in one line what a run's engine computes otherwise than the reference, on the next batch, or None."""
    spec, task = trainer.spec, trainer.task
    batch = task.train_batch(spec.seed, trainer.step, spec.train.batch_size)
    batch = to_device(batch, trainer.device)
    begins = task.begins_anew(trainer.step, spec.train.batch_size)
    return difference(trainer.network, batch.inputs, batch.lengths, None if begins else trainer.carried)


def _reference_runs(trainer: "Trainer") -> bool:
    """Return whether the reference runs where the engine failed."""
    fast: Any = trainer.network.engine
    trainer.network.engine = engines.choose("reference", trainer.network, trainer.device).run
    try:
        engine_differs(trainer)
    except Exception:
        return False
    finally:
        trainer.network.engine = fast
    return True


def engine_for_evaluation(
    asked: str, network: "AnyNetwork", where: torch.device, inputs: Tensor, lengths: Tensor | None = None
) -> None:
    """Give a trained network an engine whose outputs are those of the reference on a few examples.

    Args:
        asked: `auto`, `reference`, `scan` or `fused`.
        network: The network, on `where`; its mode (train, eval) is left as it was.
        where: The device.
        inputs: Of the examples that it will be evaluated on.
        lengths: Of them.

    Raises:
        UserError: The engine cannot run the model, or is wrong, and was asked for by name.
    """
    chosen = engines.choose(asked, network, where)  # pyright: ignore[reportArgumentType]
    network.engine = chosen.run
    if chosen.name == "reference":
        return
    few = None if lengths is None else lengths[:ROWS].to(where)
    training = network.training
    network.eval()
    try:
        what = difference(network, inputs[:ROWS].to(where), few, gradients=False)
    finally:
        network.train(training)
    if what is None:
        return
    if asked != "auto":
        raise UserError(f"{_refusal(asked, what)}.")
    Lines(sys.stderr).note(_warning(chosen.name, what))
    network.engine = engines.choose("reference", network, where).run  # pyright: ignore[reportArgumentType]


def _refusal(asked: str, what: str) -> str:
    return (
        f"--engine {asked}: it does not compute what the reference engine does: {what}. Take --engine reference, or "
        "auto"
    )


def _warning(name: str, what: str) -> str:
    return (
        f"warning: the {name} engine does not compute what the reference engine does ({what}); the reference engine "
        "runs this model"
    )
