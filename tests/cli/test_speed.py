"""`speed` as a user types it, on sizes that take no time."""

import io
import json
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.cli.ui.progress import SpeedProgress
from stablebench.engines.fused.c.tuning import TUNINGS

SMALL = ["--size", "2,4,5", "--repeats", "3", "--no-memory", "--device", "cpu"]
SORTED = """
import torch
from stablebench.models.recurrent.rnn import Rnn

class Sorted(Rnn):
    def step(self, projected, state, recurrent_weights):
        return (torch.sort(projected + state[0] @ recurrent_weights).values,)
"""


@pytest.fixture(autouse=True)
def _small_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stablebench.speed.ceiling.SIZE", 128)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["speed", *arguments])


def test_a_table_for_each_size_says_what_it_shows() -> None:
    result = run(*SMALL, "--size", "3,6,4", "--models", "rnn", "--models", "roarnn")
    assert result.exit_code == 0, result.output
    first, second = result.stdout.split("\n\n")[:2]
    assert first.startswith("B 2, H 4, T 5\n") and second.startswith("B 3, H 6, T 4\n")
    for part in (
        "fused ms",
        "literal / fused",
        "fused / floor",
        "share %",
        "transition %",
        "GFLOP/s",
        "\nrnn ",
        "\nroarnn ",
        "1 thread,",
    ):
        assert part in first and part in second
    for part in ("float32", "torch 2.", "subnormals flushed to zero"):
        assert part in first
    assert result.stdout.count("y.backward(d_y)") == 1
    assert "timing roarnn at B 3, H 6, T 4 (2 of 2)" in result.stderr
    assert "MB" not in first


def test_quiet_says_nothing_while_running() -> None:
    assert run(*SMALL, "--models", "rnn", "--quiet").stderr == ""


def test_json_has_every_repetition_and_the_conditions() -> None:
    result = run(*SMALL, "--models", "lstm", "--inputs", "3", "--json", "--precision", "float64")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert set(document) == {"environment", "measured", "sizes"}
    assert {"device", "hardware", "threads", "precision", "versions", "flags"} <= set(document["environment"])
    assert document["environment"]["precision"] == "float64"
    ceiling = document["environment"]["ceiling_flops_per_s"]
    assert 1e8 < ceiling < 1e15 and document["environment"]["tuning"] in {one.name for one in TUNINGS}
    assert document["measured"]["repeats"] == 3 and "y.backward" in document["measured"]["pass"]
    (size,) = document["sizes"]
    assert (size["batch"], size["hidden"], size["steps"]) == (2, 4, 5)
    (row,) = size["models"]
    assert row["name"] == "lstm"
    contenders = row["contenders"]
    assert set(contenders) == {"fused", "reference", "literal", "nn.LSTM", "nn.RNN", "floor", "transition"}
    for timed in contenders.values():
        assert len(timed["seconds"]) == 3 and timed["q1"] <= timed["median"] <= timed["q3"]
    pairs = zip(contenders["literal"]["seconds"], contenders["fused"]["seconds"], strict=True)
    assert row["ratios"]["literal / fused"]["median"] == sorted(a / b for a, b in pairs)[1]
    assert row["share_of_ceiling"] == row["flops"] / contenders["fused"]["median"] / ceiling
    # by hand: W h and its two gradients, V x and its weight gradient; 16 columns
    assert row["flops"] == 3 * (2 * 2 * 5 * 4 * 16) + 2 * (2 * 2 * 5 * 3 * 16)


def test_peak_memory_is_measured_unless_refused() -> None:
    result = run(*SMALL, "--memory", "--models", "rnn", "--json")
    contenders = json.loads(result.stdout)["sizes"][0]["models"][0]["contenders"]
    assert all(contenders[name]["peak_bytes"] >= 0 for name in ("fused", "reference", "literal", "nn.LSTM", "nn.RNN"))
    assert contenders["floor"]["peak_bytes"] is None


def test_a_gru_is_timed_next_to_torchs_own() -> None:
    row = json.loads(run(*SMALL, "--models", "gru", "--json").stdout)["sizes"][0]["models"][0]
    assert row["contenders"]["nn.GRU"]["median"] > 0 and row["ratios"]["nn.GRU / fused"]["median"] > 0
    assert "nn.GRU / fused" in run(*SMALL, "--models", "gru,rnn").stdout


