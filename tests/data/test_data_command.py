"""`stablebench data` as a user types it, with a data set that a server on this machine offers."""

import dataclasses
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_server import Server, serving
from tiny_source import CONTENTS, source_file, write
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.data.files import fetch
from stablebench.data.files import source as source_module
from stablebench.data.files.source import DataSource, Download, SourceFile, data_source, source_names


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A server and one data set, `tiny`, that it offers."""
    monkeypatch.setattr(fetch, "_PAUSE_S", 0.0)
    monkeypatch.delenv("STABLEBENCH_DATA", raising=False)
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    with serving() as server:
        server.files = {"one.gz": gzip.compress(CONTENTS["part/one.txt"]), "two": CONTENTS["part/two.txt"]}
        source = DataSource(
            name="tiny",
            title="Three files",
            homepage="https://example.org/tiny",
            terms="free",
            files=(source_file("part/one.txt"), source_file("part/two.txt"), source_file("note.txt", required=False)),
            downloads=(
                Download(f"{server.url}one.gz", "part/one.txt.gz", len(server.files["one.gz"])),
                Download(f"{server.url}two", "part/two.txt", 6),
            ),
        )
        unchecked = dataclasses.replace(
            source, name="other", files=(SourceFile("x"),), downloads=(Download(f"{server.url}x", "x"),)
        )
        found = {"tiny": source, "other": unchecked}
        monkeypatch.setattr(source_module, "source_names", lambda: tuple(sorted(found)))
        monkeypatch.setattr(
            source_module, "data_source", lambda name, before=data_source: found.get(name) or before(name)
        )
        yield server


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["data", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def read(*arguments: object, code: int = 0) -> list[dict[str, object]]:
    return json.loads(run(*arguments, "--json", code=code).stdout)


def test_fetch_verify_and_list_a_data_set(server: Server, tmp_path: Path):
    folder = tmp_path / "named" / "tiny"
    named = ["--data-dir", tmp_path / "named"]
    before = {str(item["name"]): item for item in read("list", *named)}
    assert before["tiny"] | {"present": 0, "files": 2, "download": len(server.files["one.gz"]) + 6} == before["tiny"]
    assert before["other"]["download"] is None
    result = run("fetch", "tiny", *named)
    assert "part/two.txt: 0 kB of 0 kB" in result.stderr and f"tiny: fetched to {folder}" in result.stderr
    assert result.stdout == ""
    assert f"tiny: already whole in {folder}" in run("fetch", "tiny", *named).stderr
    after = {str(item["name"]): item for item in read("list", *named)}
    assert after["tiny"]["present"] == 2 and after["tiny"]["folder"] == str(folder)
    assert run("verify", *named).stdout == f"tiny: 2 files hold ({folder})\n"


def test_the_environment_and_then_the_cache_say_where_data_lie(server: Server, tmp_path: Path, monkeypatch):
    assert run("path").stdout == f"{tmp_path}/cache/data\n"
    assert run("path", "tiny").stdout == f"{tmp_path}/cache/data/tiny\n"
    monkeypatch.setenv("STABLEBENCH_DATA", str(tmp_path / "mine"))
    assert run("path", "tiny").stdout == f"{tmp_path}/mine/tiny\n"
    assert json.loads(run("path", "--json").stdout) == {"name": None, "folder": f"{tmp_path}/mine"}
    read("fetch", "tiny", "--quiet")
    assert (tmp_path / "mine" / "tiny" / "part" / "two.txt").read_bytes() == b"second"


def test_verify_names_what_is_damaged_or_missing(server: Server, tmp_path: Path):
    """Verify names what is damaged or missing with exit code 1."""
    assert "There are no data sets in" in run("verify", code=1).stderr
    write(tmp_path / "cache" / "data" / "tiny" / "part" / "one.txt", b"wrong")
    write(tmp_path / "cache" / "data" / "other" / "x", b"anything")
    result = run("verify", code=1)
    lines = result.stdout.splitlines()
    root = tmp_path / "cache" / "data"
    assert lines[0] == f"other: 1 file holds, 1 without a published checksum ({root}/other)"
    assert lines[1] == f"tiny: 2 of 2 files damaged or missing ({root}/tiny)"
    assert "one.txt must have 300 bytes, it has 5" in lines[2] and lines[3] == "  part/two.txt: is missing"
    assert "Damaged or incomplete: tiny; `stablebench data fetch tiny` fetches them again" in result.stderr
    problems = [item["problem"] for item in read("verify", "tiny", code=1)]
    assert problems[1] == "is missing" and len(problems) == 2


def test_failure_is_one_message_and_exit_code_1(server: Server, tmp_path: Path):
    """A failure is one message and exit code 1 and the rest is fetched."""
    result = run("fetch", "--all", "--quiet", code=1)
    assert result.stderr.count("Error: ") == 1 and "Traceback" not in result.output
    for expected in ("other: it cannot be fetched", f"{server.url}x: HTTP 404", f"{tmp_path}/cache/data/other"):
        assert expected in result.stderr
    assert (tmp_path / "cache" / "data" / "tiny" / "part" / "two.txt").is_file()
    document = {str(item["name"]): item for item in read("fetch", "--all", "-q", code=1)}
    assert "problem" in document["other"] and document["tiny"]["fetched"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch"], "Give names, or --all for all of them: other, tiny."),
        (["fetch", "tiny", "--all"], "Give names, or --all"),
        (["fetch", "tny"], "No data set named 'tny'. Did you mean tiny?"),
        (["verify", "tny"], "No data set named 'tny'"),
        (["path", "tny"], "No data set named 'tny'"),
    ],
)
def test_wrong_input_is_exit_code_2(server: Server, arguments: list[str], message: str):
    assert message in run(*arguments, code=2).stderr


@pytest.mark.parametrize("command", ["train --model rnn --task copy", "compare quick", "evaluate run", "verify run"])
def test_named_folder_that_is_not_there_is_refused(command: str, tmp_path: Path):
    """A named folder that is not there is refused whatever the cache holds."""
    result = CliRunner().invoke(app, [*command.split(), "--data-dir", str(tmp_path / "nowhere")])
    assert result.exit_code == 2 and "nowhere: there is no such folder" in result.stderr


@pytest.mark.parametrize("fmt", ["table", "github", "csv"])
def test_every_data_set_is_listed_with_terms_and_source(fmt: str, tmp_path: Path):
    text = run("list", "--data-dir", tmp_path, "--format", fmt).stdout
    for name in source_names():
        assert name in text
    listed = {str(item["name"]): item for item in read("list", "--data-dir", tmp_path)}
    assert set(listed) == set(source_names())
    assert listed["mnist"]["source"] == "http://yann.lecun.com/exdb/mnist/" and listed["mnist"]["download"] == 11594722
