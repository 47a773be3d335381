"""Seeds that were rounded differently stand in one row, with a line under the table that says so."""

from pathlib import Path
from typing import Any

import pytest

from stablebench import leaderboard
from stablebench.runs.progress import Silent
from stablebench.schema.run_record import RunRecord
from stablebench.specs.resolve import RunRequest, resolve
from stablebench.training.run import ExecutionOptions, train

GCC = {"name": "gcc-12", "version": "(Debian) 12.2.0", "flags": "-O3 -march=native", "instructions": "AVX-512"}
CLANG = GCC | {"name": "clang-14", "version": "Debian clang version 14.0.6"}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    values = {"train.eval_every": 2, "train.batch_size": 4, "model.hidden": 4, "train.steps": 2, "task.S": 2}
    resolved = resolve(RunRequest("rnn", "copy", T=5, settings=values | {"engine": "reference"}))
    folder: Path = tmp_path_factory.mktemp("runs")
    return train(resolved, ExecutionOptions(folder), Silent()).record


def seed(record: RunRecord, number: int, **environment: Any) -> RunRecord:
    ran = record.environment.model_copy(update={"engine": "fused", "backend": "native C", **environment})
    spec = record.spec.model_copy(update={"seed": number})
    return record.model_copy(update={"spec": spec, "environment": ran})


def test_a_row_of_two_processors_has_no_speed(record: RunRecord) -> None:
    record = record.model_copy(update={"result": record.result.model_copy(update={"steps_per_s": 9.0})})
    same, other = seed(record, 1), seed(record, 2, hardware="another", processor="one")
    assert leaderboard.build("test", [seed(record, 0), same]).tables[0].rows[0].steps_per_s is not None
    mixed = leaderboard.build("test", [same, other], tidy=True)
    assert mixed.tables[0].rows[0].steps_per_s is None
    assert mixed.runs is not None and [run["processor"] for run in mixed.runs][1] == "one"


def notes(records: list[RunRecord]) -> list[str]:
    board = leaderboard.build("test", records)
    assert len(board.tables) == 1 and len(board.tables[0].rows) == 1
    text = leaderboard.render(board)
    return [line for line in board.tables[0].code_notes if " ".join(line.split()) in " ".join(text.split())]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"compiler": GCC}, {"compiler": CLANG}),
        ({"compiler": GCC}, {"compiler": GCC | {"flags": "-O2"}}),
        ({"compiler": GCC}, {"compiler": GCC | {"instructions": "AVX2"}}),
        ({"compiler": GCC}, {"backend": "Triton"}),
        ({"rounding": {"cpu_capability": "AVX512"}}, {"rounding": {"cpu_capability": "AVX2"}}),
        (
            {"rounding": {"cpu_capability": "AVX2"}},
            {"rounding": {"cpu_capability": "AVX2", "MKL_CBWR": "AVX2"}},
        ),
    ],
)
def test_seeds_that_were_rounded_differently_are_said(
    record: RunRecord, one: dict[str, Any], other: dict[str, Any]
) -> None:
    said = notes([seed(record, 0, **one), seed(record, 1, **one), seed(record, 2, **other)])
    assert len(said) == 1 and said[0].startswith("rnn: its seeds were rounded differently: ")
    assert "(seeds 0, 1)" in said[0] and "(seed 2)" in said[0]


def test_nothing_is_said_of_seeds_alike(record: RunRecord) -> None:
    """Nothing is said of seeds alike and of records that do not say."""
    alike = [seed(record, number, compiler=GCC) for number in range(3)]
    assert notes(alike) == []
    assert notes([*alike, seed(record, 3, backend=None, compiler=None, rounding={})]) == []
    threads = seed(record, 3, compiler=GCC, rounding=record.environment.rounding | {"OMP_NUM_THREADS": "3"})
    assert notes([*alike, threads]) == []
