"""Fetching from a server on this machine: whole files or none, whatever happens on the way."""

import dataclasses
import gzip
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_server import Server, serving
from tiny_source import CONTENTS, REQUIRED, SOURCE, source_file, tar_bytes, write, zip_bytes

from stablebench.data.files import ensure
from stablebench.data.files import fetch as fetch_module
from stablebench.data.files.fetch import fetch
from stablebench.data.files.source import DataSource, Download, SourceFile
from stablebench.errors import StablebenchError, UserError

BIG = os.urandom(1_000_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetch_module, "_PAUSE_S", 0.0)
    monkeypatch.setattr(fetch_module, "_TIMEOUT_S", 10.0)
    with serving() as server:
        yield server


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}"


def one_file(server: Server, content: bytes = BIG, **more: object) -> DataSource:
    """Return a data set of one file, `big`, and serve it."""
    server.files["big"] = content
    download = Download(f"{server.url}big", "big", len(content), md5(content))
    file = SourceFile("big", len(content), md5(content))
    return DataSource("tiny", "", "", "", (file,), (dataclasses.replace(download, **more),))  # type: ignore[arg-type]


def files_in(root: Path) -> list[str]:
    return sorted(
        p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and not p.name.endswith(".lock")
    )


def test_a_file_is_fetched_once_and_then_found_whole(server: Server, tmp_path: Path):
    source = one_file(server)
    told: list[tuple[str, int, int | None]] = []
    assert fetch(source, tmp_path, lambda *said: told.append(said))
    assert files_in(tmp_path) == ["tiny/big"] and ensure.read(source, source.files[0], tmp_path) == BIG
    assert told[-1] == ("big", len(BIG), len(BIG)) and [done for _, done, _ in told] == sorted(d for _, d, _ in told)
    assert not fetch(source, tmp_path)
    assert len(server.asked) == 1


def test_a_connection_that_is_cut_off_is_gone_on_with(server: Server, tmp_path: Path):
    source = one_file(server)
    server.cut_after = [300_000, 10, 500_000]
    fetch(source, tmp_path)
    assert [asked for _, asked in server.asked] == [None, "bytes=300000-", "bytes=300010-", "bytes=800010-"]
    assert (tmp_path / "tiny" / "big").read_bytes() == BIG


def test_a_download_that_ended_is_gone_on_with_by_the_next_call(server: Server, tmp_path: Path):
    source = one_file(server)
    server.cut_after = [300_000, *[0] * 20]
    with pytest.raises(StablebenchError, match="it cannot be fetched .*the connection was cut off"):
        fetch(source, tmp_path)
    assert files_in(tmp_path) == ["tiny/big.part"]
    server.cut_after = []
    server.asked.clear()
    fetch(source, tmp_path)
    assert server.asked == [("big", "bytes=300000-")] and files_in(tmp_path) == ["tiny/big"]


@pytest.mark.parametrize("with_length", [True, False])
def test_a_server_that_knows_no_ranges_sends_all_of_it_again(server: Server, tmp_path: Path, with_length: bool):
    source = one_file(server)
    server.ranges, server.with_length, server.cut_after = False, with_length, [300_000]
    fetch(source, tmp_path)
    assert (tmp_path / "tiny" / "big").read_bytes() == BIG


@pytest.mark.parametrize(
    "left", [b"not the beginning", BIG[:9] + b"wrong" * 40_000, bytes(len(BIG)), bytes(2 * len(BIG))]
)
def test_a_part_of_something_else_is_not_gone_on_with(server: Server, tmp_path: Path, left: bytes):
    source = one_file(server)
    write(tmp_path / "tiny" / "big.part", left)
    fetch(source, tmp_path)
    assert (tmp_path / "tiny" / "big").read_bytes() == BIG and files_in(tmp_path) == ["tiny/big"]


def test_redirects_are_followed_also_when_going_on(server: Server, tmp_path: Path):
    source = one_file(server, url=f"{server.url}old")
    server.redirects["old"] = f"{server.url}big"
    server.cut_after = [300_000]
    fetch(source, tmp_path)
    assert server.asked[-1] == ("big", "bytes=300000-") and (tmp_path / "tiny" / "big").read_bytes() == BIG


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BIG[:-1] + bytes([BIG[-1] ^ 1]), r"what it gives has the md5 [0-9a-f]{32}, [0-9a-f]{32} was expected"),
        (BIG + b"more", r"it offers 1,000,004 bytes, 1,000,000 were expected"),
        (BIG[:-5], r"it gives 999,995 bytes, 1,000,000 were expected"),
        (b"<html>gone</html>", r"it gives 17 bytes, 1,000,000 were expected"),
    ],
    ids=["tampered", "too long", "too short", "a page"],
)
def test_what_is_not_the_file_is_refused_and_nothing_is_left(
    server: Server, tmp_path: Path, content: bytes, message: str
):
    source = one_file(server)
    server.files["big"] = content
    with pytest.raises(StablebenchError, match=f"(?s)^tiny: it cannot be fetched .*{message}.*Put them into") as caught:
        fetch(source, tmp_path)
    assert files_in(tmp_path) == [] and not isinstance(caught.value, UserError) and caught.value.exit_code == 1


def test_more_than_was_announced_is_not_written(server: Server, tmp_path: Path):
    source = one_file(server, b"short")
    server.files["big"], server.with_length = BIG, False
    with pytest.raises(StablebenchError, match="it gives more than the 5 bytes that were expected"):
        fetch(source, tmp_path)
    assert not (tmp_path / "tiny" / "big").exists()


