"""`probe-gradients` as a user types it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.probes.probe import ProbeResult, Probing
from stablebench.report.probe_tables import power
from stablebench.runs.store import all_runs

SMALL = ["--task", "copy", "--T", "5", "--hidden", "12", "--set", "task.S=2"]
FALSE_CLAIM = """
from stablebench.models.claims import Claim, at_most
from stablebench.models.recurrent.rnn import Rnn

class Boastful(Rnn):
    def claims(self):
        return [Claim("one is at most zero", "none", lambda evidence: at_most(1.0, 0.0))]
"""
SCALE = """
from torch import nn
from stablebench.models.base import RecurrentModel

class Scale(RecurrentModel):
    def __init__(self, in_features: int, hidden: int, *, gain: float = 1.0) -> None:
        super().__init__(in_features, hidden)
        self.gain, self.V = gain, nn.Linear(in_features, hidden)

    def input_projection(self, x):
        return self.V(x)

    def step(self, projected, state, recurrent_weights):
        return (self.gain * state[0] + projected,)
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["probe-gradients", *arguments])


def test_one_model_prints_numbers_verdicts_and_a_plot() -> None:
    """One model prints norms growth singular values verdicts and a plot."""
    result = run("--model", "dizzy", *SMALL)
    assert result.exit_code == 0, result.output
    for part in ("median", "growth rate", "sigma_max ", "isometry distance", "theorem 3", "holds", "log10 ||dL/dh_t||"):
        assert part in result.stdout
    assert "--loss last follows one term" not in result.stdout
    assert "--loss last follows one term" in run("--model", "dizzy", *SMALL, "--loss", "task").stdout
    left_out = "lags, spectra, memory, sensitivity, learnability, curvature, dimension, schur"
    assert f"Not measured, as it takes longer: {left_out} (--what all)." in result.stdout
    assert not run("--model", "dizzy", *SMALL, "--quiet").stderr


def test_json_has_measures_and_claims_for_one_model() -> None:
    result = run("--model", "dizzy", *SMALL, "--batch", "3", "--samples", "2", "--json")
    document = json.loads(result.stdout)
    assert set(document) == {"measures", "claims"}
    flow, jacobian = document["measures"]["gradient_flow"], document["measures"]["jacobian"]
    assert flow["loss"] == "last" and flow["samples"] == 3 and flow["t"] == list(range(10))
    median = flow["log10_norm"]["median"]
    assert median == pytest.approx([median[0]] * 10, abs=1e-10)
    assert jacobian["steps"] == 8 and len(jacobian["sigma_min"]["value"]) == 2
    assert document["measures"]["step"] is None and document["measures"]["task"]["params"]["length"] == 5
    claim = document["claims"][0]
    assert set(claim) == {"claim", "verdict", "measured", "bound", "hypothesis"} and claim["verdict"] == "holds"


def test_several_models_share_a_figure_and_a_document(tmp_path: Path) -> None:
    figure = tmp_path / "flow.svg"
    result = run("--model", "rnn, lstm", *SMALL, "--json", "--png", str(figure))
    assert set(json.loads(result.stdout)["models"]) == {"rnn", "lstm"}
    text = figure.read_text()
    assert text.startswith("<?xml") and "rnn" in text and "lstm" in text
    assert "a rnn, b lstm" in run("--model", "rnn,lstm", *SMALL).stdout


def test_what_and_loss_choose_measures() -> None:
    """The quick measures of the last step's loss by default; all of them, and both losses, where asked for."""
    small = ["--model", "rnn", *SMALL, "--batch", "2", "--json"]
    quick = json.loads(run(*small).stdout)["measures"]
    asked = {"model", "task", "seed", "step"}
    assert set(quick) - asked == {"gradient_flow", "by_loss", "jacobian", "lyapunov"}
    assert set(quick["by_loss"]) == {"last"} and len(quick["jacobian"]["log10_sigma"]) == 1
    measures = json.loads(run(*small, "--what", "all", "--loss", "both").stdout)["measures"]
    assert {"gradient_flow", "lag_share", "by_loss", "jacobian", "lyapunov", "spectra", "memory"} <= set(measures)
    assert set(measures["by_loss"]) == {"task", "last"} and len(measures["gradient_flow"]["input"]["t"]) == 9
    assert len(measures["jacobian"]["log10_sigma"][0]) == 12 and measures["jacobian"]["isometry_distance"][0] > 0
    assert len(measures["lyapunov"]["exponents"]) == 12
    assert len(measures["spectra"]["recurrent_matrix"][0]["eigenvalues"]["real"]) == 12
    assert len(measures["memory"]["fisher_curve"]) == 10
    chosen = json.loads(run(*small, "--what", "spectra, memory").stdout)
    assert {"spectra", "memory"} == set(chosen["measures"]) - asked
    text = run(*small[:-1], "--what", "lyapunov")
    assert text.exit_code == 0 and "Lyapunov exponent" in text.stdout and "dL/dh_t" not in text.stdout


