"""The entry point: lazy commands, one message an error, exit codes, quiet ends."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from stablebench.cli import app as app_module
from stablebench.cli.app import app, command_files
from stablebench.cli.shared.commands import add_command
from stablebench.cli.shared.options import (
    ModelOptions,
    OutputOptions,
    RuntimeOptions,
    TrainingOptions,
    parse_settings,
)
from stablebench.errors import StablebenchError, UserError

STABLEBENCH = [sys.executable, "-m", "stablebench"]


def run(*arguments: str, **how: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*STABLEBENCH, *arguments], capture_output=True, text=True, timeout=60, **how)  # type: ignore[call-overload]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list", "models"], ["list", "tasks"]])
def test_it_answers_without_importing_torch(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        f"sys.argv = ['stablebench', *{arguments}]\n"
        "from stablebench.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert not {'torch', 'scipy', 'numpy', 'matplotlib', 'pydantic'} & set(sys.modules), sorted(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --model lstmm --task copy", "No model named 'lstmm'. Did you mean lstm?\n"),
        ("train --model lstm --task cpy", "No task named 'cpy'. Did you mean copy?\n"),
        ("train --model lstm --task copy/zz", "Task copy has no variant 'zz'. Its variants: t100, "),
        ("sweep --model zz --task copy", "No model named 'zz'. `stablebench list models` shows what there is.\n"),
        ("probe-gradients --models lstm,zz --task copy", "No model named 'zz'."),
        ("compare zz", "No suite named 'zz'. `stablebench list suites` shows what there is.\n"),
        ("compare quick --models zz", "No model named 'zz'."),
        ("report quick --tasks zz", "No task named 'zz'."),
        ("plot curves --models zz", "No model named 'zz'."),
        ("speed --models zz", "No model named 'zz'."),
        ("check zz", "No model named 'zz'."),
        ("show model zz", "No model named 'zz'."),
        ("show foo", "Nothing is named 'foo': no model, task, recipe, suite, sweep or run."),
        ("show model", "NAME is missing: name a model; `stablebench list models` shows what there is.\n"),
        ("list foo", "No kind named 'foo'. Known: models, recipes, runs, "),
        ("list", "KIND is missing: models, tasks, recipes, suites, sweeps or runs. `stablebench list -h`"),
        ("plot foo", "No plot command named 'foo'. Known: curves, decision-boundary, "),
        ("data foo", "No data command named 'foo'. Known: export, fetch, list, path, verify.\n"),
    ],
)
def test_a_wrong_name_is_refused_without_importing_torch(words: str, message: str) -> None:
    script = (
        "import sys\n"
        f"sys.argv = ['stablebench', *{words.split()}]\n"
        "from stablebench.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 2, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"Error: {message}") and not done.stdout, done.stderr


def test_a_run_imports_no_compiler_of_torch_and_no_scipy(tmp_path: Path) -> None:
    """`torch._dynamo` takes 0.8 s to import, `scipy.stats` 1 s, where torch takes 1.3."""
    script = (
        "import sys\n"
        "sys.argv = 'stablebench train --model rnn --task copy --T 5 --steps 1 --hidden 8 -q'.split()\n"
        f"sys.argv += ['--runs-dir', {str(tmp_path)!r}]\n"
        "from stablebench.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert not {'torch._dynamo', 'sympy', 'scipy', 'matplotlib'} & set(sys.modules), sorted(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["list", "models"], ["list", "tasks"]])
def test_it_answers_in_tenths_of_a_second(arguments: list[str], tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}  # as installed

    def processor_seconds() -> float:  # what a busy machine does not stretch
        before = os.times()
        run(*arguments, env=environment)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert any(processor_seconds() < 0.4 for _ in range(10))  # the first one also compiles


def test_every_command_of_the_mission_is_found() -> None:
    assert {"train", "evaluate", "compare", "list", "show", "validate"} <= set(command_files())
    assert list(command_files())[:2] == ["train", "evaluate"]


def test_help_has_the_first_line_of_each_commands_docstring() -> None:
    text = " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())
    assert "compare Run what a suite is missing, then print its leaderboard." in text


@pytest.mark.parametrize("name", sorted(command_files()))
def test_every_command_has_help(name: str) -> None:
    done = CliRunner().invoke(app, [name, "--help"])
    assert done.exit_code == 0, done.output
    assert f"{name} [OPTIONS]" in done.stdout


def test_an_unknown_command_gets_a_suggestion() -> None:
    done = run("trian")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: No command named 'trian'. Did you mean train?")
    assert done.stdout == ""


def test_an_unknown_option_is_a_usage_error() -> None:
    done = run("train", "--modle", "rnn")
    assert done.returncode == 2
    assert "--model" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("the value is wrong."), 2, "Error: the value is wrong.\n"),
        (StablebenchError("it broke."), 1, "Error: it broke.\n"),
        (KeyboardInterrupt(), 130, "Stopped.\n"),
        (BrokenPipeError(), 1, ""),
        (PermissionError(13, "Permission denied", "runs"), 1, "Error: runs: Permission denied.\n"),
        (typer.Exit(5), 5, ""),
    ],
)
def test_an_error_is_one_message_and_an_exit_code(
    error: BaseException, code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def list_(kind: str) -> None:
        raise error

    monkeypatch.setattr("stablebench.cli.list_.list_", list_)
    monkeypatch.setattr(app_module, "_discard_stdout", lambda: None)
    done = CliRunner().invoke(app, ["list", "models"])
    assert (done.exit_code, done.stderr, done.stdout) == (code, message, "")


def test_a_closed_pipe_ends_quietly() -> None:
    line = " ".join(STABLEBENCH) + " {} | head -1"
    for command in ("list models", "show model rnn", "list models --json", "--help"):
        done = subprocess.run(["bash", "-c", line.format(command)], capture_output=True, text=True, timeout=60)
        assert done.stderr == "", command
    closed = subprocess.run(
        ["bash", "-c", " ".join(STABLEBENCH) + " list models >&-"], capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in closed.stderr


def test_it_needs_no_home_and_no_unicode(tmp_path: Path) -> None:
    bare = {"PATH": os.environ["PATH"], "LANG": "C", "PYTHONIOENCODING": "ascii"}
    for arguments in (["list", "tasks"], ["show", "task", "copy"], ["list", "models", "--json"]):
        done = run(*arguments, env=bare, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii()


def given_options(*arguments: str) -> tuple[dict[str, Any], str]:
    """Return the groups of options that a command gets, by name, and its output."""
    seen: dict[str, Any] = {}
    small = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

    def command(
        *,
        sizes: ModelOptions,
        training: TrainingOptions,
        extra: Annotated[bool, typer.Option("--extra")] = False,
        runtime: RuntimeOptions,
        output: OutputOptions,
    ) -> None:
        seen.update(sizes=sizes, training=training, runtime=runtime, output=output, extra=extra)

    add_command(small, command)
    done = CliRunner().invoke(small, list(arguments), env={"STABLEBENCH_DATA": ""})
    return seen, str(done.exception or "") + done.output


def test_what_is_not_given_is_none() -> None:
    assert given_options()[0] == {
        "sizes": ModelOptions(),
        "training": TrainingOptions(),
        "runtime": RuntimeOptions(),
        "output": OutputOptions(),
        "extra": False,
    }
    assert OutputOptions().runs_dir == Path("runs")


def test_all_options_arrive() -> None:
    given, message = given_options(
        *"--T 5 --hidden 6 --layers 2 --steps 7 --epochs 8 --batch-size 9 --lr 1e-3 --recompute-every 3".split(),
        *"--device cpu --threads 2 --engine fused --precision float64 --deterministic --runs-dir r".split(),
        *"--set model.rho=0.5 --set task.S=3 --json --quiet --extra".split(),
    )
    assert given == {
        "sizes": ModelOptions(T=5, hidden=6, layers=2, settings=["model.rho=0.5", "task.S=3"]),
        "training": TrainingOptions(steps=7, epochs=8, batch_size=9, lr=1e-3, recompute_every=3),
        "runtime": RuntimeOptions("cpu", 2, "fused", "float64", True),
        "output": OutputOptions(runs_dir=Path("r"), as_json=True, quiet=True),
        "extra": True,
    }, message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--T", "0"], "`--T` must be >= 1, got 0."),
        (["--batch-size", "-3"], "`--batch-size` must be >= 1, got -3."),
        (["--seed", "-1"], "`--seed` must be >= 0, got -1."),
        (["--lr", "0"], "`--lr` must be > 0, got 0.0."),
        (["--lr", "nan"], "`--lr` must be a finite number, got nan."),
        (["--lr", "inf"], "`--lr` must be a finite number, got inf."),
        (["--set", "model.rho"], "--set model.rho: must be KEY=VALUE, for example --set model.rho=0.5."),
        (["--set", "=1"], "must be KEY=VALUE"),
        (["--set", "model.=1"], "must be KEY=VALUE"),
        (["--set", "a=1", "--set", "a=2"], "--set a: given twice"),
        (["--set", "a=[1"], "not valid YAML"),
        (["--set", "a=!!python/name:os.system x"], "tags are not read"),
        (["--T", "many"], "--T"),
        (["--device", "tpu"], "--device"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["train", "--model", "rnn", "--task", "copy", *arguments])
    assert done.exit_code == 2 and message in done.stderr and "Traceback" not in done.output


def test_settings_are_read_as_strictly_as_files() -> None:
    assert parse_settings(["a=1e-3", "b=no", "c=[1, 2]", "d=", "e=x=y", "f=true"]) == {
        "a": 1e-3,
        "b": "no",
        "c": [1, 2],
        "d": None,
        "e": "x=y",
        "f": True,
    }
