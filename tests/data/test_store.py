"""Prepared tensors: made once, whole or not at all."""

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stablebench.data.files import store
from stablebench.data.files.store import prepared
from stablebench.errors import UserError
from stablebench.runs import checkpoint

KEY = {"version": 1, "files": ["md5:00"]}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def tensors() -> dict[str, torch.Tensor]:
    return {
        "bytes": torch.arange(12, dtype=torch.uint8).view(3, 4),
        "floats": torch.linspace(0, 1, 5).view(5, 1).expand(5, 2),
        "classes": torch.tensor([3, 1]),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
    }


def never() -> dict[str, torch.Tensor]:
    raise AssertionError("made a second time")


def kept(cache: Path) -> list[str]:
    return sorted(p.name for p in (cache / "prepared").iterdir() if p.suffix != ".lock")


def test_tensors_come_back_equal_with_types_and_are_made_once():
    """Tensors come back equal with their types and are made once."""
    for make in (tensors, never):
        found = prepared("thing", KEY, make)
        assert set(found) == set(tensors())
        for name, expected in tensors().items():
            assert torch.equal(found[name], expected) and found[name].dtype == expected.dtype


def test_what_is_written_into_mapped_tensor_stays_in_process():
    """What is written into a mapped tensor stays in the process."""
    found = prepared("thing", KEY, tensors)
    found["bytes"].zero_()
    assert torch.equal(prepared("thing", KEY, never)["bytes"], tensors()["bytes"])


def test_another_key_is_another_folder(cache: Path):
    prepared("thing", KEY, tensors)
    other = prepared("thing", {**KEY, "version": 2}, lambda: {"bytes": torch.zeros(1)})
    assert set(other) == {"bytes"} and len(kept(cache)) == 2
    assert set(prepared("thing", KEY, never)) == set(tensors())


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "empty", "torn", "foreign", "list"])
def test_a_damaged_file_is_made_anew(cache: Path, damage: str):
    prepared("thing", KEY, tensors)
    (path,) = (cache / "prepared").rglob("*.safetensors")
    content = path.read_bytes()
    if damage == "flipped":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "truncated":
        path.write_bytes(content[:-3])
    elif damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "torn":
        path.write_bytes(content[:40])
    elif damage == "foreign":
        checkpoint.save(path, checkpoint.Checkpoint(tensors(), {"version": 2}))
    else:
        path.write_text("[]")
    if path.is_file():
        os.utime(path, ns=(0, 0))  # as a damage after which no time is the same
    made = []
    found = prepared("thing", KEY, lambda: (made.append(1), tensors())[1])
    assert made == [1] and torch.equal(found["bytes"], tensors()["bytes"])


def test_what_making_raises_leaves_nothing_behind(cache: Path):
    def broken() -> dict[str, torch.Tensor]:
        raise UserError("thing: the file is damaged.")

    with pytest.raises(UserError, match="the file is damaged"):
        prepared("thing", KEY, broken)
    assert kept(cache) == []
    assert set(prepared("thing", KEY, tensors)) == set(tensors())


def test_a_cache_folder_that_cannot_be_used_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"thing: the cache folder .* cannot be used .* STABLEBENCH_CACHE"):
        prepared("thing", KEY, tensors)


SCRIPT = """
import os, signal, sys, time
import torch
from stablebench.data.files import store

def make():
    with open(sys.argv[1], "a") as file:
        file.write("made\\n")
    time.sleep(0.3)
    return {"bytes": torch.arange(12, dtype=torch.uint8)}

if sys.argv[2] == "die":
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
print(int(store.prepared("thing", {"version": 1}, make)["bytes"].sum()))
"""


def process(log: Path, what: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(log), what], stdout=subprocess.PIPE, text=True)


def test_of_processes_at_once_one_makes_the_tensors(tmp_path: Path):
    """Of processes that begin at once one makes the tensors and all have them."""
    processes = [process(tmp_path / "log", "live") for _ in range(3)]
    assert [p.communicate(timeout=120)[0] for p in processes] == ["66\n"] * 3
    assert (tmp_path / "log").read_text() == "made\n"


def test_killed_process_leaves_nothing_half_made(cache: Path, tmp_path: Path):
    """A killed process leaves nothing half made and its remains are cleared."""
    killed = process(tmp_path / "log", "die")
    assert killed.communicate(timeout=120) == ("", None) and killed.returncode == -signal.SIGKILL
    assert [path.suffix for path in (cache / "prepared").rglob("*") if path.is_file()] == [".lock", ".tmp"]
    assert process(tmp_path / "log", "live").communicate(timeout=120)[0] == "66\n"
    assert len(kept(cache)) == 1
    assert [path.name for path in (cache / "prepared" / kept(cache)[0]).iterdir()] == ["tensors.safetensors"]


IMAGES = {"cifar10": "files.vision", "mnist": "files.vision"}
READERS = {"hapt": "tasks.har", "uci_har_v1": "tasks.har"} | IMAGES
"""Modules that only read files; who prepares what they read."""


def test_every_data_set_is_prepared_under_the_store_s_lock():
    folder = Path(store.__file__).parent
    names = [path.stem for path in sorted(folder.glob("*.py")) if "\nSOURCE = DataSource(" in path.read_text()]
    assert len(names) == len(set(names)) >= 7
    for name in names:
        module = importlib.import_module(f"stablebench.data.{READERS.get(name, f'files.{name}')}")
        assert module.prepared is store.prepared, name