def test_several_models_stand_side_by_side() -> None:
    result = run("--model", "rnn,leaky_esn", *SMALL, "--batch", "2", "--samples", "1")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("rnn SURVIVES: ") and lines[1].startswith("leaky_esn SURVIVES: ")
    assert lines[2].startswith("SURVIVES means: ") and not lines[3]
    assert lines[4] == "copy, length 5" and lines[5].split()[:2] == ["model", "growth"]
    assert lines[6].startswith("rnn") and lines[7].startswith("leaky_esn")
    assert "Claims of leaky_esn" in result.stdout


def test_verdicts_come_first_and_an_interrupt_keeps_the_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both verdicts are said before the rest is measured; what is finished when Ctrl-C comes is printed."""
    measured = Probing.result

    def interrupted(self: Probing, *arguments: Any) -> ProbeResult:
        if calls:
            raise KeyboardInterrupt
        calls.append(arguments)
        return measured(self, *arguments)

    calls: list[Any] = []
    monkeypatch.setattr(Probing, "result", interrupted)
    stopped = run("--model", "rnn,lstm", *SMALL)
    lines = stopped.stdout.splitlines()
    assert stopped.exit_code == 130
    assert lines[0].startswith("rnn ") and lines[1].startswith("lstm ") and " of the gradient is left" in lines[1]
    assert "growth rate" in stopped.stdout and "rnn on copy, length 5" in stopped.stdout


def test_a_sweep_says_where_it_is_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off a terminal, lines with the step of a sweep and the time that it has left."""
    monkeypatch.setattr("stablebench.cli.ui.progress._LINE_EVERY_S", 0.0)
    monkeypatch.setattr("stablebench.cli.ui.progress._DRAWN_EVERY_S", 0.0)
    lines = run("--model", "rnn", *SMALL).stderr.splitlines()
    steps = [int(line.partition(": step ")[2].partition(" of 9")[0]) for line in lines]
    assert len(steps) > 8 and 2 in steps and 9 in steps and all(line.endswith(" left") for line in lines)


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        (0.5, "VANISHES: 1.8e-15 of the gradient is left after 49 steps"),  # 0.5^49 = 1.776e-15
        (1.0, "SURVIVES: 1 to 1 of the gradient is left after 49 steps"),
        (0.9, "SURVIVES: 0.0057 to 0.0057 of the gradient is left after 49 steps"),  # 0.9^49 = 0.005726
        (0.85, "VANISHES: 0.00035 of the gradient is left after 49 steps"),  # 0.85^49 = 3.484e-4
        (2.0, "EXPLODES: the gradient is up to 5.6e+14 times as large after 49 steps"),  # 2^49 = 5.629e14
    ],
)
def test_the_first_line_says_whether_a_gradient_survives(gain: float, verdict: str, tmp_path: Path) -> None:
    (tmp_path / "scale.py").write_text(SCALE)
    model = ["--model", f"{tmp_path / 'scale.py'}:Scale", "--set", f"model.gain={gain}", "--hidden", "3"]
    result = run(*model, "--task", "first_recall", "--T", "50", "--what", "jacobian", "-q")
    assert result.exit_code == 0, result.output
    first, meaning, empty = result.stdout.splitlines()[:3]
    assert first == verdict and meaning.startswith(f"{verdict.partition(':')[0]} means: ") and not empty


