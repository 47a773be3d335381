"""Records that say what cannot be: every command that reads one ends with one message and exit code 2."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import run, tiny
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.runs.store import RunFolder
from stablebench.specs import limits as spec_limits

HUGE = 10**30
SPEC: dict[str, tuple[str, Any]] = {
    "an unknown parameter of the task": ("task.params.new", 1),
    "an unknown parameter of the model": ("model.params.new", 1),
    "a lacking parameter of the task": ("task.params.S", ...),
    "a negative length": ("task.params.length", -3),
    "a length of another type": ("task.params.length", [5]),
    "a length that no memory holds": ("task.params.length", 10**12),
    "an alphabet that no memory holds": ("task.params.alphabet", 10**12),
    "an alphabet beyond int64": ("task.params.alphabet", HUGE),
    "a width that no memory holds": ("model.hidden", 10**9),
    "a width beyond int64": ("model.hidden", HUGE),
    "no width": ("model.hidden", 0),
    "a batch that no memory holds": ("train.batch_size", 10**15),
    "layers that no memory holds": ("model.layers", 10**12),
    "a seed beyond what generators take": ("seed", 2**70),
    "the largest seed of int64": ("seed", 2**63 - 1),
    "a negative seed": ("seed", -1),
    "a million threads": ("threads", 10**6),
    "a list for a name": ("model.name", ["rnn"]),
    "a name of nothing": ("model.name", "no_such_model"),
    "a task of nothing": ("task.name", "no_such_task"),
    "a path for a task": ("task.name", "../../etc/passwd"),
    "a deep model on sequences": ("model.name", "mlp"),
    "another horizon": ("horizon", 7),
    "a horizon beyond int64": ("horizon", HUGE),
    "another readout": ("readout", "last"),
    "a number beyond int64 among the parameters": ("model.params.new", -HUGE),
    "an infinite parameter": ("model.params.new", float("inf")),
    "updates beyond int64": ("train.steps", HUGE),
    "no updates": ("train.steps", 0),
    "an optimiser of nothing": ("optim.name", "no_such_optimiser"),
    "an infinite rate": ("optim.lr", float("inf")),
    "an engine of nothing": ("engine", "no_such_engine"),
    "a precision of nothing": ("precision", "float8"),
    "code for a registered model": ("model.source", "0" * 64),
}
COMMANDS = {
    "verify": ["verify"],
    "evaluate": ["evaluate"],
    "probe-gradients": ["probe-gradients", "--batch", "2"],
    "train --resume": ["train", "--resume"],
    "plot structure": ["plot", "structure"],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that finished."""
    return run(tiny(), tmp_path_factory.mktemp("whole"))


