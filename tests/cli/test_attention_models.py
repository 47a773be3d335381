"""The transformer in every command that takes a model."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stablebench import registry
from stablebench.cli.app import app
from stablebench.models import registry as model_registry

SMALL = ("--hidden", "8", "--steps", "2", "--batch-size", "4", "--set", "train.eval_every=2", "--quiet")


def called(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def trained(runs: Path, *arguments: str) -> Result:
    return called("train", "--model", "transformer", "--runs-dir", str(runs), *SMALL, *arguments)


def test_it_is_a_family_of_its_own() -> None:
    assert model_registry.model_names("attention") == ["transformer"]
    assert model_registry.model_entry("transformer").family == "attention"


SMALLER = {
    "parity": "task.test_lengths=[41, 60]",
    "group_word": "task.test_lengths=[33, 60]",
    "dyck": "task.test_lengths=[41, 60]",
    "mqar": "task.vocabulary=64",
    "lorenz96": "task.length=200",
}
"""Shorter than on the cards, with lengths up to 500 and 2,000 of the Lorenz system: attention takes their squares."""


@pytest.mark.parametrize(
    "task", ["copy", "adding", "parity", "group_word", "dyck", "mqar", "kth_highest", "lorenz96", "digits"]
)
def test_it_trains_and_is_evaluated(tmp_path: Path, task: str) -> None:
    """Last and every step, tokens and values, one length and many."""
    smaller = ["--set", SMALLER[task]] if task in SMALLER else []
    if task not in ("mqar", "digits", "lorenz96"):
        result = trained(tmp_path, "--task", task, "--set", "model.positions=rotary", *smaller)
    else:
        result = trained(tmp_path, "--task", task, *smaller)
    assert result.exit_code == 0, result.output
    again = called("evaluate", "last", "--runs-dir", str(tmp_path), "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)


def test_every_task_of_sequences_resolves_and_static_ones_refuse() -> None:
    for task in registry.task_names():
        result = called("train", "--model", "transformer", "--task", task, "--dry-run")
        if registry.task_card(task).input == "static":
            assert result.exit_code == 2 and "attention model" in result.output
        else:
            assert result.exit_code == 0, (task, result.output)


def test_what_needs_a_recurrence_is_refused_in_one_message() -> None:
    for arguments, text in (
        (("--engine", "scan"), "no chain over time"),
        (("--engine", "fused"), "no chain over time"),
        (("--recompute-every", "5"), "transformer has none"),
        (("--set", "model.block=residual"), "residual blocks of its own"),
    ):
        result = called("train", "--model", "transformer", "--task", "copy", "--T", "10", "--quiet", *arguments)
        assert result.exit_code == 2 and text in " ".join(result.output.split()), result.output


def test_the_probe_measures_the_gradient_in_inputs(tmp_path: Path) -> None:
    probe = ("probe-gradients", "--task", "copy", "--T", "10", "--hidden", "8", "--model")
    result = called(*probe, "transformer", "--json")
    flow = json.loads(result.stdout)["measures"]["gradient_flow"]
    assert flow["of"] == "inputs" and flow["t"][0] == 1 and None not in flow["log10_norm"]["median"]
    table = called(*probe, "transformer,rnn", "-o", str(tmp_path / "norms.png"))
    assert table.exit_code == 0 and "transformer: no recurrent state" in " ".join(table.stdout.split())
    assert called(*probe, "transformer", "-o", str(tmp_path / "folder")).exit_code == 0
    for what in ("jacobian", "flow,spectra", "memory"):
        refused = called(*probe, "transformer", "--what", what)
        message = " ".join(refused.output.split())
        assert refused.exit_code == 2 and "no recurrent state" in message and "||dL/dx_t||" in message
    assert called(*probe, "transformer", "--what", "all").exit_code == 0


def test_a_probe_along_training_leaves_states_out(tmp_path: Path) -> None:
    result = trained(tmp_path, "--task", "copy", "--T", "10", "--probe", "every=1")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for path in tmp_path.rglob("metrics.jsonl") for line in path.read_text().splitlines()]
    probes = [line for line in lines if any(key.startswith("flow.") for key in line)]
    assert probes and not any("error" in line or "energy.mean" in line for line in probes)
    refused = trained(tmp_path, "--task", "copy", "--T", "10", "--seed", "1", "--probe", "every=1,what=energy")
    assert refused.exit_code == 2 and "no recurrent state" in " ".join(refused.output.split())


def test_check_speed_and_compare_take_it(tmp_path: Path) -> None:
    assert called("check", "transformer", "--set", "positions=rotary").exit_code == 0
    document = called("speed", "--model", "transformer", "--size", "2,8,5", "--repeats", "3", "--json", "--quiet")
    contenders = json.loads(document.stdout)["sizes"][0]["models"][0]["contenders"]
    assert contenders["reference"]["seconds"] and contenders["fused"]["seconds"] is None
    options = ("--T", "10", "--hidden", "8", "--steps", "2", "--batch-size", "4", "--runs-dir", str(tmp_path))
    result = called("compare", "--model", "transformer,rnn", "--task", "copy", "--seeds", "1", "--quiet", *options)
    assert result.exit_code == 0 and "transformer" in result.stdout, result.output
