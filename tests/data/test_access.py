"""Finding and reading a data set's files in every form that they may lie in, and refusing what is not theirs."""

import ast
import bz2
import gzip
import hashlib
import lzma
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from tiny_source import CONTENTS, REQUIRED, SOURCE, sha256, source_file, tar_bytes, write, zip_bytes

import stablebench.data.files
from stablebench.data.files import access, archives, ensure
from stablebench.data.files.archives import ArchiveError, members
from stablebench.data.files.source import DataSource, SourceFile, data_source, source_names
from stablebench.errors import UserError


def read_all(data_dir: Path, source: DataSource = SOURCE) -> dict[str, bytes]:
    return {file.path: content for file, content in ensure.read_all(source, data_dir=data_dir)}


@pytest.mark.parametrize("folder", ["tiny", "elsewhere/deep"])
@pytest.mark.parametrize("ending", ["", ".gz", ".xz"])
def test_files_are_read_plain_or_packed_one_by_one(tmp_path: Path, folder: str, ending: str):
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[ending]
    for name, content in REQUIRED.items():
        write(tmp_path / folder / f"{name}{ending}", pack(content))
    assert read_all(tmp_path) == REQUIRED
    assert ensure.read(SOURCE, SOURCE.file("part/two.txt"), tmp_path) == b"second"


@pytest.mark.parametrize("prefix", ["", "./", "Publisher's name/"])
@pytest.mark.parametrize("name", ["tiny.tar.gz", "tiny.tar.xz", "tiny.zip", "tiny.tar"])
def test_files_are_read_out_of_the_publisher_s_archive(tmp_path: Path, name: str, prefix: str):
    inside = {f"{prefix}{path}": content for path, content in {"other.bin": b"0", **CONTENTS}.items()}
    if prefix == "./" and name == "tiny.zip":
        pytest.skip("zip files do not have such names")
    write(tmp_path / "tiny" / name, zip_bytes(inside) if name.endswith("zip") else tar_bytes(inside, name[9:]))
    assert read_all(tmp_path) == REQUIRED


def test_a_zip_inside_a_zip_is_read(tmp_path: Path):
    write(tmp_path / "tiny" / "tiny.zip", zip_bytes({"readme": b"", "Inner.zip": zip_bytes(CONTENTS)}))
    assert read_all(tmp_path) == REQUIRED


def test_plain_file_comes_before_archive_and_both_may_be_mixed(tmp_path: Path):
    """A plain file comes before an archive and both may be mixed."""
    write(tmp_path / "tiny" / "tiny.tar", tar_bytes(CONTENTS))
    write(tmp_path / "tiny" / "part" / "one.txt", CONTENTS["part/one.txt"])
    place = access.find(SOURCE, SOURCE.file("part/one.txt"), tmp_path)
    assert place is not None and place.archive is None
    assert read_all(tmp_path) == REQUIRED


def test_a_file_that_serves_instead_is_given_as_itself(tmp_path: Path):
    part = SourceFile("two.some.txt", 3, sha256(b"sec"))
    source = DataSource("tiny", "Tiny", "", "", (source_file("part/two.txt", instead=(part,)),), ())
    write(tmp_path / "tiny" / "two.some.txt.gz", gzip.compress(b"sec"))
    assert list(ensure.read_all(source, data_dir=tmp_path)) == [(part, b"sec")]
    write(tmp_path / "tiny" / "part" / "two.txt", b"second")
    assert list(ensure.read_all(source, data_dir=tmp_path)) == [(source.files[0], b"second")]


def test_message_about_missing_files_says_all_that_is_needed(tmp_path: Path):
    """The message about missing files says all that is needed to get them."""
    write(tmp_path / "tiny" / "part" / "one.txt", CONTENTS["part/one.txt"])
    with pytest.raises(UserError) as caught:
        read_all(tmp_path)
    text = str(caught.value)
    assert text.startswith(f"tiny: {tmp_path / 'tiny'} lacks part/two.txt.")
    for expected in (
        f"part/two.txt  6 bytes, sha256 {hashlib.sha256(b'second').hexdigest()}",
        "https://example.org/tiny",
        "stablebench data fetch tiny",
        "--data-dir or STABLEBENCH_DATA",
    ):
        assert expected in text
    assert "note.txt" not in text


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"secone", r"two.txt(.gz)? is damaged: its sha256 must be 16367aac.*, it is [0-9a-f]{64}"),
        (b"secon", r"two.txt(.gz)? must have 6 bytes, it has 5"),
        (b"", r"two.txt(.gz)? must have 6 bytes, it has 0"),
        (b"second" * 9**6, r"two.txt(.gz)? must have 6 bytes, it has more"),
    ],
    ids=["tampered", "cut off", "empty", "much too long"],
)
def test_a_damaged_file_is_named_with_what_it_must_be(tmp_path: Path, packed: bool, content: bytes, message: str):
    write(tmp_path / "tiny" / "part" / "one.txt", CONTENTS["part/one.txt"])
    name = "two.txt.gz" if packed else "two.txt"
    write(tmp_path / "tiny" / "part" / name, gzip.compress(content) if packed else content)
    with pytest.raises(UserError, match=f"(?s)^tiny: .*{message}.*data fetch tiny"):
        read_all(tmp_path)


