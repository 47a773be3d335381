"""Whatever stands in a file, it is read or there is one message: no traceback, no hang, no memory without bound.

The default run tries about 600 inputs, `pytest -m slow` more than 10,000 with hypothesis and as many with atheris,
where that is installed (`pip install atheris`).
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_runs import run, tiny

from stablebench.errors import UserError
from stablebench.resources import recipes_dir, suites_dir, tasks_dir
from stablebench.runs import checkpoint
from stablebench.runs.curve import read_curve
from stablebench.runs.store import RunFolder
from stablebench.schema.card import TaskCard
from stablebench.schema.recipe import Recipe
from stablebench.schema.strict import load
from stablebench.schema.suite import Suite

Read = Callable[[Path], Any]
READERS: dict[str, Read] = {
    "card.yaml": lambda path: load(path, TaskCard),
    "recipe.yaml": lambda path: load(path, Recipe),
    "suite.yaml": lambda path: load(path, Suite),
    "record.json": lambda path: RunFolder(path.parent).read_record(),
    "metrics.jsonl": lambda path: list(read_curve(path)),
    "checkpoint.safetensors": checkpoint.load,
}
MARKS = [b": ", b"- ", b"{", b"]", b"&a ", b"*a", b"!!python/name:os.system ", b"'", b'"', b"\\u0000", b"1e999", b"NaN"]
MARKS += [
    b"-1",
    b"9" * 400,
    b"\x00",
    b"\xff\xfe",
    b"\n",
    b"\t",
    b"[" * 200,
    b"null",
    b"true",
    b"../",
    b"\xf0\x9f\x92\xa3",
]
SECONDS, BYTES = 5.0, 2**30
HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return a whole file of each kind."""
    folder = run(tiny(), tmp_path_factory.mktemp("seeds"))
    return {
        "card.yaml": (tasks_dir() / "copy.yaml").read_bytes()[:4000],
        "recipe.yaml": (recipes_dir() / "copy" / "rnn.yaml").read_bytes(),
        "suite.yaml": (suites_dir() / "quick.yaml").read_bytes(),
        "record.json": folder.record_path.read_bytes(),
        "metrics.jsonl": folder.curve_path.read_bytes(),
        "checkpoint.safetensors": folder.checkpoints()[0].read_bytes(),
    }


EDITS = st.lists(
    st.tuples(st.integers(0, 6000), st.integers(0, 60), st.one_of(st.binary(max_size=20), st.sampled_from(MARKS))),
    min_size=1,
    max_size=4,
)


def edited(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, length, new in edits:
        start = at % (len(content) + 1)
        content = content[:start] + new + content[start + length :]
    return content


def from_now_on() -> int:
    """Let the peak of this process's memory begin anew, and return it in bytes; 0 where the system cannot."""
    if sys.platform != "linux":
        return 0
    Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory() -> int:
    if sys.platform != "linux":
        return 0
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def check(name: str, content: bytes, folder: Path) -> None:
    """Read it: it is read, or refused in at most ten lines that name the file, at once and in little memory."""
    path = folder / name
    path.write_bytes(content)
    before = from_now_on()
    began = time.process_time()
    try:
        READERS[name](path)
    except UserError as error:
        lines = str(error).splitlines()
        assert 1 <= len(lines) <= 10 and str(folder) in lines[0], lines
        assert len(str(error)) < 10_000
    assert time.process_time() - began < SECONDS
    assert peak_memory() - before < BYTES


def fuzz(name: str, content: bytes, folder: Path, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=HEALTH)
    @given(edits=EDITS)
    def tried(edits: list[tuple[int, int, bytes]]) -> None:
        check(name, edited(content, edits), folder)

    tried()


@pytest.mark.parametrize("name", READERS)
def test_a_file_with_random_changes_is_read_or_refused(name: str, seeds: dict[str, bytes], tmp_path: Path) -> None:
    fuzz(name, seeds[name], tmp_path, 80)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_ten_thousand_files_with_random_changes(name: str, seeds: dict[str, bytes], tmp_path: Path) -> None:
    """Six times 1,800."""
    fuzz(name, seeds[name], tmp_path, 1800)


HOSTILE = {
    "nothing": b"",
    "zeros": bytes(100_000),
    "deep lists": b"[" * 500_000,
    "deep mappings": b'{"a":' * 200_000,
    "a line of a megabyte": b"x" * 999_999,
    "many keys": b"\n".join(b"k%d: 1" % i for i in range(30_000)),
    "many objects": b'{"step": 1}\n' * 80_000,
    "a long number": b'{"step": ' + b"9" * 900_000 + b"}\n",
    "a long string": b'"' + b"a" * 900_000 + b'"',
    "aliases": b"a: &a [x, x]\n" + b"".join(b"b%d: &b%d [*a, *a]\n" % (i, i) for i in range(20_000)),
    "surrogates": b'{"a": "\\ud800"}\n',
    "not UTF-8": b"\xff\xfe\xfd" * 1000,
    "quotes": b"'\"" * 200_000,
    "colons": b": " * 200_000,
    "flow": b"[{a: [" * 50_000,
    "questions": b"? " * 100_000,
    "dashes": b"- " * 100_000,
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("name", READERS)
def test_a_file_made_to_exhaust_its_reader_does_not(name: str, what: str, tmp_path: Path) -> None:
    check(name, HOSTILE[what], tmp_path)


ATHERIS = """
import sys
import atheris
with atheris.instrument_imports(include=["stablebench.schema", "stablebench.runs.store", "yaml"]):
    from test_fuzzing import READERS, check
from pathlib import Path
name, folder, seed = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
def one(data):
    check(name, data, folder)
limits = ["-runs=10000", "-max_len=8000", "-seed=1", "-timeout=120", "-rss_limit_mb=1024"]
atheris.Setup([sys.argv[0], *limits, str(seed)], one)
atheris.Fuzz()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_ten_thousand_inputs_that_look_for_new_paths(name: str, seeds: dict[str, bytes], tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="pip install atheris (Linux and macOS wheels)")
    corpus, files = tmp_path / "corpus", tmp_path / "files"
    for folder in (corpus, files):
        folder.mkdir()
    (corpus / "seed").write_bytes(seeds[name])
    done = subprocess.run(
        [sys.executable, "-c", ATHERIS, name, str(files), str(corpus)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr[-3000:]


def test_a_record_is_read_back_as_it_was_written(seeds: dict[str, bytes], tmp_path: Path) -> None:
    """The readers that refuse so much do read what is right."""
    for name, content in seeds.items():
        if name != "card.yaml":  # its end is cut off
            (tmp_path / name).write_bytes(content)
            READERS[name](tmp_path / name)
    assert json.loads(seeds["record.json"])["status"] == "finished"