def test_mirrors_are_tried_in_turn_and_all_reasons_are_said(server: Server, tmp_path: Path):
    source = one_file(server, url=f"{server.url}gone", mirrors=(f"{server.url}also/gone", f"{server.url}big"))
    fetch(source, tmp_path)
    assert [name for name, _ in server.asked] == ["gone", "also/gone", "big"]
    (tmp_path / "tiny" / "big").unlink()
    del server.files["big"]
    with pytest.raises(StablebenchError) as caught:
        fetch(source, tmp_path)
    assert str(caught.value).count("HTTP 404") == 3


def test_without_network_message_has_address_file_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without a network the message has address file and folder."""
    monkeypatch.setattr(fetch_module, "_PAUSE_S", 0.0)
    with serving() as gone:
        source = one_file(gone)
    with pytest.raises(StablebenchError) as caught:
        fetch(source, tmp_path)
    text = str(caught.value)
    for expected in (f"{gone.url}big: Connection refused", "big  1,000,000 bytes, md5", str(tmp_path / "tiny")):
        assert expected in text
    assert "data fetch" not in text


@pytest.mark.parametrize("name", ["tiny.tar.gz", "tiny.zip"])
def test_an_archive_is_unpacked_into_the_publisher_s_layout(server: Server, tmp_path: Path, name: str):
    inside = {f"Publisher/{path}": content for path, content in {"other": b"0", **CONTENTS}.items()}
    server.files[name] = zip_bytes(inside) if name.endswith("zip") else tar_bytes(inside, "gz")
    source = dataclasses.replace(
        SOURCE, downloads=(Download(f"{server.url}{name}", name, checksum=md5(server.files[name]), kind="archive"),)
    )
    assert fetch(source, tmp_path)
    assert files_in(tmp_path) == ["tiny/note.txt", "tiny/part/one.txt", "tiny/part/two.txt"]
    assert {file.path: content for file, content in ensure.read_all(source, data_dir=tmp_path)} == REQUIRED
    assert not fetch(source, tmp_path)


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ({**CONTENTS, "../../evil": b"evil"}, "leads out of the archive"),
        ({**CONTENTS, "part/two.txt": b"SECOND"}, "two.txt is damaged: its sha256 must be"),
        ({"part/one.txt": CONTENTS["part/one.txt"]}, "does not hold part/two.txt"),
    ],
    ids=["traversal", "tampered", "incomplete"],
)
def test_bad_archive_is_said_and_no_wrong_file_comes_to_place(
    server: Server, tmp_path: Path, inside: dict[str, bytes], message: str
):
    """A bad archive is said and no wrong file comes to its place."""
    server.files["a.zip"] = zip_bytes(inside)
    root = tmp_path / "deep" / "root"
    source = dataclasses.replace(SOURCE, downloads=(Download(f"{server.url}a.zip", "a.zip", kind="archive"),))
    with pytest.raises(StablebenchError, match=message):
        fetch(source, root)
    for path in (root / "tiny").rglob("*.txt"):
        assert path.read_bytes() == CONTENTS[path.relative_to(root / "tiny").as_posix()]
    assert not list(tmp_path.rglob("evil")) and not list(tmp_path.rglob(".unpacked-*"))


def test_damaged_file_is_fetched_anew_and_old_one_set_aside(server: Server, tmp_path: Path):
    """A damaged file is fetched anew and the old one set aside."""
    server.files["two.txt.gz"] = gzip.compress(b"second")
    download = Download(f"{server.url}two.txt.gz", "part/two.txt.gz")
    source = DataSource("tiny", "", "", "", (source_file("part/two.txt"),), (download,))
    write(tmp_path / "tiny" / "part" / "two.txt", b"SECOND")
    assert fetch(source, tmp_path)
    assert ensure.read(source, source.files[0], tmp_path) == b"second"
    assert files_in(tmp_path) == ["tiny/part/two.txt.damaged", "tiny/part/two.txt.gz"]


def test_what_is_whole_in_another_form_is_not_fetched(server: Server, tmp_path: Path):
    download = Download(f"{server.url}two.txt.gz", "part/two.txt.gz")
    source = DataSource("tiny", "", "", "", (source_file("part/two.txt"),), (download,), folders=("moved",))
    write(tmp_path / "moved" / "part" / "two.txt", b"second")
    assert not fetch(source, tmp_path) and server.asked == []
    assert not (tmp_path / "tiny").exists()


def test_a_folder_that_cannot_be_written_is_said(server: Server, tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StablebenchError, match=r"tiny: .*file.* cannot be written \(Not a directory\)"):
        fetch(one_file(server), tmp_path / "file")


def test_of_two_at_once_one_fetches(server: Server, tmp_path: Path):
    source = one_file(server)
    threads = [threading.Thread(target=fetch, args=(source, tmp_path, lambda *_: None)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 1 and files_in(tmp_path) == ["tiny/big"]


def test_nothing_is_fetched_unasked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Nothing is fetched unless it is asked for and then into the cache."""
    for name in ("STABLEBENCH_DATA", "STABLEBENCH_FETCH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    source = one_file(server)
    for value in (None, "", "0"):
        if value is not None:
            monkeypatch.setenv("STABLEBENCH_FETCH", value)
        with pytest.raises(UserError, match=r"(?s)cache/data/tiny lacks big.*`stablebench data fetch tiny`"):
            ensure.read(source, source.files[0])
    assert not server.asked
    monkeypatch.setenv("STABLEBENCH_FETCH", "1")
    for _ in range(2):
        assert ensure.read(source, source.files[0]) == BIG
    assert files_in(tmp_path) == ["cache/data/tiny/big"] and len(server.asked) == 1
    assert capsys.readouterr().err.count(f"tiny: fetching {server.url}big") == 1
    (tmp_path / "named").mkdir()
    with pytest.raises(UserError, match="named/tiny lacks big"):  # what a user named is only read
        ensure.read(source, source.files[0], tmp_path / "named")
    assert len(server.asked) == 1
