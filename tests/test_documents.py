"""Every block of code in the documents runs, or is at least what the commands of this version take.

A block says by its language what it is: `python` runs, block after block of a page in one namespace; `yaml` is checked
as `validate` does; without a language it is typed into a shell; `text` is output or syntax. A block whose first line is
`# name.py` or `# name.yaml` is that file. What cannot run here has the line `<!-- not run: why -->` above it.

Of shell lines `stablebench` is the real parser's: those that only read run, those with `--dry-run` run with it, and
of the others the words are parsed. Where a line has alternatives or optional parts, all are tried.
"""

import ast
import json
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy
import pytest
import yaml
from typer.core import TyperCommand
from typer.testing import CliRunner

import stablebench as sb
from stablebench.cli.app import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"(?:^<!-- (not run: [^\n]+) -->\n+)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# ([\w/]+\.(?:py|yaml))\n")
_READ = ("list", "show", "validate", "check", "data list")
"""Commands that run as they are typed."""
_DRY = ("train", "compare", "claims")
"""Commands that run with `--dry-run`."""
_STANDS_FOR = {"PATH...": "tasks/copy.yaml", "MODELS": "lstm,roarnn", "N": "5", "PAGE": "page", "/shared/data": "tasks"}
"""What a reader is to put in, and what it is here."""
_NEEDS_A_RUN = re.compile(r"\bRUN\b|--resume|--check")
_OTHER_PROGRAMS = ("ray", "tensorboard")
"""Programs of optional packages, whose own words are not checked."""


