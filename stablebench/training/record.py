"""What a run records of itself, from its parts and its counters."""

import math
import time

from stablebench.models.user_code.namespace import uncovered
from stablebench.schema.run_record import Result, RunRecord, Status
from stablebench.training.parts import RunParts

_EVERY_S = 1.0
"""Seconds between two records of a run that goes on, at least: a disk takes as long for one as for some updates."""


def write_record(parts: RunParts, status: Status, result: Result | None = None, error: str | None = None) -> RunRecord:
    """Write the record of a run as it is now to its folder, and return it.

    Args:
        parts: The run.
        status: Whether it runs, or how it ended.
        result: What it came to, where it has ended.
        error: Why it ended before its budget was spent.

    Raises:
        FolderLost: The folder was renamed or removed.
        StablebenchError: The disk does not take it.
    """
    spec, card, state, params = parts.spec, parts.card, parts.state, parts.spec.task.params
    record = RunRecord(
        spec=spec,
        spec_hash=spec.spec_hash(),
        status=status,
        metric=card.metric,
        baseline=card.baseline(card.metric, params),
        target=card.target_value(params),
        target_metric=card.target.metric if card.target else None,
        card_sha256=card.sha256(),
        selection=card.selection(params),
        parameters=parts.parameters,
        embedding_parameters=parts.embedding_parameters,
        step=state.step,
        train_s=state.train_s,
        wall_s=state.wall_s,
        started=state.started,
        evaluations=state.evaluations,
        result=result or Result(),
        environment=parts.environment.now,
        resumed_at=state.resumed_at,
        resumed_elsewhere=state.resumed_elsewhere,
        extended=state.extended,
        origin=parts.resolved.origin,
        self_check=parts.self_check,
        probe=None if parts.probe is None else str(parts.probe.config),
        floss=state.floss,
        error=error,
        uncovered=[] if spec.model.source is None and spec.task.source is None else uncovered(),
    )
    parts.folder.write_record(record)
    return record


class ProgressRecord:
    """The record of a run that goes on.

    Args:
        parts: The run.
    """

    def __init__(self, parts: RunParts) -> None:
        self._parts, self._written_at = parts, -math.inf

    def write(self, *, at_once: bool = False) -> None:
        """Write it as it is now, unless one was written a moment ago.

        Args:
            at_once: Also then: there is a new checkpoint.

        Raises:
            FolderLost: The folder was renamed or removed.
            StablebenchError: The disk does not take it.
        """
        self._parts.folder.check()
        if at_once or time.monotonic() - self._written_at >= _EVERY_S:
            write_record(self._parts, "running")
            self._written_at = time.monotonic()
