"""Files as others unpack and pack them are taken where their content is right, and it is said what was taken."""

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_source import CONTENTS, REQUIRED, SOURCE, sha256, tar_bytes, write, zip_bytes
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.data.files import ensure, mnist
from stablebench.data.files.other_names import likeness
from stablebench.data.files.source import DataSource, SourceFile, data_source, source_names
from stablebench.errors import UserError

TINY_MNIST = {
    name: name.encode() * 20
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )
}


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> DataSource:
    """MNIST's names with small contents."""
    files = tuple(SourceFile(name, len(content), sha256(content)) for name, content in TINY_MNIST.items())
    small = dataclasses.replace(mnist.SOURCE, files=files)
    monkeypatch.setattr(mnist, "SOURCE", small)
    return small


def dotted(name: str) -> str:
    return name.replace("-idx", ".idx")


def as_files(folder: str, rename: Any = dotted, pack: Any = bytes, ending: str = "") -> dict[str, bytes]:
    return {f"{folder}/{rename(name)}{ending}": pack(content) for name, content in TINY_MNIST.items()}


def in_archive(**options: Any) -> dict[str, bytes]:
    return {name.removeprefix("x/"): content for name, content in as_files("x", **options).items()}


LAYOUTS = {
    "a dot in the name": as_files("mnist"),
    "packed, a dot": as_files("mnist", pack=gzip.compress, ending=".gz"),
    "underscores": as_files("mnist", lambda name: name.replace("-", "_")),
    "upper case": as_files("mnist", str.upper),
    "a folder deeper": as_files("mnist/MNIST/raw", str),
    "two folders deeper, packed": as_files("mnist/MNIST/raw", str, gzip.compress, ".gz"),
    "the folder in upper case": as_files("MNIST", str),
    "a folder for each file": {f"mnist/{n}/{n}": c for n, c in TINY_MNIST.items()},
    "one zip": {"mnist/archive.zip": zip_bytes(in_archive(rename=str))},
    "one zip, dots": {"mnist/archive.zip": zip_bytes(in_archive())},
    "one zip of packed files": {"mnist/mnist.zip": zip_bytes(in_archive(pack=gzip.compress, ending=".gz"))},
    "one zip, a folder in it": {"mnist/m.ZIP": zip_bytes({f"MNIST/raw/{n}": c for n, c in TINY_MNIST.items()})},
    "a tar.gz": {"mnist/mnist.tar.gz": tar_bytes(in_archive(), "gz")},
    "a zip a folder deeper": {"MNIST/raw/mnist.zip": zip_bytes(in_archive())},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_it_is_read_verified_and_listed(name: str, source: DataSource, tmp_path: Path) -> None:
    for path, content in LAYOUTS[name].items():
        write(tmp_path / path, content)
    assert {file.path: content for file, content in ensure.read_all(source, data_dir=tmp_path)} == TINY_MNIST

    verified = CliRunner().invoke(app, ["data", "verify", "mnist", "--data-dir", str(tmp_path)])
    assert verified.exit_code == 0, verified.output
    assert "mnist: 4 files hold" in verified.stdout
    for file in TINY_MNIST:
        assert f"{file}: taken from {tmp_path}" in verified.stdout

    listed = CliRunner().invoke(app, ["data", "list", "--json", "--data-dir", str(tmp_path)])
    (item,) = [item for item in json.loads(listed.stdout) if item["name"] == "mnist"]
    assert (item["present"], item["renamed"]) == (4, 4)


def test_publishers_names_come_first_and_nothing_more_is_said(source: DataSource, tmp_path: Path) -> None:
    """The publishers names come first and nothing more is said."""
    for path, content in {**as_files("mnist"), **as_files("mnist", str)}.items():
        write(tmp_path / path, content)
    verified = CliRunner().invoke(app, ["data", "verify", "mnist", "--data-dir", str(tmp_path)])
    assert verified.exit_code == 0 and "taken from" not in verified.stdout


def test_file_of_right_name_and_another_content_is_refused(source: DataSource, tmp_path: Path) -> None:
    """A file of the right name and another content is refused by name."""
    for path, content in as_files("mnist").items():
        write(tmp_path / path, content[:-1] + b"!")
    with pytest.raises(UserError, match=r"train-images\.idx3-ubyte is damaged: its sha256 must be"):
        list(ensure.read_all(source, data_dir=tmp_path))


def test_of_several_the_one_of_the_right_size_is_taken(source: DataSource, tmp_path: Path) -> None:
    for path, content in {**as_files("mnist/half", str, lambda c: c[:9]), **as_files("mnist/whole", str)}.items():
        write(tmp_path / path, content)
    assert dict((f.path, c) for f, c in ensure.read_all(source, data_dir=tmp_path)) == TINY_MNIST


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + bytes(40)])
def test_an_archive_that_is_none_is_passed_over(content: bytes, source: DataSource, tmp_path: Path) -> None:
    write(tmp_path / "mnist" / "other.zip", content)
    verified = CliRunner().invoke(app, ["data", "verify", "mnist", "--data-dir", str(tmp_path)])
    assert verified.exit_code == 1 and "is missing" in verified.stdout


def test_a_packed_file_in_a_zip_that_unpacks_to_more_is_refused(source: DataSource, tmp_path: Path) -> None:
    bomb = {f"{name}.gz": gzip.compress(bytes(2**23)) for name in TINY_MNIST}
    write(tmp_path / "mnist" / "m.zip", zip_bytes(bomb))
    with pytest.raises(UserError, match="unpacks to more than"):
        list(ensure.read_all(source, data_dir=tmp_path))


def test_other_data_sets_are_found_so_too(tmp_path: Path) -> None:
    write(tmp_path / "Tiny" / "unpacked" / "ONE.txt", CONTENTS["part/one.txt"])
    write(tmp_path / "Tiny" / "unpacked" / "Two.TXT", CONTENTS["part/two.txt"])
    assert {f.path: c for f, c in ensure.read_all(SOURCE, data_dir=tmp_path)} == REQUIRED


def test_every_data_sets_files_are_told_apart() -> None:
    """Two files of one data set that are alike would be taken for each other, and then refused."""
    for name in source_names():
        source = data_source(name)
        likenesses = [likeness(file.path) for file in source.files]
        assert len(set(likenesses)) == len(likenesses), name