@dataclass(frozen=True)
class Block:
    """A block of code: its page, the line of its first line, its language, and why it is not run."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None = None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """The name of the file that it is."""
        match = _FILE.match(self.text)
        return match[1] if match else None

    def commands(self) -> Iterator[tuple[int, str]]:
        """Yield each command of a shell block with its line, without what follows a `#`."""
        for number, line in enumerate(self.text.splitlines()):
            bare = re.sub(r"(^|\s+)#.*", "", line).strip()
            for command in bare.split(" && ") if bare else []:
                yield self.line + number, command


def blocks_of(page: Path, text: str) -> list[Block]:
    """Return the blocks of a page.

    Args:
        page: Its path.
        text: What it says.
    """
    return [
        Block(page, text.count("\n", 0, match.start(3)) + 1, match[2], match[3], match[1])
        for match in _FENCE.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page, page.read_text(encoding="utf-8"))]


def written_out(line: str) -> list[str]:
    """Return the commands that a line stands for: `a | b` is either, `[x]` may be left out, `A|B` is the first."""
    if not line.startswith("stablebench"):
        return [line]
    head, *others = line.split(" | ")
    words = head.split()
    lines = [head] + [" ".join([*words[: -len(other.split())], other]) for other in others]
    written = []
    for one in lines:
        one = re.sub(r"\[([A-Z]+)[|.][^\]]*\]", r"\1", one).replace("SUITE", "quick")
        for name, value in _STANDS_FOR.items():
            one = re.sub(rf"(?<![\w-]){re.escape(name)}(?!\w)", value, one)
        if "'" in one:  # brackets in quotes are the model's arguments
            written.append(one)
        else:
            written += [re.sub(r"\s*\[[^\]]*\]", "", one), one.replace("[", "").replace("]", "")]
    return list(dict.fromkeys(written))


def fails(command: str, parsed_only: pytest.MonkeyPatch) -> str | None:
    """Return why a command would fail, None for one that does not."""
    words = shlex.split(command)
    while "=" in words[0]:
        words = words[1:]
    program = words[0].removeprefix(".venv/bin/")
    if program == "stablebench":
        return _fails_here(words[1:], parsed_only)
    if program in ("python", "python3", "pytest") and words[1] not in ("-m", "-c"):
        paths = [word for word in words[1:] if word.startswith(("tests", "benchmarks"))]
        missing = [path for path in paths if not (ROOT / path).exists()]
        return None if paths and not missing else f"there is no {missing or 'file in it'}"
    if program == "pip":
        extras = re.findall(r"\[([\w,]+)\]", command)
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        unknown = {extra for group in extras for extra in group.split(",")} - set(known)
        return f"there is no extra {unknown}" if unknown else None
    if words[:3] == ["python3", "-m", "venv"] or words[:2] == ["python", "-c"]:
        compile(words[2] if words[1] == "-c" else "", command, "exec")
        return None
    return None if program in _OTHER_PROGRAMS else f"{program} is no known program"


def _fails_here(words: list[str], parsed_only: pytest.MonkeyPatch) -> str | None:
    line = " ".join(words)
    runs = line.startswith(_READ) and not _NEEDS_A_RUN.search(line)
    dry = words[0] in _DRY and not _NEEDS_A_RUN.search(line) and not {"--ray", "--slurm", "--track"} & set(words)
    with parsed_only.context() as patch:
        if dry:
            words = [*words, *([] if "--dry-run" in words else ["--dry-run"])]
        elif not runs:
            patch.setattr(TyperCommand, "invoke", lambda *_: None, raising=False)
        result = CliRunner().invoke(app, words)
    return None if result.exit_code == 0 else result.output[-600:] or repr(result.exception)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which a reader types: the files of the pages, and what the repository has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for block in BLOCKS:
        if block.file:
            Path(block.file).write_text(block.text)
    for name in ("tasks", "configs"):
        Path(name).symlink_to(ROOT / name)
    inputs = numpy.random.default_rng(0).standard_normal((200, 10, 2), dtype=numpy.float32)
    numpy.savez("seqs.npz", x=inputs, y=(inputs.sum((1, 2)) > 0).astype(numpy.int64))
    Path("tuned").symlink_to(ROOT / "configs" / "tuned")
    shutil.copy(ROOT / "configs" / "recipes" / "digits" / "lstm.yaml", "best.yaml")
    return tmp_path


SHELL = [b for b in BLOCKS if b.language in ("", "sh", "bash") and not b.not_run]
PYTHON = list(dict.fromkeys(b.page for b in BLOCKS if b.language == "python" and not b.not_run and not b.file))
YAML = [b for b in BLOCKS if b.language == "yaml" and not b.not_run]


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_shell_lines_are_what_the_commands_take(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problems = []
    for line, command in block.commands():
        for one in written_out(command):
            if problem := fails(one, monkeypatch):
                problems.append(f"{block.page.relative_to(ROOT)}:{line}: {one}\n{problem}")
    assert not problems, "\n".join(problems)


SMALLER = {
    "sb.probe(lstm, torch.randn(4, 1000, 1))": "sb.probe(lstm, torch.randn(4, 100, 1))",
    "steps=60)": "steps=6)",
    "for _ in range(5))": "for _ in range(2))",
}
"""What takes ten seconds each on a page and a few here: a chain of 1,000 steps, updates of nine runs, repeats."""


@pytest.mark.parametrize("page", PYTHON, ids=lambda page: page.name)
def test_python_blocks_run(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The blocks of a page run one after the other, as a reader types them."""
    monkeypatch.syspath_prepend(folder)
    matplotlib.use("agg")
    names: dict[str, Any] = {}
    for block in (b for b in BLOCKS if b.page == page and b.language == "python" and not b.not_run and not b.file):
        text = "\n" * (block.line - 1) + block.text  # so that a traceback has the line of the page
        for shown, smaller in SMALLER.items():
            text = text.replace(shown, smaller)
        try:
            exec(compile(text, str(page), "exec"), names)
        except Exception as error:
            error.add_note(f"in the block at {block}")
            raise
    for block in BLOCKS:
        sys.modules.pop(Path(block.file or "").stem, None)
    if page.name == "python.md":
        assert all(shown in page.read_text(encoding="utf-8") for shown in SMALLER)
        assert max(len(b.text.splitlines()) for b in BLOCKS if b.page == page) <= 15
        printed = capsys.readouterr().out
        assert Path("lstm.png").exists() and names["result"].verdict == "VANISHES"
        assert names["layer"].engine == "fused" and names["by_loop"] > names["compiled"]
        assert "fused None" in printed and "times faster" in printed and "9 runs in" in printed
        assert isinstance(names["board"], sb.Board) and [r.step for r in names["watched"].records] == [0, 10]


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Its cells run as Jupyter runs them; of magics there are only `%%writefile` and `%matplotlib inline`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    matplotlib.use("agg")
    notebook = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        first, _, rest = cell.partition("\n")
        if first.startswith("%%writefile "):
            Path(first.split()[1]).write_text(rest)
            continue
        code = cell.removeprefix("%matplotlib inline\n")
        try:
            *statements, last = ast.parse(code).body
            exec(compile(ast.Module(statements, []), f"cell {number}", "exec"), names)
            shown = ast.Expression(last.value) if isinstance(last, ast.Expr) else ast.Module([last], [])
            mode = "eval" if isinstance(last, ast.Expr) else "exec"
            names["_"] = eval(compile(shown, f"cell {number}", mode), names)
        except Exception as error:
            error.add_note(f"in code cell {number} of the notebook:\n{cell}")
            raise
    sys.modules.pop("leaky", None)
    printed = capsys.readouterr().out
    assert names["lstm"].verdict == "VANISHES" and names["roarnn"].verdict == "SURVIVES"
    assert len(names["runs"]) == 9 and "Leaky" in printed
    assert {line.get_label() for line in names["_"].axes[0].get_lines()} >= {"Leaky", "lstm", "roarnn"}


