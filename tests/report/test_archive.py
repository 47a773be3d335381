"""Runs in a text file come back as they were; a line that was changed is named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from run_maker import made_record, store

from stablebench.errors import UserError
from stablebench.runs.archive import ArchivedRun, archive_text, packed, read_archive, run_name, unpack, with_runs
from stablebench.runs.store import RunFolder
from stablebench.schema.run_record import RunRecord

CURVE = [
    {"step": 5, "split": "train", "loss": 0.1234567, "loss_max": 0.2, "gradient_norm": 2.0, "wall_s": 0.1},
    {"step": 10, "split": "train", "loss": 0.7654321, "loss_max": 0.8, "gradient_norm": 1.0, "wall_s": 0.2},
    {"step": 10, "split": "validation", "loss": 0.5, "wall_s": 0.2},
    {"step": 10, "split": "probe", "flow.rate": 0.123456789, "wall_s": 0.2},
    {"step": 300, "split": "train", "loss": 9.0, "wall_s": 0.3},  # after the last evaluation
]


def several() -> list[ArchivedRun]:
    records = [made_record(model, seed=seed) for model in ("rnn", "lstm") for seed in (10, 9, 0)]
    return [ArchivedRun(run_name(record), record) for record in records]


def written(path: Path, runs: list[ArchivedRun]) -> Path:
    path.write_text(archive_text(runs))
    return path


def test_runs_come_back_as_they_were(tmp_path: Path) -> None:
    runs = several()
    diverged = made_record("gru", status="diverged").model_copy(update={"error": "the loss is nan", "evaluations": []})
    runs.append(ArchivedRun(run_name(diverged, "-r2"), diverged))
    back = read_archive(written(tmp_path / "a.jsonl", runs))
    assert back == {run.name: run for run in runs}
    assert list(back)[:1] == [run_name(diverged, "-r2")] and [name[-3:] for name in back][1:4] == ["-s0", "-s9", "s10"]
    assert archive_text(back.values()) == (tmp_path / "a.jsonl").read_text()


def test_a_run_takes_little_room(tmp_path: Path) -> None:
    """Twenty evaluations, and an environment with hundreds of packages, which is there once."""
    packages = [f"package-{i}==1.0" for i in range(300)]
    environment = made_record().environment.model_copy(update={"packages": packages})
    runs = [replace(r, record=r.record.model_copy(update={"environment": environment})) for r in several()]
    lines = archive_text(runs).splitlines()
    assert len(lines) == 2 + len(runs)
    assert all(len(line) < 3000 for line in lines[2:])


def test_the_curve_is_kept_at_its_evaluations(tmp_path: Path) -> None:
    record = made_record()
    folder = RunFolder(store(tmp_path / "runs", record, CURVE))
    run = packed(folder, record)
    assert run.lines == [
        {"step": 10, "split": "train", "loss": 0.76543, "gradient_norm": 1.0},
        {"step": 10, "split": "probe", "flow.rate": 0.123456789},
    ]
    (back,) = read_archive(written(tmp_path / "a.jsonl", [run])).values()
    assert back == run
    assert unpack(back, tmp_path / "there", "a.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "there" / run.name / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["split"]) for line in lines[:4]] == [
        (10, "train"),
        (10, "validation"),
        (10, "probe"),
        (20, "validation"),
    ]
    assert RunFolder(tmp_path / "there" / run.name).read_record() == record


DAMAGES = {
    "a digit": lambda lines: [lines[0], lines[1], lines[2].replace('"parameters":1003', '"parameters":1004')],
    "no JSON": lambda lines: [*lines[:2], lines[2][:50]],
    "another kind of line": lambda lines: [*lines[:2], "[1, 2]"],
    "no environment": lambda lines: [lines[0], lines[2], lines[1]],
    "no header": lambda lines: lines[1:],
    "a run twice": lambda lines: [*lines[:3], lines[2]],
}
LINES = {"a digit": 3, "no JSON": 3, "another kind of line": 3, "no environment": 2, "no header": 1, "a run twice": 4}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_line_is_named(damage: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", several()[:1])
    lines = DAMAGES[damage](path.read_text().splitlines())
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(UserError, match=rf"a\.jsonl:{LINES[damage]}: ") as caught:
        read_archive(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.jsonl:1: .* empty"),
        (b'{"stablebench_runs":2}\n', "a.jsonl:1: .* format 2"),
        (b'{"stablebench_runs":1}\n{"run', "a.jsonl:2: the line is torn"),
        (b"\xff\xfe\n", "a.jsonl:1: must be text"),
    ],
)
def test_what_is_no_archive_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_archive(tmp_path / "a.jsonl")


@pytest.mark.parametrize("step", [{}, {"step": "5"}, {"step": 5.0}, {"step": True}])
def test_a_curve_without_updates_is_refused_before_unpacking(step: dict[str, object], tmp_path: Path) -> None:
    (run,) = several()[:1]
    path = written(tmp_path / "a.jsonl", [replace(run, lines=[{"split": "train", "loss": 1.0} | step])])
    with pytest.raises(UserError, match=r"a\.jsonl:3: .*a line of its curve has no update"):
        read_archive(path)


def test_line_ends_of_another_system_change_nothing(tmp_path: Path) -> None:
    """The digest of a line is of what it says."""
    path = written(tmp_path / "a.jsonl", several())
    runs = read_archive(path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_archive(path) == runs


@pytest.mark.parametrize("name", ["../../x", "a/b", "", ".hidden"])
def test_a_name_never_leads_out_of_the_store(name: str, tmp_path: Path) -> None:
    spec = made_record().spec
    task = spec.task.model_copy(update={"name": name})
    record = made_record().model_copy(update={"spec": spec.model_copy(update={"task": task})})
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        run_name(record)
    path = written(tmp_path / "a.jsonl", [ArchivedRun(f"{name}/rnn/0-s0", record)])
    with pytest.raises(UserError, match="cannot be the name of a folder"):
        read_archive(path)


def changed(run: ArchivedRun, **values: object) -> ArchivedRun:
    return replace(run, record=run.record.model_copy(update=values))


def test_added_runs_replace_only_what_had_not_ended() -> None:
    first, second, third = several()[:3]
    begun, other = changed(second, status="interrupted"), changed(third, parameters=5)
    there = {run.name: run for run in (first, begun, other)}
    runs, new, kept = with_runs(there, [first, second, third])
    assert (runs, new, kept) == (
        {first.name: first, second.name: second, third.name: other},
        [second.name],
        [third.name],
    )
    assert with_runs({second.name: second}, [begun])[2] == [second.name]  # the other way round nothing is lost
    assert with_runs(there, [third], force=True)[0][third.name] == third


def test_what_a_store_has_is_never_overwritten(tmp_path: Path) -> None:
    run = several()[0]
    mine: RunRecord = run.record.model_copy(update={"parameters": 5})
    folder = RunFolder(store(tmp_path, mine))
    assert unpack(run, tmp_path, "a.jsonl") is None
    assert folder.read_record() == mine
    folder.record_path.unlink()
    checkpoint = folder.path / "checkpoints" / "step-5.safetensors"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"weights")
    assert unpack(run, tmp_path, "a.jsonl") is None and not folder.record_path.exists()
    checkpoint.unlink()
    assert unpack(run, tmp_path, "a.jsonl") is True and unpack(run, tmp_path, "a.jsonl") is False
