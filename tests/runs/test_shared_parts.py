"""Records that share their equal parts are equal to what was read, and take little memory."""

import tracemalloc
from pathlib import Path

import pytest
from pydantic import BaseModel

from stablebench.runs.shared_parts import PackedEvaluations, SharedParts, packed
from stablebench.runs.store import RunFolder, readable_records
from stablebench.schema.run_record import Environment, Evaluation, RunRecord
from stablebench.specs import repeat_command as command
from stablebench.specs.resolve import RunRequest, resolve

COUNT = 400
EVALUATIONS = [Evaluation(step=i, train_s=i / 3, metrics={"loss": 1 / (i + 1), "accuracy": 0.5}) for i in range(20)]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    resolved = resolve(RunRequest("rnn", "copy"))
    ran = Environment(versions={"torch": "2"}, device="cpu", hardware="x", engine="fused", threads=1, flags={"a": 1})
    ran = ran.model_copy(update={"packages": [f"package{i}==1.{i}" for i in range(100)]})
    record = RunRecord(
        spec=resolved.spec,
        spec_hash=resolved.spec.spec_hash(),
        status="finished",
        metric="loss",
        baseline=1.0,
        card_sha256="0" * 64,
        selection="the last weights tested",
        parameters=10,
        started="2026-01-01T00:00:00+00:00",
        evaluations=EVALUATIONS,
        environment=ran,
        origin=resolved.origin,
    )
    text = record.model_dump_json()
    return [text.replace('"seed":0', f'"seed":{seed}') for seed in range(COUNT)]


def test_they_are_equal_and_share_what_is_equal(texts: list[str]) -> None:
    shared = SharedParts()
    plain = [RunRecord.model_validate_json(text) for text in texts[:5]]
    found = [shared.of(record) for record in plain]
    assert [list(record.evaluations) for record in found] == [record.evaluations for record in plain]
    for a, b in zip(found, plain, strict=True):
        assert a.model_copy(update={"evaluations": b.evaluations}) == b
    assert [record.spec.seed for record in found] == [0, 1, 2, 3, 4]
    first, other = found[0], found[-1]
    assert first.environment is other.environment and first.spec.task is other.spec.task
    for name in RunRecord.model_fields:
        assert not isinstance(getattr(first, name), BaseModel) or getattr(first, name) == getattr(plain[0], name)


def test_a_part_that_differs_stays_its_own(texts: list[str]) -> None:
    shared = SharedParts()
    first = shared.of(RunRecord.model_validate_json(texts[0]))
    other = shared.of(RunRecord.model_validate_json(texts[1].replace("package99==1.99", "package99==2.0")))
    assert first.environment.packages[-1] != other.environment.packages[-1]


def test_evaluations_are_packed_where_they_measure_the_same() -> None:
    held = packed(EVALUATIONS)
    assert isinstance(held, PackedEvaluations) and list(held) == EVALUATIONS and held[-1] == EVALUATIONS[-1]
    assert held[2:5] == EVALUATIONS[2:5] and held == EVALUATIONS
    mixed = [*EVALUATIONS, Evaluation(step=99, train_s=1.0, metrics={"loss": 1.0})]
    assert packed(mixed) is mixed and packed([]) == []


def test_a_record_takes_few_bytes(texts: list[str], tmp_path: Path) -> None:
    """At most 6 kB each, of which one takes 30 kB by itself."""
    folders = []
    for seed, text in enumerate(texts):
        folder = tmp_path / f"s{seed}"
        folder.mkdir()
        (folder / "record.json").write_text(text)
        folders.append(RunFolder(folder))
    tracemalloc.start()
    records, _ = readable_records(folders)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(records) == COUNT and taken < COUNT * 6_000


def test_commands_come_the_same_from_another_process(texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    record = SharedParts().of(RunRecord.model_validate_json(texts[0]))
    here = command.commands_of([(record, [0])])
    monkeypatch.delitem(command.sys.modules, "torch")  # as where nothing has loaded it
    assert command.commands_of([(record, [0])], apart=True) == here
