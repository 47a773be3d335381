"""Files of strangers: nothing of them runs, nothing of them is written elsewhere, nothing damaged loads in silence."""

import io
import json
import os
import pickle
import random
import struct
import tarfile
import zipfile
from pathlib import Path

import psutil
import pytest
import torch
from tiny_runs import run, tiny
from typer.testing import CliRunner

from stablebench import registry
from stablebench.cli.app import app
from stablebench.data.files.archives import ArchiveError, members
from stablebench.errors import UserError
from stablebench.models import registry as model_registry
from stablebench.models.user_code import known, loading
from stablebench.models.user_code.code import Module
from stablebench.runs import checkpoint
from stablebench.runs.progress import Silent
from stablebench.runs.store import RunFolder
from stablebench.training.resume import latest_valid_checkpoint

OWN_MODEL = '''
from pathlib import Path
Path({marker!r}).write_text("ran")
from stablebench.models.recurrent.rnn import Rnn
class Mine(Rnn):
    """A user's own."""
'''


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Return a finished run."""
    return run(tiny(), tmp_path_factory.mktemp("whole"))


def mutated(content: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(5)
    if kind == 0:
        return content[: rng.randrange(len(content))]
    if kind == 1:
        return content + rng.randbytes(rng.randrange(1, 100))
    changed = bytearray(content)
    if kind == 2:
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif kind == 3:
        at = rng.randrange(len(changed))
        changed[at : at + 16] = rng.randbytes(16)
    else:
        header = 8 + struct.unpack("<Q", content[:8])[0]
        changed[rng.randrange(header)] = rng.randrange(256)
    return bytes(changed)


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def test_of_500_damaged_checkpoints_none_loads_in_silence(whole: RunFolder, tmp_path: Path) -> None:
    """Where the newest is refused, that is said in one line and the one before is taken."""
    sources = whole.checkpoints()
    content, rng = sources[0].read_bytes(), random.Random(5)
    newest, before = (checkpoint.load(source) for source in sources)
    folder, refused = RunFolder(tmp_path), 0
    path = folder.checkpoint_path(newest.step)
    path.parent.mkdir()
    folder.checkpoint_path(before.step).write_bytes(sources[1].read_bytes())
    for _ in range(500):
        path.write_bytes(mutated(content, rng))
        notes = Notes()
        loaded = latest_valid_checkpoint(folder, notes)
        assert loaded is not None
        # Bytes without meaning (spaces of the header) may change: what is loaded is what was saved.
        expected = before if notes.texts else newest
        assert loaded.state == expected.state and loaded.tensors.keys() == expected.tensors.keys()
        assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in expected.tensors.items())
        if notes.texts:
            refused += 1
            (said,) = notes.texts
            assert str(path) in said and said.endswith("Falling back to the one before.") and "\n" not in said
    assert refused > 450


class Bomb:
    """What a pickle can do: create a file when it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.write_text, (self.marker, "ran")


def hostile_checkpoints(marker: Path) -> dict[str, bytes]:
    zipped = io.BytesIO()
    torch.save({"network.w": Bomb(marker)}, zipped)
    claim = json.dumps({"w": {"dtype": "F32", "shape": [2**28], "data_offsets": [0, 2**30]}}).encode()
    overlap = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    overlap["b"] = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    text = json.dumps(overlap).encode()
    deep = b"[" * 100_000
    return {
        "a pickle": pickle.dumps(Bomb(marker)),
        "torch.save": zipped.getvalue(),
        "a header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
        "a gigabyte in a hundred bytes": struct.pack("<Q", len(claim)) + claim,
        "tensors one over the other": struct.pack("<Q", len(text)) + text + bytes(4),
        "a deep header": struct.pack("<Q", len(deep)) + deep,
        "no metadata": b"\x02\x00\x00\x00\x00\x00\x00\x00{}",
        "nothing": b"",
    }