@pytest.mark.parametrize("ending", [".gz", ".xz"])
def test_a_packed_file_that_is_cut_off_or_no_packed_file_is_said(tmp_path: Path, ending: str):
    pack = {".gz": gzip.compress, ".xz": lzma.compress}[ending]
    for content in (pack(CONTENTS["part/one.txt"])[:-9], b"<html>not found</html>", b""):
        write(tmp_path / "tiny" / "part" / f"one.txt{ending}", content)
        with pytest.raises(UserError, match=f"tiny: .*one.txt{ending} (is damaged or cut off|must have 300 bytes)"):
            ensure.read(SOURCE, SOURCE.files[0], tmp_path)


@pytest.mark.parametrize("name", ["tiny.tar.gz", "tiny.tar.xz", "tiny.zip", "tiny.tar"])
def test_a_damaged_archive_is_said(tmp_path: Path, name: str):
    noise = {"zz": os.urandom(40_000), **CONTENTS}
    whole = zip_bytes(noise) if name.endswith("zip") else tar_bytes(noise, name[9:])
    for content in (whole[: len(whole) // 2], b"<html>not found</html>", b""):
        write(tmp_path / "tiny" / name, content)
        with pytest.raises(UserError, match=f"tiny: .*{name}"):
            read_all(tmp_path)


def test_archive_with_checksum_is_checked_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An archive with a checksum is checked before it is opened."""
    content = tar_bytes(CONTENTS)
    source = DataSource("tiny", "", "", "", SOURCE.files, (), (SourceFile("t.tar", len(content), sha256(content)),))
    write(tmp_path / "tiny" / "t.tar", content)
    assert read_all(tmp_path, source) == REQUIRED
    write(tmp_path / "tiny" / "t.tar", content[:-1] + b"x")
    monkeypatch.setattr(archives, "members", lambda *_: pytest.fail("opened"))
    with pytest.raises(UserError, match="t.tar is damaged: its sha256 must be"):
        read_all(tmp_path, source)


def test_archive_without_the_files_is_said(tmp_path: Path):
    """An archive without the files or with others under their names is said."""
    write(tmp_path / "tiny" / "tiny.tar", tar_bytes({"part/one.txt": CONTENTS["part/one.txt"]}))
    with pytest.raises(UserError, match="tiny.tar does not hold part/two.txt"):
        read_all(tmp_path)
    write(tmp_path / "tiny" / "tiny.tar", tar_bytes({**CONTENTS, "part/two.txt": b"SECOND"}))
    with pytest.raises(UserError, match="tiny.tar/part/two.txt is damaged"):
        read_all(tmp_path)


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "..\\evil", "C:/evil"])
def test_an_entry_that_leads_out_of_the_archive_is_refused(tmp_path: Path, name: str):
    write(tmp_path / "in" / "a.tar", tar_bytes({name: b"evil"}))
    write(tmp_path / "in" / "a.zip", zip_bytes({name: b"evil"}))
    for path in sorted((tmp_path / "in").iterdir()):
        with pytest.raises(ArchiveError, match="leads out of the archive"):
            list(members(path))
    assert not list(tmp_path.rglob("evil"))


def test_links_and_devices_of_an_archive_are_not_followed(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind, name in ((tarfile.SYMTYPE, "part/one.txt"), (tarfile.LNKTYPE, "hard"), (tarfile.CHRTYPE, "device")):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, str(secret)
            archive.addfile(entry)
    assert list(members(tmp_path / "a.tar")) == []


def test_a_member_larger_than_expected_is_not_read(tmp_path: Path):
    write(tmp_path / "bomb.zip", zip_bytes({"zeros": bytes(10_000_000)}))
    write(tmp_path / "bomb.tar.bz2", bz2.compress(tar_bytes({"zeros": bytes(10_000_000)})))
    for path in (tmp_path / "bomb.zip", tmp_path / "bomb.tar.bz2"):
        assert path.stat().st_size < 20_000
        with pytest.raises(ArchiveError, match="zeros has 10,000,000 bytes, at most 1,000 were expected"):
            list(members(path, limit=1000))


def test_a_folder_is_read_like_an_archive(tmp_path: Path):
    for name, content in CONTENTS.items():
        write(tmp_path / "tree" / name, content)
    assert dict(members(tmp_path / "tree")) == CONTENTS
    assert [name for name, _ in members(tmp_path / "tree", lambda name: "two" in name)] == ["part/two.txt"]


def test_archive_whose_files_are_too_many_to_list_is_read_whole(tmp_path: Path):
    """An archive whose files are too many to list is read whole."""
    content = tar_bytes(CONTENTS)
    file = SourceFile("t.tar", len(content), sha256(content), instead=(SourceFile("u.zip"),))
    source = DataSource("tiny", "", "", "", (file,), ())
    write(tmp_path / "tiny" / "t.tar", content)
    found, entries = ensure.open_archive(source, file, tmp_path)
    assert found == file and dict(entries) == CONTENTS
    (tmp_path / "tiny" / "t.tar").rename(tmp_path / "tiny" / "u.zip")
    found, entries = ensure.open_archive(source, file, tmp_path)
    assert found.path == "u.zip"
    with pytest.raises(UserError, match="u.zip: it is damaged"):
        list(entries)


def test_checking_says_where_each_file_is_and_what_is_wrong(tmp_path: Path):
    """Checking says of each file where it is and what is wrong."""
    write(tmp_path / "tiny" / "part" / "one.txt", CONTENTS["part/one.txt"])
    write(tmp_path / "tiny" / "note.txt", b"a nota")
    found = {file.path: (path, problem) for file, path, problem in access.verified(SOURCE, tmp_path)}
    assert found["part/one.txt"] == (tmp_path / "tiny" / "part" / "one.txt", None)
    assert found["part/two.txt"] == (None, "is missing")
    assert "is damaged: its sha256" in (found["note.txt"][1] or "")
    write(tmp_path / "tiny" / "tiny.tar", tar_bytes({**CONTENTS, "part/two.txt": b"SECOND"}))
    problems = [problem for _, _, problem in access.verified(SOURCE, tmp_path) if problem]
    assert len(problems) == 2 and any("tiny.tar/part/two.txt is damaged" in problem for problem in problems)


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "tiny" / "part" / "one.txt", CONTENTS["part/one.txt"])

    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(archives, "open_file", denied)  # a mode of 000 means nothing to a superuser
    with pytest.raises(UserError, match=r"tiny: .*one.txt cannot be read \(Permission denied\)"):
        ensure.read(SOURCE, SOURCE.files[0], tmp_path)


@pytest.mark.parametrize("name", source_names())
def test_every_data_set_says_what_it_is_and_where_it_comes_from(name: str):
    source = data_source(name)
    assert source.name == name and source.title and source.terms
    assert source.homepage.startswith(("https://", "http://"))
    assert source.downloads and any(file.required for file in source.files)
    for file in [*source.files, *source.archives, *(instead for f in source.files for instead in f.instead)]:
        assert archives.safe_name(file.path) == file.path
        check_checksum(file.checksum)
    for download in source.downloads:
        check_checksum(download.checksum)
        assert all(url.startswith(("https://", "http://")) for url in (download.url, *download.mirrors))
        assert (download.kind == "archive") <= archives.is_archive(download.path)


def check_checksum(checksum: str | None) -> None:
    if checksum is not None:
        kind, _, digest = checksum.partition(":")
        assert len(bytes.fromhex(digest)) == {"md5": 16, "sha256": 32}[kind]


def test_data_sets_are_found_by_their_constant():
    """Data sets are found by their constant and unknown names get a suggestion."""
    folder = Path(next(iter(stablebench.data.files.__path__)))
    with_source = {
        path.stem
        for path in folder.glob("*.py")
        if any("SOURCE" in ast.dump(node) for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign))
    }
    assert set(source_names()) == with_source >= {"mnist", "cifar10"}
    with pytest.raises(UserError, match=r"No data set named 'cifar'. Did you mean cifar10\?"):
        data_source("cifar")


def test_describing_mnist_and_cifar10_needs_no_torch():
    script = "import sys; from stablebench.data.files.source import data_source\n" + (
        "for name in ('mnist', 'cifar10'): data_source(name)\nassert not {'torch', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
