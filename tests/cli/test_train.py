"""`train` and `evaluate` as a user types them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.cli.train import summary_lines

SMALL = ["--T", "5", "--hidden", "6", "--steps", "12", "--batch-size", "4", "--set", "task.S=2"]


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), env=env)


def small_run(tmp_path: Path, *more: str) -> Result:
    return run("train", "--model", "rnn", "--task", "copy", *SMALL, "--runs-dir", str(tmp_path), *more)


def test_train_leaves_a_run_folder_and_says_what_came_out(tmp_path: Path) -> None:
    result = small_run(tmp_path)
    assert result.exit_code == 0, result.output
    assert "finished after 12 steps" in result.stdout and "baseline loss" in result.stdout
    folder = next(tmp_path.glob("copy/rnn/*-s0"))
    assert {p.name for p in folder.iterdir()} >= {"record.json", "metrics.jsonl", "checkpoints"}
    again = small_run(tmp_path)
    assert again.exit_code == 0 and "Already finished" in again.stdout


def test_json_is_the_record_alone_on_stdout(tmp_path: Path) -> None:
    result = small_run(tmp_path, "--json")
    record = json.loads(result.stdout)
    assert record["status"] == "finished" and record["spec"]["model"]["hidden"] == 6
    assert "step 12/12" in result.stderr


def test_dry_run_prints_the_spec_with_origins_and_runs_nothing(tmp_path: Path) -> None:
    result = small_run(tmp_path, "--dry-run")
    lines = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
    assert lines["train.steps"] == ["12", "your", "--steps"]
    assert lines["task.params.S"] == ["2", "your", "--set"]
    assert lines["model.layers"] == ["1", "the", "task's", "card"]
    assert list(tmp_path.iterdir()) == []
    document = json.loads(small_run(tmp_path, "--dry-run", "--json").stdout)
    assert document["spec"]["task"]["params"]["S"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "dizy", "--task", "copy"], "No model named 'dizy'. Did you mean dizzy?"),
        (["--model", "rnn", "--task", "coppy"], "No task named 'coppy'. Did you mean copy?"),
        (["--model", "rnn", "--task", "copy", "--T", "0"], "`--T` must be >= 1, got 0"),
        (["--model", "rnn", "--task", "psmnist", "--T", "5"], "--T: the task psmnist has a fixed length"),
        (["--model", "rnn", "--task", "copy", "--set", "model.rho=1"], "rho: unknown key"),
        (["--model", "rnn"], "--task is missing"),
        (["--model", "rnn", "--task", "copy", "--device", "cuda"], "torch sees no CUDA device"),
        (["--resume", "nowhere"], "No run 'nowhere': it is neither a folder with record.json nor a run in"),
        (["--resume", "nowhere", "--lr", "0.3"], "own spec, which optim.lr would change"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    if "cuda" in arguments:
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("there is a CUDA device")
    result = run("train", *arguments, "--runs-dir", str(tmp_path))
    assert result.exit_code == 2, result.output
    assert message in result.stderr and "Traceback" not in result.output
    assert result.stdout == ""


def test_a_recipe_with_a_wrong_type_names_file_line_and_key(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("task: copy\nmodel: rnn\nsource: x\ntuned_by: paper\nhidden: wide\ntrian: {steps: 3}\n")
    result = small_run(tmp_path, "--recipe", str(path))
    assert result.exit_code == 2
    assert f"{path}:5: hidden: must be a whole number, got 'wide'" in result.stderr
    assert f"{path}:6: trian: unknown key. Did you mean train?" in result.stderr


def test_missing_data_are_named_with_where_they_come_from(tmp_path: Path) -> None:
    arguments = ["train", "--model", "rnn", "--task", "psmnist", "--data-dir", str(tmp_path / "empty")]
    (tmp_path / "empty").mkdir()
    result = run(*arguments, "--runs-dir", str(tmp_path), env={"STABLEBENCH_CACHE": str(tmp_path / "cache")})
    assert result.exit_code == 2
    for expected in ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", "yann.lecun.com", "--data-dir"):
        assert expected in result.stderr, result.stderr


def test_a_killed_process_resumes_to_the_same_weights(tmp_path: Path) -> None:
    """The real thing: a process, Ctrl-C, a second process."""
    from stablebench.runs.checkpoint import load

    def command(folder: Path, *more: str) -> list[str]:
        spec = ["--T", "10", "--hidden", "16", "--steps", "400", "--batch-size", "8"]
        base = [sys.executable, "-m", "stablebench", "train", "--runs-dir", str(folder)]
        return [*base, *more] if more else [*base, "--model", "rnn", "--task", "copy", *spec]

    unbroken = subprocess.Popen(command(tmp_path / "whole"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = subprocess.Popen(command(tmp_path / "cut"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    curve = "copy/rnn/*/metrics.jsonl"
    deadline = time.monotonic() + 60
    while not any(p.stat().st_size for p in (tmp_path / "cut").glob(curve)) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    cut = next((tmp_path / "cut").glob("copy/rnn/*-s0"))
    assert json.loads((cut / "record.json").read_text())["status"] == "interrupted"
    subprocess.run(command(tmp_path / "cut", "--resume", str(cut)), check=True, capture_output=True)
    assert unbroken.wait(timeout=60) == 0
    whole = next((tmp_path / "whole").glob("copy/rnn/*-s0"))
    ends = [load(folder / "checkpoints" / "step-400.safetensors").tensors for folder in (whole, cut)]
    assert all((ends[0][name] == ends[1][name]).all() for name in ends[0])


def test_evaluate_scores_at_the_runs_length_and_at_another(tmp_path: Path) -> None:
    record = json.loads(small_run(tmp_path, "--json").stdout)
    folder = str(next(tmp_path.glob("copy/rnn/*-s0")))
    same = json.loads(run("evaluate", folder, "--json").stdout)
    assert same["evaluation"]["metrics"] == record["result"]["test"]
    assert same["spec_hash"] == record["spec_hash"]
    longer = json.loads(run("evaluate", folder, "--T", "9", "--split", "validation", "--json").stdout)["evaluation"]
    assert longer["params"]["length"] == 9 and longer["split"] == "validation"
    assert longer["baselines"]["loss"] == pytest.approx(2 * 2.0794415 / 13)
    assert "baseline" in run("evaluate", folder).stdout


def test_evaluate_refuses_a_truncated_checkpoint(tmp_path: Path) -> None:
    small_run(tmp_path)
    folder = next(tmp_path.glob("copy/rnn/*-s0"))
    checkpoint = folder / "checkpoints" / "step-12.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    for given in (checkpoint, folder):
        result = run("evaluate", str(given))
        assert result.exit_code == 2 and "not a whole checkpoint" in result.stderr, result.output
        assert "Traceback" not in result.output


def test_score_reached_too_late_is_not_called_missing() -> None:
    """A score that is there too late to be held is not called missing."""
    result = {"test": {"accuracy": 0.8}, "tested": "last", "tested_step": 20}
    what = {"metric": "accuracy", "baseline": 0.5, "target": 0.9, "target_metric": "accuracy"}

    def lines(**changed: object) -> str:
        shape = {"status": "finished", "step": 20, "train_s": 1.0, "error": None, "extended": []}
        arrivals = {"steps_to_baseline": None, "steps_to_target": None}
        return "\n".join(
            summary_lines(SimpleNamespace(**shape, **what, result=SimpleNamespace(**result | arrivals | changed)))
        )

    assert "0.5: beaten by the test score, but not in 3 consecutive evaluations" in lines()
    assert "0.9: not reached" in lines()
    assert "0.5: beaten at step 10" in lines(steps_to_baseline=10)
    assert "0.5: not beaten" in lines(test={"accuracy": 0.51})
    assert "0.9: not reached" in lines(test=None)


@pytest.mark.parametrize(("rank", "message"), [("0", "one run uses one device, and WORLD_SIZE is 2"), ("1", "")])
def test_torchrun_is_refused_by_the_first_process(
    rank: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    result = small_run(tmp_path)
    assert result.exit_code == 2 and not list(tmp_path.iterdir())
    assert message in result.stderr and bool(message) == bool(result.stderr)


def test_a_dry_run_says_in_plain_words_where_values_come_from() -> None:
    words = "--model lstm --task copy/t100 --steps 5 --set task.S=3 --dry-run".split()
    lines = CliRunner().invoke(app, ["train", *words]).stdout.splitlines()
    origins = {line.split()[0]: line[53:].strip() for line in lines}
    for key, origin in {
        "task.name": "your --task",
        "task.variant": "your --task",
        "task.version": "the task's card",
        "task.params.length": "the task's variant t100",
        "task.params.S": "your --set",
        "model.hidden": "recipe copy/lstm, its part for length 100",
        "model.params.forget_bias": "the model's default",
        "optim.lr": "recipe copy/lstm",
        "train.steps": "your --steps",
        "horizon": "follows from the task's parameters",
        "seed": "the default",
    }.items():
        assert origins[key] == origin, key
    lines = CliRunner().invoke(app, "train --model rnn --task digits --epochs 2 --dry-run".split()).stdout.splitlines()
    assert next(line for line in lines if line.startswith("train.steps"))[53:].strip() == "your --epochs, 2 epochs"
