"""Checks, at the start of a session, that a run's engine computes what the reference does (`engines.self_check`)."""

import sys
from typing import Any

import torch
from torch import Tensor

from stablebench import engines
from stablebench.engines.fallback import FallbackEngine
from stablebench.engines.self_check import ROWS, difference
from stablebench.errors import StablebenchError, UserError, device_failure, first_line, ran_out_of_memory
from stablebench.models.network import AnyNetwork
from stablebench.runs.progress import Lines
from stablebench.schema.run_record import SelfCheck
from stablebench.training.parts import RunParts
from stablebench.training.step import next_batch

_WHY = "self-check: "


def checked(parts: RunParts, wanted: bool) -> SelfCheck | None:
    """Check a run's engine on its next batch; a wrong one is replaced by the reference engine.

    Args:
        parts: The run, before its first update of this session.
        wanted: Whether to check it.

    Returns:
        How it came out; None for the reference engine, and where memory or a device failed during the check, which
        the run handles as in any update.

    Raises:
        UserError: The engine is wrong, and was asked for by name.
    """
    engine = parts.engine
    if engine.name == "reference":
        return "failed" if (engine.reason or "").startswith(_WHY) else None
    if not wanted:
        return "off"
    try:
        what = engine_differs(parts)
    except Exception as error:
        if ran_out_of_memory(error) or device_failure(error) is not None:
            return None
        what = f"it fails with {type(error).__name__}: {first_line(error)}"
        if not _reference_runs(parts):
            return None  # the run itself will report it
    if what is None:
        return "passed"
    if engine.asked != "auto":
        raise UserError(f"{_refusal(engine.asked, what)}; --no-self-check leaves this check out.")
    parts.reporter.note(_warning(engine.name, what))
    parts.add_fallback(engine.name, _WHY + what)
    engine.fall_back(_WHY + what)
    return "failed"


def refuse_other_numbers(parts: RunParts) -> None:
    """Refuse to go on with an engine that no longer computes what a user's model does.

    What a step reads besides tensors may change while it trains, where no check at its start can see it.

    Raises:
        StablebenchError: The engine no longer computes what the reference does.
    """
    if parts.spec.model.source is None or parts.self_check != "passed":
        return
    what = engine_differs(parts)
    if what is not None:
        raise StablebenchError(
            f"{parts.folder.path}: after update {parts.state.step} the {parts.engine.name} engine does not compute "
            f"what the reference engine does ({what}): the model's step reads something that changes while it trains. "
            "Its numbers since the last check may be wrong; run it with --engine reference."
        )


def engine_differs(parts: RunParts) -> str | None:
    """Return in one line what a run's engine computes differently from the reference on the next batch, or None."""
    spec, task, step = parts.spec, parts.task, parts.state.step
    batch = next_batch(parts)
    begins = task.starts_from_initial_states(step, spec.train.batch_size)
    return difference(parts.network, batch.inputs, batch.lengths, None if begins else parts.state.carried)


def _reference_runs(parts: RunParts) -> bool:
    """Return whether the reference runs where the engine failed."""
    chosen: Any = parts.network.engine
    parts.network.engine = engines.choose("reference", parts.network, parts.device).run
    try:
        engine_differs(parts)
    except Exception:
        return False
    finally:
        parts.network.engine = chosen
    return True


def engine_for_evaluation(
    asked: str, network: AnyNetwork, where: torch.device, inputs: Tensor, lengths: Tensor | None = None
) -> None:
    """Give a trained network an engine whose outputs are those of the reference on a few examples.

    Args:
        asked: `auto`, `reference`, `scan`, `fused` or `chunkwise`.
        network: The network, on `where`; its mode (train, eval) is left as it was.
        where: The device.
        inputs: The examples that it will be evaluated on, or the first of them.
        lengths: Their lengths, (batch,), or None.

    Raises:
        UserError: The engine cannot run the model, or is wrong, and was asked for by name.
    """
    engine = FallbackEngine(asked, network, where)
    if engine.name == "reference":
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
    Lines(sys.stderr).note(_warning(engine.name, what))
    engine.fall_back(what)


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