def test_the_first_line_counts_the_directions_that_are_kept(tmp_path: Path) -> None:
    """One unit is kept and two are lost: 0.8^49 = 1.8e-5."""
    (tmp_path / "scale.py").write_text(
        SCALE.replace("gain * state[0]", "gain * state[0] * state[0].new_tensor([1.0, 0.8, 0.8])")
    )
    model = ["--model", f"{tmp_path / 'scale.py'}:Scale", "--set", "model.gain=1.0", "--hidden", "3"]
    result = run(*model, "--task", "first_recall", "--T", "50", "--what", "jacobian", "-q")
    line = result.stdout.splitlines()[0]
    assert line == "SURVIVES: 1.8e-05 to 1 of the gradient is left after 49 steps, in 1 of 3 directions 1e-3 or more"


def test_figures_come_with_numbers_and_replace_nothing_unasked(tmp_path: Path) -> None:
    """Figures come with their numbers and replace nothing unasked."""
    folder = tmp_path / "new" / "figures"
    small = ["--model", "rnn,lstm", *SMALL, "--batch", "2", "--samples", "1", "--figures", str(folder)]
    result = run(*small, "--what", "all", "--figure-format", "svg")
    assert result.exit_code == 0, result.output
    names = ["eigenvalues", "fisher-memory", "gradient-norm", "lag-share", "lyapunov", "singular-values"]
    names += ["learnability", "sensitivity"]
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"{n}.{e}" for n in names for e in ("csv", "svg"))
    for name in names:
        text = (folder / f"{name}.csv").read_text()
        assert text.startswith("model,") and "\nrnn," in text and "\nlstm," in text
        assert "<svg" in (folder / f"{name}.svg").read_text()
    kept = (folder / "lyapunov.csv").read_text()
    refused = run(*small)
    assert refused.exit_code == 2 and "--force overwrites it" in refused.stderr
    assert (folder / "lyapunov.csv").read_text() == kept
    assert run(*small, "--what", "lyapunov", "--overwrite").exit_code == 0
    assert (folder / "lyapunov.png").exists() and not (folder / "lag-share.png").exists()


def test_a_reservoir_has_gradients_of_its_states_and_no_shares() -> None:
    result = run("--model", "leaky_esn", *SMALL, "--batch", "2", "--what", "flow,lags")
    assert result.exit_code == 0 and "Nothing in the chain is trained" in result.stdout
    trained = run("--model", "rnn", *SMALL, "--batch", "2", "--what", "flow")
    assert trained.exit_code == 0 and "||dL/dh_t||" in trained.stdout and "is trained" not in trained.stdout


def test_the_seed_decides_what_is_measured() -> None:
    first, again, other = (run("--model", "rnn", *SMALL, "--seed", seed, "--json").stdout for seed in ("1", "1", "2"))
    assert first == again
    assert json.loads(first)["measures"]["jacobian"] != json.loads(other)["measures"]["jacobian"]


def test_strict_exits_with_4_only_where_a_claim_is_violated(tmp_path: Path) -> None:
    file = tmp_path / "boastful.py"
    file.write_text(FALSE_CLAIM)
    assert run("--model", f"{file}:Boastful", *SMALL).exit_code == 0
    result = run("--model", f"{file}:Boastful", *SMALL, "--strict")
    assert result.exit_code == 4 and "one is at most zero" in result.stdout and "violated" in result.stdout
    assert run("--model", "dizzy", *SMALL, "--strict").exit_code == 0
    assert run("--model", "dizzy", *SMALL, "--set", "model.activation=relu", "--strict").exit_code == 0


