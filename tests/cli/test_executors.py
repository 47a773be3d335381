"""Where `compare` runs its cells: what contradicts itself, or misses an extra, is refused before anything runs."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stablebench.cli.app import app

SMALL = ["compare", "--models", "rnn", "--tasks", "copy", "--T", "5", "--steps", "12", "--set", "task.S=2"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--ray", "auto", "--slurm"], "--ray and --slurm: give one of the two"),
        (["--partition", "gpu"], "--partition and --time are Slurm's: give --slurm as well"),
        (["--time", "1:00"], "--partition and --time are Slurm's"),
        (["--track", "comet"], "No tracker named 'comet'"),
    ],
)
def test_a_place_that_contradicts_itself_is_refused(tmp_path: Path, more: list[str], message: str) -> None:
    result = CliRunner().invoke(app, [*SMALL, "--runs-dir", str(tmp_path), *more])
    assert result.exit_code == 2 and message in result.stderr, result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("package", "installed", "command"),
    [
        ("ray", "ray", [*SMALL, "--ray", "auto"]),
        ("submitit", "submitit", [*SMALL, "--slurm"]),
        ("mlflow", "mlflow-skinny", [*SMALL, "--track", "mlflow"]),
        ("wandb", "wandb", [*SMALL, "--track", "wandb"]),
        ("trackio", "trackio", [*SMALL, "--track", "trackio"]),
        ("tensorboard", "tensorboard", ["train", "--model", "rnn", "--task", "copy", "--track", "tensorboard"]),
        ("optuna", "optuna", ["sweep", "--model", "roarnn", "--task", "copy", "--space", "roarnn/rho"]),
    ],
)
def test_missing_package_is_one_message_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, installed: str, command: list[str]
) -> None:
    """A missing package is one message with the command that installs it, wherever stablebench came from."""
    monkeypatch.setitem(sys.modules, package, None)
    result = CliRunner().invoke(app, [*command, "--runs-dir", str(tmp_path)])
    assert result.exit_code == 2, result.output
    assert result.stderr.strip().endswith(f"needs {package}, which is not installed: pip install {installed}")
    assert not list(tmp_path.iterdir())
