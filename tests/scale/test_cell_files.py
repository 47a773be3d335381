"""A run's files sent as bytes: what changed arrives, whole, and nothing outside the folder is written."""

from pathlib import Path

import pytest

from stablebench.execution.run_files import RunFolderSync, all_files, write_files
from stablebench.runs.store import RunFolder


def folder(path: Path, **files: str) -> RunFolder:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return RunFolder(path)


def test_what_changed_since_the_last_look_is_what_arrives(tmp_path: Path) -> None:
    there = folder(tmp_path / "there", **{"record.json": "1", "checkpoints/step-1.safetensors": "a", ".lock": ""})
    here = RunFolder(tmp_path / "here")
    write_files(here, all_files(there))
    changes = RunFolderSync(there)
    assert changes.look() == {} and not changes.new_checkpoint()
    (there.path / "record.json").write_text("22")
    assert not changes.new_checkpoint()
    (there.path / "checkpoints" / "step-1.safetensors").unlink()
    (there.path / "checkpoints" / "step-2.safetensors").write_text("b")
    assert changes.new_checkpoint()
    write_files(here, changes.look())
    assert all_files(here) == all_files(there) == {"record.json": b"22", "checkpoints/step-2.safetensors": b"b"}
    assert not changes.new_checkpoint()


def test_nothing_is_written_outside_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lies outside"):
        write_files(RunFolder(tmp_path / "run"), {"../other": b""})
    assert not (tmp_path / "other").exists()