@pytest.mark.parametrize("block", YAML, ids=str)
def test_yaml_blocks_are_valid(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Suites and spaces pass `validate`; steps of a CI job are commands."""
    held = yaml.safe_load(block.text)
    if isinstance(held, list):
        for step in held:
            assert not fails(step["run"], monkeypatch), step
        return
    path = folder / (block.file or "shown.yaml")
    path.write_text(block.text)
    result = CliRunner().invoke(app, ["validate", str(path)])
    assert result.exit_code == 0, f"{block}: {result.output}"


def test_every_block_says_what_it_is() -> None:
    """No block is left out by its language: each is run, checked, text, or says why it is not run."""
    assert {block.language for block in BLOCKS} <= {"", "python", "yaml", "text"}
    assert sum(page.read_text(encoding="utf-8").count("\n```") for page in PAGES) == 2 * len(BLOCKS)
    assert len(SHELL) >= 15 and len(PYTHON) >= 1 and len(YAML) >= 3
    assert [str(b) for b in BLOCKS if b.not_run and len(b.not_run) < 15] == []


def test_a_wrong_line_is_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (
        *(
            "stablebench trian --model lstm",
            "stablebench compare quick --modles lstm",
            "stablebench train --model lstmm",
        ),
        *("stablebench speed --repeats many", "stablebench show model dizy", "pip install -e '.[sweeps]'"),
        *("python benchmarks/speed.py", "stablebnch list models", "stablebench validate nothing.yaml"),
    ):
        assert fails(wrong, monkeypatch), wrong
    assert fails("stablebench speed --repeats 3", monkeypatch) is None


def test_lines_with_alternatives_are_written_out() -> None:
    assert written_out("stablebench show model dizzy | task copy") == [
        "stablebench show model dizzy",
        "stablebench show task copy",
    ]
    assert written_out("stablebench data list | fetch | path") == [
        f"stablebench data {w}" for w in ("list", "fetch", "path")
    ]
    assert written_out("stablebench report [SUITE|RUNS...] -o report.html") == [
        "stablebench report quick -o report.html"
    ]
    assert written_out("stablebench verify RUN [--steps N]") == [
        "stablebench verify RUN",
        "stablebench verify RUN --steps 5",
    ]


def test_blocks_are_collected_with_their_lines() -> None:
    text = "a\n\n```\nls\n```\n<!-- not run: needs a cluster -->\n```python\nx = 1\n```\n"
    first, second = blocks_of(ROOT / "README.md", text)
    assert (first.line, first.language, first.not_run, list(first.commands())) == (4, "", None, [(4, "ls")])
    assert (second.line, second.language, second.not_run) == (8, "python", "not run: needs a cluster")