def mutated(record: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return a record with another value at a dotted key; `...` takes it out."""
    document = copy.deepcopy(record)
    here: Any = document
    *parents, last = key.split(".")
    for parent in parents:
        here = here[int(parent)] if isinstance(here, list) else here[parent]
    if value is ...:
        del here[last]
    else:
        here[last] = value
    return document


def copied(whole: RunFolder, tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    """Return a run's folder, in a run store of its own, whose record is changed."""
    folder = tmp_path / "runs" / "copy" / "rnn" / whole.path.name
    (folder / "checkpoints").mkdir(parents=True)
    for path in [whole.curve_path, *whole.checkpoints()]:
        (folder / path.relative_to(whole.path)).write_bytes(path.read_bytes())
    document = change(json.loads(whole.record_path.read_text()))
    (folder / "record.json").write_text(json.dumps(document))
    return folder


def hold_one_message(result: Any, code: int = 2) -> None:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("Error: ") and "Traceback" not in result.output, result.output
    assert "Error: " not in result.stderr[7:] and len(result.stderr) < 3000


@pytest.mark.parametrize("name", SPEC)
def test_a_spec_that_cannot_be_built_is_refused_by_every_command(name: str, whole: RunFolder, tmp_path: Path) -> None:
    key, value = SPEC[name]
    folder = copied(whole, tmp_path, lambda record: mutated(record, f"spec.{key}", value))
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    for command in COMMANDS.values():
        hold_one_message(CliRunner().invoke(app, [*command, str(folder)]))
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before


@pytest.mark.parametrize("name", SPEC)
def test_a_spec_that_cannot_be_built_stands_in_no_reports_way(name: str, whole: RunFolder, tmp_path: Path) -> None:
    key, value = SPEC[name]
    folder = copied(whole, tmp_path, lambda record: mutated(record, f"spec.{key}", value))
    runs_dir = folder.parents[2]
    for command in (
        ["report", "-o", str(tmp_path / "r.html"), "--runs-dir", str(runs_dir)],
        ["list", "runs", "--runs-dir", str(runs_dir)],
        ["list", "runs", "--runs-dir", str(runs_dir), "--json"],
        ["plot", "curves", str(folder), "-o", str(tmp_path / "c.svg")],
    ):
        result = CliRunner().invoke(app, command)
        assert result.exception is None or isinstance(result.exception, SystemExit), (command, result.exception)
        assert result.exit_code in (0, 1, 2), result.output
        assert "Traceback" not in result.output


ASKED = {
    "width": ["--hidden", str(10**9)],
    "width beyond int64": ["--hidden", str(HUGE)],
    "length": ["--T", str(10**12)],
    "alphabet": ["--set", f"task.alphabet={10**12}"],
    "threads": ["--threads", str(10**6)],
    "seed": ["--seed", str(2**70)],
    "batch": ["--batch-size", str(10**15)],
    "layers": ["--layers", str(10**12)],
}


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("command", [["train"], ["probe-gradients"]], ids=lambda command: command[0])
def test_the_command_line_is_checked_as_records_are(name: str, command: list[str], tmp_path: Path) -> None:
    if command == ["probe-gradients"] and name == "batch":
        return  # its --batch is another option
    asked = [*command, "--model", "rnn", "--task", "copy", *ASKED[name]]
    asked += ["--runs-dir", str(tmp_path)] if command == ["train"] else []
    hold_one_message(CliRunner().invoke(app, asked))
    assert not list(tmp_path.iterdir())


def test_a_suite_is_checked_as_records_are(tmp_path: Path) -> None:
    suite = tmp_path / "s.yaml"
    suite.write_text(
        "summary: s\ntasks: [{task: copy}]\nmodels: [rnn]\nseeds: [0]\noverrides: {model.hidden: 1000000000}\n"
    )
    hold_one_message(CliRunner().invoke(app, ["compare", str(suite), "--runs-dir", str(tmp_path / "runs")]))


def test_the_message_has_what_is_needed_and_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec_limits, "memory_bytes", lambda: 2**30)
    result = CliRunner().invoke(app, ["train", "--model", "rnn", "--task", "copy", "--hidden", "40000", "--dry-run"])
    hold_one_message(result)
    assert "needs at least 26.1 GiB of memory, mostly for the parameters; this machine has 1.0 GiB" in result.stderr


def test_what_a_machine_holds_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is one from below: a run never takes less than it says."""
    resolved = tiny("lstm", **{"model.hidden": 64, "train.batch_size": 16})
    from stablebench.data.task import sizes_of
    from stablebench.models.build import build_network

    sizes = sizes_of(resolved.card, resolved.spec.task.params)
    network = build_network(resolved.spec, resolved.card, sizes)
    weights = sum(p.numel() * 4 for p in network.parameters())
    least, _ = spec_limits.least_bytes(resolved.spec, resolved.card, sizes, deep=False)
    taken = 4 * weights + 16 * sizes.steps * 64 * 4 * 8 + 10_000 * sizes.steps * 8 + 10_000
    assert 3 * weights < least < taken


def test_a_control_groups_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert spec_limits.memory_bytes() > 2**20
    monkeypatch.setattr(spec_limits, "memory_limit", lambda: 2**20)
    assert spec_limits.memory_bytes() == 2**20
