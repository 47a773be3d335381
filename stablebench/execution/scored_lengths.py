"""Scores finished runs at the lengths that they were not scored at yet."""

from collections.abc import Callable, Sequence
from pathlib import Path

from stablebench.errors import UserError
from stablebench.process.settings import prepare_process
from stablebench.runs.store import run_folders
from stablebench.specs.request import Resolved
from stablebench.training.lengths import score_lengths, unscored_lengths
from stablebench.training.run import ended_record
from stablebench.training.run_code import take_code
from stablebench.training.score import EvaluationOptions


def score_missing(
    runs: Sequence[Resolved],
    lengths: Sequence[Sequence[int]],
    runs_dir: Path,
    data_dir: Path | None,
    note: Callable[[str], None],
) -> dict[str, str]:
    """Score every finished run at the lengths that it was not scored at yet; return why runs could not be, by label.

    Args:
        runs: The runs.
        lengths: Of each run.
        runs_dir: The run store.
        data_dir: Folder of the real data sets.
        note: Takes a line for each run that is scored.
    """
    failed: dict[str, str] = {}
    for run, wanted, folder in zip(runs, lengths, run_folders(runs_dir, [run.spec for run in runs]), strict=True):
        try:
            record = ended_record(folder) if wanted else None
            if record is None or record.status != "finished" or not unscored_lengths(folder, record, wanted):
                continue
            prepare_process(record.spec.threads, record.spec.precision, record.spec.deterministic)
            take_code(run, note)
            note(f"{run.label}: scored at lengths {', '.join(map(str, wanted))}")
            score_lengths(folder, record, wanted, EvaluationOptions(data_dir))
        except UserError as error:
            failed[run.label] = str(error)
    return failed