@pytest.mark.parametrize("name", hostile_checkpoints(Path()))
def test_a_hostile_checkpoint_is_refused_and_runs_nothing(name: str, whole: RunFolder, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / "run" / "checkpoints" / "step-24.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(hostile_checkpoints(marker)[name])
    (tmp_path / "run" / "record.json").write_bytes(whole.record_path.read_bytes())
    before = psutil.Process().memory_info().rss
    with pytest.raises(UserError, match="step-24.safetensors: not a whole checkpoint"):
        checkpoint.load(path)
    for target in (path, tmp_path / "run"):
        result = CliRunner().invoke(app, ["evaluate", str(target)])
        assert result.exit_code == 2 and "Traceback" not in result.output, result.output
    assert psutil.Process().memory_info().rss - before < 100e6
    assert not marker.exists()


def test_no_part_of_the_suite_unpickles() -> None:
    """`torch.load`, `pickle.load` and `allow_pickle=True` are nowhere."""
    root = Path(registry.__file__).parent
    words = ("torch.load(", "pickle.load", "allow_pickle=True", "yaml.load(", "yaml.unsafe", "eval(", "exec(")
    found = [
        f"{path.name}: {word}"
        for path in root.rglob("*.py")
        for word in words
        if any(word in line.replace(".eval(", "") for line in path.read_text().splitlines())
    ]
    assert found == []


# -- code -------------------------------------------------------------------------------------------------------------


def as_in_a_new_process() -> None:
    model_registry._loaded_code.clear()
    loading._loaded.clear()


def test_no_code_runs_because_a_record_names_or_carries_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run folder of someone else, whose code this user has never named."""
    marker, file = tmp_path / "ran", tmp_path / "mine.py"
    file.write_text(OWN_MODEL.format(marker=str(marker)))
    reference = f"{file}:Mine"
    small = ["--T", "5", "--hidden", "6", "--steps", "12", "--batch-size", "4", "--set", "task.S=2"]
    done = CliRunner().invoke(
        app, ["train", "--model", reference, "--task", "copy", *small, "--runs-dir", str(tmp_path / "runs")]
    )
    assert done.exit_code == 0, done.output
    assert "runs the code of" in done.stderr and "sha256" in done.stderr
    folder = next((tmp_path / "runs").glob("*/*/*"))
    assert (folder / "code" / "mine.py").read_bytes() == file.read_bytes()
    marker.unlink()
    as_in_a_new_process()
    monkeypatch.setenv("STABLEBENCH_STATE", str(tmp_path / "state of another user"))
    for command in (
        ["evaluate", str(folder)],
        ["verify", str(folder)],
        ["show", "run", str(folder)],
        ["probe-gradients", str(folder)],
        ["plot", "structure", str(folder), "-o", str(tmp_path / "s.png")],
        ["plot", "decision-boundary", str(folder), "-o", str(tmp_path / "d.png")],
        ["plot", "trajectories", str(folder), "-o", str(tmp_path / "t.png")],
        ["plot", "curves", str(folder), "-o", str(tmp_path / "c.png")],
        ["report", str(folder), "-o", str(tmp_path / "page.html")],
        ["train", "--resume", str(folder), "--rerun"],
        ["list", "runs", "--runs-dir", str(tmp_path / "runs")],
    ):
        result = CliRunner().invoke(app, command)
        assert not marker.exists(), command
        if command[0] in ("evaluate", "verify", "probe-gradients", "train") or command[1] == "structure":
            assert result.exit_code == 2 and "only run when it is named: add --model" in result.stderr, command
            assert f"{folder / 'code' / 'mine.py'}:Mine" in result.stderr
    named = CliRunner().invoke(app, ["evaluate", str(folder), "--model", reference])
    assert named.exit_code == 0 and marker.exists(), named.output
    file.write_text(file.read_text() + "# changed\n")
    as_in_a_new_process()
    changed = CliRunner().invoke(app, ["evaluate", str(folder), "--model", reference])
    assert changed.exit_code == 2 and "the file changed since this run began" in changed.stderr


@pytest.fixture
def carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RunFolder, Path]:
    """Return a run of a model whose code the user has named here, and the file that the code writes when it runs."""
    marker, file = tmp_path / "ran", tmp_path / "mine.py"
    monkeypatch.setenv("STABLEBENCH_STATE", str(tmp_path / "state"))
    file.write_text(OWN_MODEL.format(marker=str(marker)))
    folder = run(tiny(f"{file}:Mine"), tmp_path / "runs")
    file.unlink()
    marker.unlink()
    as_in_a_new_process()
    return folder, marker


def refused(folder: RunFolder, marker: Path) -> str:
    result = CliRunner().invoke(app, ["evaluate", str(folder.path)])
    assert result.exit_code == 2 and "Traceback" not in result.output and not marker.exists(), result.output
    return result.stderr


def test_code_that_user_named_here_runs_from_runs_copy(carried: tuple[RunFolder, Path]) -> None:
    """Code that the user named here runs from the runs own copy."""
    folder, marker = carried
    result = CliRunner().invoke(app, ["evaluate", str(folder.path)])
    assert result.exit_code == 0 and marker.exists(), result.output


@pytest.mark.parametrize("place", ["code/mine.py", "code/manifest.json"])
def test_a_copy_that_was_changed_does_not_run(place: str, carried: tuple[RunFolder, Path]) -> None:
    folder, marker = carried
    path = folder.path / place
    path.write_text(path.read_text().replace("Mine", "Mime").replace("mine", "mime") + " ")
    assert "code" in refused(folder, marker)


def test_known_code_does_not_run_for_a_record_of_other_code(carried: tuple[RunFolder, Path]) -> None:
    """Code that is known does not run for a record that names other code."""
    folder, marker = carried
    text = folder.record_path.read_text()
    source = folder.read_record().spec.model.source
    assert source is not None
    folder.record_path.write_text(text.replace(source, "0" * 64))
    assert "it is not the code of this run" in refused(folder, marker)


@pytest.mark.parametrize("module", ["..", "../../evil", "a..b", "/etc/evil", "", "C:evil", "a.\x00"])
def test_no_file_of_a_copy_leads_out_of_it(module: str, carried: tuple[RunFolder, Path]) -> None:
    folder, marker = carried
    path = folder.path / "code" / "manifest.json"
    manifest = json.loads(path.read_text())
    place = Module(module, "x.py", b"").place
    manifest["files"] = {place: manifest["files"]["mine.py"] | {"module": module}}
    path.write_text(json.dumps(manifest | {"entry": module}))
    assert "copy of its model's code is damaged" in refused(folder, marker)


def test_what_others_may_write_says_nothing_of_what_user_named(carried: tuple[RunFolder, Path], tmp_path: Path) -> None:
    """What others may write says nothing of what the user named."""
    folder, marker = carried
    kept = tmp_path / "state" / "named_code"
    (file,) = kept.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600 and kept.stat().st_mode & 0o777 == 0o700
    kept.chmod(0o777)
    assert "was not named on this machine before" in refused(folder, marker)
    kept.chmod(0o700)
    file.chmod(0o666)
    assert "was not named on this machine before" in refused(folder, marker)
    file.chmod(0o600)
    link = tmp_path / "elsewhere"
    file.rename(link)
    file.symlink_to(link)
    assert "was not named on this machine before" in refused(folder, marker)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root, to give a file away")
def test_another_users_file_says_nothing_of_what_this_one_named(
    carried: tuple[RunFolder, Path], tmp_path: Path
) -> None:
    folder, marker = carried
    (file,) = (tmp_path / "state" / "named_code").iterdir()
    os.chown(file, 12345, 12345)
    assert "was not named on this machine before" in refused(folder, marker)


@pytest.mark.parametrize("digest", ["", "0" * 63, "../" + "0" * 61, "A" * 64, "0" * 65])
def test_only_digests_are_kept(digest: str) -> None:
    known.remember(digest)
    assert not known.is_known(digest)


def test_validating_a_recipe_runs_no_code(tmp_path: Path) -> None:
    marker, file = tmp_path / "ran", tmp_path / "mine.py"
    file.write_text(OWN_MODEL.format(marker=str(marker)))
    recipe = tmp_path / "recipes" / "copy" / "mine.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(f"task: copy\nmodel: '{file}:Mine'\nsource: x\ntuned_by: paper\nparams: {{a: 1}}\n")
    CliRunner().invoke(app, ["validate", str(recipe)])
    assert not marker.exists()


@pytest.mark.parametrize(
    "content", ["import no_such_thing", "raise SystemExit(0)", "1 / 0", "def", "class Mine: pass", "\x00", "﻿x = 'é'"]
)
def test_a_users_file_that_cannot_be_loaded_is_one_message(content: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(content, encoding="utf-8")
    result = CliRunner().invoke(app, ["train", "--model", f"{file}:Mine", "--task", "copy", "--dry-run"])
    assert result.exit_code == 2 and "Traceback" not in result.output and str(file) in result.stderr


# -- archives ---------------------------------------------------------------------------------------------------------


def tar_of(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:\\evil", "//host/evil"])
@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_no_entry_leads_out_of_an_archive(name: str, pack: object, tmp_path: Path) -> None:
    path = tmp_path / ("a.tar" if pack is tar_of else "a.zip")
    path.write_bytes(pack({"good": b"1", name: b"evil"}))  # pyright: ignore[reportCallIssue]
    with pytest.raises(ArchiveError, match="leads out of the archive"):
        list(members(path))


def test_bomb_of_ten_gigabytes_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """A bomb of ten gigabytes is refused before it is unpacked."""
    content = bytearray(zip_of({"zeros": bytes(1000)}))
    at = content.rindex(b"PK\x01\x02")  # the central directory says how large the file is
    content[at + 24 : at + 28] = struct.pack("<I", 2**32 - 2)
    (tmp_path / "bomb.zip").write_bytes(content)
    with pytest.raises(ArchiveError, match="zeros has 4,294,967,294 bytes, at most 2,147,483,648 were expected"):
        list(members(tmp_path / "bomb.zip"))
    header = tarfile.TarInfo("zeros")
    header.size = 10 * 2**30
    (tmp_path / "bomb.tar").write_bytes(header.tobuf())
    with pytest.raises(ArchiveError, match="zeros has 10,737,418,240 bytes"):
        list(members(tmp_path / "bomb.tar"))


def test_archives_inside_of_archives_end(tmp_path: Path) -> None:
    content = b"the end"
    for _ in range(6):
        content = zip_of({"inner.zip": content})
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ArchiveError, match="inside of 3 others"):
        list(members(tmp_path / "a.zip", lambda name: name == "wanted"))