def test_run_is_probed_with_its_trained_weights(tmp_path: Path) -> None:
    """A run is probed with its trained weights at its own length or another."""
    linear = [*SMALL, "--set", "model.activation=identity"]
    trained = CliRunner().invoke(
        app,
        ["train", "--model", "urnn", *linear, "--steps", "4", "--batch-size", "4", "--runs-dir", str(tmp_path), "-q"],
    )
    assert trained.exit_code == 0, trained.output
    (folder,) = all_runs(tmp_path)
    first = json.loads(run(str(folder.path), "--json").stdout)
    assert first["measures"]["step"] == 4 and first["measures"]["jacobian"]["steps"] == 8
    assert {claim["verdict"] for claim in first["claims"]} == {"holds"}
    from_file = json.loads(run(str(folder.checkpoint_path(4)), "--json").stdout)
    assert from_file == first
    start = json.loads(run("--model", "urnn", *linear, "--precision", "float32", "--json").stdout)
    mine, theirs = first["measures"]["gradient_flow"], start["measures"]["gradient_flow"]
    assert mine["log10_norm"] != theirs["log10_norm"]
    assert json.loads(run(str(folder.path), "--T", "9", "--json").stdout)["measures"]["jacobian"]["steps"] == 12
    refused = run(str(folder.path), "--hidden", "7")
    assert refused.exit_code == 2 and "a run is probed as its own spec says" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "dizy", *SMALL], "Did you mean dizzy?"),
        (["--model", "rnn,rnn", *SMALL], "rnn stands twice"),
        ([*SMALL], "--model is missing"),
        (["--model", "rnn"], "--task is missing"),
        (["--model", "rnn", *SMALL, "--batch", "501"], "`--batch-size` must be <= 500"),
        (["--model", "rnn", *SMALL, "--batch", "2", "--samples", "3"], "`--samples` must be <= 2"),
        (["--model", "rnn", *SMALL, "--png", "flow.gif"], "must end in .png, .svg, .pdf"),
        (["--model", "rnn", *SMALL, "--device", "cpu"], "probe-gradients has no option --device"),
        (["--model", "rnn", *SMALL, "--lr", "0.5"], "probe-gradients has no option --lr"),
        (["--model", "rnn", *SMALL, "--engine", "scan"], "probe-gradients has no option --engine"),
        (["--models", "rnn,", *SMALL], "--model 'rnn,': must be names with commas between"),
        (["--model", "rnn", *SMALL, "--what", "flw"], "there is no measure 'flw'"),
        (["--model", "rnn", *SMALL, "--what", "spectra", "--png", "a.png"], "add flow to --what"),
        (["--model", "rnn", *SMALL, "--figures", __file__], "must be a folder"),
        (["--model", "skip_gru", *SMALL], "the derivative of rounding is replaced by 1"),
        (["--model", "skip_lstm", *SMALL], "SkipRNN cannot be probed"),
        (["nowhere"], "No run 'nowhere': it is neither a folder with record.json nor a run in"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr and "Traceback" not in result.output and result.stdout == ""


@pytest.mark.parametrize(
    ("log10", "text"),
    [
        (None, "0"),
        (0.0, "1"),
        (math.log10(26.3), "26.3"),
        (-6000.0, "1.000e-6000"),
        (400.5, "3.162e+400"),
        (7.9999999, "1.000e+08"),
        (-4743.405, "3.936e-4744"),
    ],
)
def test_numbers_beyond_a_float_are_written_in_full(log10: float | None, text: str) -> None:
    assert power(log10) == text


def test_layers_serve_as_the_chain_of_a_deep_model() -> None:
    arguments = ["--model", "roafnn", "--task", "double_moon", "--layers", "50"]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "roafnn on double_moon, hidden 2, 50 layers, untrained, seed 0" in result.stdout
    assert result.stdout.count("theorem 2.1") == 4 and "dh_48/dh_1 (2 x 2" in result.stdout
    document = json.loads(run(*arguments, "--json").stdout)
    assert document["measures"]["gradient_flow"]["t"] == list(range(49))
    assert not [claim for claim in document["claims"] if claim["verdict"] == "violated"]


def test_claim_on_constant_widths_is_not_applied_to_growing_ones() -> None:
    """A claim on widths that never grow does not apply to those that do."""
    sizes = ["--layers", "6", "--hidden", "5", "--set", "model.widths=[2,3,4,5]", "--set", "model.rho=0.1"]
    claims = json.loads(run("--model", "roafnn", "--task", "double_moon", *sizes, "--json").stdout)["claims"]
    assert [claim["verdict"] for claim in claims] == ["holds", "holds", "not applicable", "not applicable"]


def test_a_trained_deep_network_is_probed(tmp_path: Path) -> None:
    what = ["--model", "highway", "--task", "double_moon", "--layers", "6", "--steps", "2", "--quiet"]
    assert CliRunner().invoke(app, ["train", *what, "--runs-dir", str(tmp_path)]).exit_code == 0
    (folder,) = all_runs(tmp_path)
    result = run(str(folder.path))
    assert result.exit_code == 0 and "6 layers, after 2 updates" in result.stdout