def test_without_thorough_sizes_passes_and_memory_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in (("SIZES", ("2,4,5",)), ("THOROUGH_SIZES", ("2,4,6", "3,4,5"))):
        monkeypatch.setattr(f"stablebench.cli.speed.{name}", few)
    found = {}
    for words in ((), ("--thorough",)):
        document = json.loads(run(*words, "--models", "rnn", "--device", "cpu", "--json").stdout)
        timed = document["sizes"][0]["models"][0]["contenders"]["fused"]
        found[words] = len(document["sizes"]), len(timed["seconds"]), timed["peak_bytes"] is not None
    assert found == {(): (1, 5, False), ("--thorough",): (2, 7, True)}


def test_users_model_without_plan_is_timed_without_fused(tmp_path: Path) -> None:
    """A users model without a plan is timed without fused and floor."""
    path = tmp_path / "sorted.py"
    path.write_text(SORTED)
    arguments = [*SMALL, "--models", f"{path}:Sorted"]
    row = json.loads(run(*arguments, "--json").stdout)["sizes"][0]["models"][0]
    assert row["contenders"]["fused"]["seconds"] is None and "sort" in row["contenders"]["floor"]["reason"]
    assert row["ratios"]["fused / floor"] is None and row["flops"] is None
    assert row["contenders"]["literal"]["median"] > 0
    text = run(*arguments).stdout
    assert "\nSorted " in text
    assert "No fused and no floor for Sorted: the operation `sort` is not known (sorted.py:7)." in text


def test_the_formats_are_those_of_other_commands() -> None:
    lines = run(*SMALL, "--models", "rnn", "--format", "csv").stdout.splitlines()
    assert lines[0].startswith("model,fused ms,") and lines[1].startswith("rnn,") and len(lines) == 2
    assert "| model" in run(*SMALL, "--models", "rnn", "--format", "github").stdout
    assert "sizes" in json.loads(run(*SMALL, "--models", "rnn", "--format", "json").stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "1,2"], "`--size` must be B,H,T, three whole numbers >= 1 with commas between, got '1,2'."),
        (["--size", "1,2,x"], "got '1,2,x'"),
        (["--size", "1,0,3"], "got '1,0,3'"),
        (["--models", "ltsm"], "No model named 'ltsm'. Did you mean lstm?"),
        (["--models", "nowhere.py:Net"], "there is no such file"),
        (["--repeats", "0"], "`--repeats` must be >= 3, got 0."),
        (["--inputs", "0"], "`--inputs` must be >= 1, got 0."),
        (["--threads", "0"], "`--threads` must be >= 1, got 0."),
        (["--seed", "-1"], "`--seed` must be >= 0, got -1."),
    ],
)
def test_a_mistake_is_one_message_before_anything_is_timed(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr and result.stdout == ""
    assert "Traceback" not in result.output and "timing" not in result.stderr


def test_model_that_refuses_a_size_says_so_before_timing(tmp_path: Path) -> None:
    """A model that refuses a size says so before anything is timed."""
    path = tmp_path / "even.py"
    path.write_text(
        "from stablebench.errors import UserError\nfrom stablebench.models.recurrent.rnn import Rnn\n"
        "class Even(Rnn):\n    def __init__(self, in_features: int, hidden: int) -> None:\n"
        "        if hidden % 2:\n            raise UserError(f'`hidden` must be even, got {hidden}.')\n"
        "        super().__init__(in_features, hidden)\n"
    )
    result = run("--size", "2,4,5", "--size", "2,5,5", "--models", "rnn", "--models", f"{path}:Even")
    assert result.exit_code == 2
    assert "`hidden` must be even, got 5." in result.stderr and "timing" not in result.stderr


def test_a_live_bar_draws_only_between_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("sys.stderr", shown := Terminal())
    threads = threading.active_count()
    with SpeedProgress(quiet=False) as progress:
        progress.start("timing rnn")
        progress.watch("literal", 3, 8)
        assert threading.active_count() == threads
    assert "timing rnn" in shown.getvalue() and "literal, 3/8 passes" in shown.getvalue()
