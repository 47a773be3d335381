"""What a shell completes, asked as bash, zsh and fish ask: values too, fast, without torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.runs.store import RunFolder
from stablebench.schema.run_record import RunRecord


def completed(line: str, shell: str = "bash") -> list[str]:
    """Return what the shell is offered for the last word of a line."""
    asked = {"_STABLEBENCH_COMPLETE": f"complete_{shell}", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    asked |= {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    result = CliRunner().invoke(app, [], env=asked, prog_name="stablebench")
    assert result.exit_code == 0, result.output
    return result.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("stablebench train --model roar", ["roarnn"]),
        ("stablebench compare --model rnn,ls", ["rnn,lstm"]),
        ("stablebench compare --model lstm,rnn,ls", []),
        ("stablebench compare --models lst", ["lstm"]),
        ("stablebench speed --model=lst", ["lstm"]),
        ("stablebench train --task copy/t10", ["copy/t100", "copy/t1000", "copy/t10000"]),
        ("stablebench compare --task adding,kth", ["adding,kth_highest"]),
        ("stablebench compare cornn/table3", ["cornn/table3_har2"]),
        ("stablebench show task addi", ["adding"]),
        ("stablebench show recipe digits/roar", ["digits/roarnn"]),
        ("stablebench show suites qui", ["quick"]),
        ("stablebench show sweep roarnn/rh", ["roarnn/rho"]),
        ("stablebench list recip", ["recipes"]),
        ("stablebench sweep --space roarnn/rh", ["roarnn/rho"]),
        ("stablebench check roar", ["roarnn"]),
        ("stablebench evaluate copy/", ["copy/dizzy/1dd9e824cdfa-s0", "copy/rnn/77aa-s0"]),
        ("stablebench evaluate 1dd", ["1dd9e824cdfa-s0"]),
        ("stablebench train --resume la", ["last"]),
        ("stablebench runs rm copy/d", ["copy/dizzy/1dd9e824cdfa-s0"]),
        ("stablebench report copy/r", ["copy/rnn/77aa-s0"]),
        ("stablebench plot probe 77", ["77aa-s0"]),
        ("stablebench evaluate --runs-dir other ad", ["adding/rnn/88-s0"]),
        ("stablebench compare --mod", ["--model"]),
        ("stablebench plot time-to-t", ["time-to-target"]),
    ],
)
def test_a_shell_is_offered_names(
    line: str, offered: list[str], tmp_path: Path, record: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("runs/copy/dizzy/1dd9e824cdfa-s0", "runs/copy/rnn/77aa-s0", "other/adding/rnn/88-s0"):
        (tmp_path / name).mkdir(parents=True)
        RunFolder(tmp_path / name).write_record(record)
    assert completed(line) == offered


def test_a_task_in_full_offers_its_variants() -> None:
    offered = completed("stablebench train --task copy")
    assert offered[0] == "copy" and {"copy_masked", "copy/t100"} <= set(offered)


def test_all_three_shells_are_offered_the_same() -> None:
    line = "stablebench train --model roar"
    assert "roarnn" in " ".join(completed(line, "zsh")) and completed(line, "fish") == ["roarnn"]


def test_completion_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys\n"
        "from stablebench.cli.app import app\n"
        "try:\n    app(prog_name='stablebench')\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy'} & set(sys.modules)), file=sys.stderr)\n"
    )
    for line in ("stablebench train --model roar", "stablebench show task copy/t10", "stablebench show run 1d"):
        asked = {"_STABLEBENCH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True, check=True
        )
        assert "torch" not in done.stderr and "numpy" not in done.stderr, done.stderr
