"""Score a trained run at other lengths, each once: what was scored is kept next to the run."""

from collections.abc import Iterable

from stablebench.runs.store import RunFolder
from stablebench.schema.measured import Measurements
from stablebench.schema.run_record import RunRecord
from stablebench.stats.lengths import DRAWN, PAPER_RANGE, spans_paper_range
from stablebench.training.score import EvaluationOptions, score


def measured_of(folder: RunFolder, record: RunRecord) -> Measurements:
    """Return what was measured of a run's tested weights; empty where that is nothing or of other weights."""
    step = record.result.tested_step or 0
    known = folder.read_measured()
    if known is not None and (known.spec_hash, known.step) == (record.spec_hash, step):
        return known
    return Measurements(spec_hash=record.spec_hash, step=step)


def unscored_lengths(folder: RunFolder, record: RunRecord, lengths: Iterable[int]) -> list[str]:
    """Return what is still to be scored of a run: lengths as texts, and the range of papers where they span it.

    Args:
        folder: The run.
        record: Its record.
        lengths: The lengths asked for.
    """
    wanted = sorted(set(lengths))
    names = [str(length) for length in wanted] + ([DRAWN] if spans_paper_range(wanted) else [])
    known = measured_of(folder, record).lengths
    return [name for name in names if name not in known]


def score_lengths(
    folder: RunFolder, record: RunRecord, lengths: Iterable[int], options: EvaluationOptions
) -> Measurements:
    """Score a finished run at lengths that it was not scored at before, and keep the scores.

    Args:
        folder: The run.
        record: Its record.
        lengths: The lengths.
        options: Where and with what it is evaluated.

    Raises:
        UserError: There is no whole checkpoint, or the task has no such length.
    """
    for name in unscored_lengths(folder, record, lengths):
        if name == DRAWN and record.spec.task.params.get("test_lengths") == list(PAPER_RANGE) and record.result.test:
            metrics = record.result.test
        elif name == DRAWN:
            metrics = score(folder, record, options, drawn=PAPER_RANGE).metrics
        else:
            metrics = score(folder, record, options, T=int(name)).metrics
        before = measured_of(folder, record)  # another process may have written meanwhile
        folder.write_measured(before.model_copy(update={"lengths": before.lengths | {name: metrics}}))
    return measured_of(folder, record)
