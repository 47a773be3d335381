"""`probe-study`: probes at the start of stored runs, held against how the runs ended."""

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.execution.probe_study.measures import SCALARS
from stablebench.execution.probe_study.one_run import CACHE, MAX_STATE, RunProbes, StudyOptions, early_step, measured
from stablebench.execution.probe_study.study import study
from stablebench.runs.store import RunFolder, all_runs
from stablebench.schema.run_record import RunRecord
from stablebench.stats.prediction import MIN_MODELS


def invoke(*arguments: str | Path | int) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with runs of five models, one of which diverges."""
    folder = tmp_path_factory.mktemp("runs")
    words = ["--task", "first_recall", "--T", 6, "--steps", 40, "--hidden", 6, "--runs-dir", folder, "--quiet"]
    done = invoke("compare", "--model", "rnn,gru,lstm,roarnn,irnn", *words, "--set", "train.eval_every=2")
    assert done.exit_code == 0, done.output
    wild = invoke("train", "--model", "irnn", "--lr", "1e30", "--seed", 1, "--set", "optim.name=sgd", *words)
    assert wild.exit_code == 3, wild.output
    return folder


def test_every_scalar_of_every_run_at_both_times(store: Path) -> None:
    result = invoke("probe-study", "--runs-dir", store, "--json", "--workers", 1)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    (task,) = document["tasks"]
    assert (task["runs"], task["models"], task["goal"], document["left_out"]) == (6, 5, "target", {})
    by_key = {(row["scalar"], row["when"]): row for row in task["correlations"]}
    expected = {(one.name, when) for one in SCALARS for when in ("initial", "early")}
    expected -= {("kaplan_yorke", "initial"), ("kaplan_yorke", "early")}  # no network is chaotic over six steps
    expected -= {("edge_of_stability", "early")}  # the one run of SGD is that which diverges
    assert expected <= by_key.keys()
    assert by_key["edge_of_stability", "initial"]["runs"] == 1
    assert (document["seeds"], document["max_state"]) == ([0, 1], MAX_STATE)
    assert (document["without_singular_values"], document["failed"]) == ([], [])
    assert by_key["parameters", "initial"]["runs"] == 6 and ("parameters", "early") not in by_key
    assert by_key["validation", "early"]["runs"] >= 5
    assert by_key["gradient_left", "early"]["runs"] == 5  # the run that had diverged by then has none
    order = [(row["models"] >= MIN_MODELS, abs(row["score"] or 0)) for row in task["correlations"]]
    assert order == sorted(order, reverse=True)


def test_what_was_measured_is_not_measured_twice(store: Path) -> None:
    folder = next(iter(all_runs(store)))
    options = StudyOptions(examples=3)

    def refused(*_: object) -> None:
        raise AssertionError("built again")

    def free(*_: object) -> None:
        return None

    _, first = measured(folder, options, free)
    assert measured(folder, options, refused)[1] == first
    with pytest.raises(AssertionError):
        measured(folder, StudyOptions(examples=4), refused)
    (folder.path / CACHE).write_text("{broken")
    assert measured(folder, options, free)[1] == first


def test_the_early_network_is_that_of_the_run(store: Path) -> None:
    """What is measured after a part of the updates is of the very weights that the run had then."""
    words = ["--model", "rnn", "--task", "first_recall", "--T", 6, "--hidden", 6, "--lr", "0.05", "--quiet"]
    words += ["--runs-dir", store.parent / "two"]
    assert invoke("train", *words, "--steps", 10).exit_code == 0
    assert invoke("train", *words, "--steps", 40).exit_code == 0
    short, long = sorted(all_runs(store.parent / "two"), key=lambda folder: folder.read_record().spec.train.steps)
    _, of_long = measured(long, StudyOptions(early=0.25), lambda *_: None)
    assert of_long.early_step == 10 and of_long.early != of_long.initial
    words = ["--batch-size", 8, "--what", "all", "--json"]
    probed = json.loads(invoke("probe-gradients", short.path, *words).stdout)["measures"]
    assert of_long.early is not None
    early = of_long.early
    assert early["sensitivity_last"] == pytest.approx(probed["sensitivity"]["log10"][-1], rel=1e-9)
    assert early["sensitivity_power"] == pytest.approx(probed["sensitivity"]["power"], rel=1e-9)
    of_curvature = probed["curvature"]
    assert early["hessian_largest"] == pytest.approx(math.log10(of_curvature["largest_hessian_eigenvalue"]), rel=1e-9)
    assert early["participation_ratio"] == pytest.approx(probed["dimension"]["participation_ratio"], rel=1e-9)
    assert early["effective_rank"] == pytest.approx(probed["dimension"]["effective_rank"], rel=1e-9)
    assert early["metric_entropy"] == pytest.approx(probed["lyapunov"]["metric_entropy"], rel=1e-9)
    assert early["non_normal_share"] == pytest.approx(probed["schur"]["non_normal_share"], rel=1e-9)
    with_, without = (probed["schur"][key]["log10_first_over_last"] for key in ("with", "without"))
    assert early["schur_gradient"] == pytest.approx(with_ - without, rel=1e-9)
    assert of_long.early["lyapunov_largest"] == pytest.approx(probed["lyapunov"]["largest"], rel=1e-9)
    assert of_long.early["gradient_left"] == pytest.approx(probed["gradient_flow"]["log10_first_over_last"], rel=1e-9)


def test_the_study_leaves_runs_as_they_are(store: Path) -> None:
    before = {folder.path: folder.record_path.read_bytes() for folder in all_runs(store)}
    curves = {folder.path: folder.curve_path.read_bytes() for folder in all_runs(store)}
    assert invoke("probe-study", "--runs-dir", store, "--workers", 1, "--early", "0.1", "--quiet").exit_code == 0
    assert before == {folder.path: folder.record_path.read_bytes() for folder in all_runs(store)}
    assert curves == {folder.path: folder.curve_path.read_bytes() for folder in all_runs(store)}


def made(folder: RunFolder, score: float, name: str) -> RunRecord:
    record = folder.read_record()
    result = record.result.model_copy(update={"test": {record.metric: score}, "steps_to_target": None})
    record = record.model_copy(update={"result": result, "status": "finished"})
    record.call(name)
    return record


def test_a_probe_that_tells_all_comes_first(store: Path) -> None:
    folder = next(iter(all_runs(store)))
    empty = dict.fromkeys([one.name for one in SCALARS])
    runs = []
    for i in range(8):
        values = empty | {"growth_rate": float(i), "lyapunov_largest": float((3 * i) % 8), "gradient_left": -math.inf}
        runs.append((made(folder, 0.1 * i, f"m{i}"), RunProbes(values, None, 1)))
    (task,) = study(runs, 0.05)
    first = task.correlations[0]
    assert (first.scalar, first.when, first.score) == ("growth_rate", "initial", pytest.approx(1))
    assert first.skill is not None and first.skill > 0.9 and first.score_interval is not None
    few = [
        (record, RunProbes({**own.initial, "kaplan_yorke": 0.1 * i}, None, 1))
        for i, (record, own) in enumerate(runs[:4])
    ]
    (task,) = study(few + runs[4:], 0.05)
    assert task.correlations[0].scalar == "growth_rate"
    assert task.correlations[-1].scalar == "kaplan_yorke" and task.correlations[-1].score == pytest.approx(1)
    constant = next(row for row in task.correlations if row.scalar == "gradient_left")
    assert constant.score is None and constant.runs == 8
    assert all(row.updates is None for row in task.correlations)  # no run reached the target


def test_updates_of_a_part(store: Path) -> None:
    record = next(iter(all_runs(store))).read_record()
    steps = record.spec.train.steps
    assert early_step(record, 0.05) == math.ceil(0.05 * steps) and early_step(record, 1e-9) == 1
    assert early_step(record, 10 / steps) == 10


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--early", "0"], "`--early`"), (["--early", "1"], "`--early`"), (["nothing_here"], "nothing_here")],
)
def test_bad_input_has_one_message(words: list[str], message: str, store: Path) -> None:
    result = invoke("probe-study", *words, "--runs-dir", store)
    assert result.exit_code == 2 and message in result.stderr and result.stderr.count("Error:") == 1


def test_runs_that_cannot_be_probed_are_named(store: Path, tmp_path: Path) -> None:
    """A run whose model is not as it was is left out, with the reason; the others are studied."""
    (tmp_path / "own.py").write_text(
        "import torch\nfrom stablebench.models.base import RecurrentModel\n"
        "class Own(RecurrentModel):\n"
        '    """h_t = tanh(h + V x)."""\n'
        "    def __init__(self, in_features, hidden):\n        super().__init__(in_features, hidden)\n"
        "        self.V = torch.nn.Linear(in_features, hidden)\n"
        "    def input_projection(self, x):\n        return self.V(x)\n"
        "    def step(self, projected, state, recurrent_weights):\n        return (torch.tanh(projected + state[0]),)\n"
    )
    words = ["--task", "first_recall", "--T", 6, "--steps", 2, "--hidden", 4, "--runs-dir", tmp_path / "runs"]
    for model in (f"{tmp_path}/own.py:Own", "rnn"):
        assert invoke("train", "--model", model, *words, "--quiet").exit_code == 0
    (copy,) = (tmp_path / "runs").rglob("code/**/own.py")
    copy.write_text(copy.read_text().replace("torch.tanh", "torch.sin"))
    result = invoke("probe-study", "--runs-dir", tmp_path / "runs", "--workers", 1, "--json", "--quiet")
    (left_out,) = json.loads(result.stdout)["left_out"]
    assert result.exit_code == 0 and "Own" in left_out and "left out: " in result.stderr
    assert json.loads(result.stdout)["tasks"][0]["runs"] == 1


def test_runs_left_out_for_one_reason_are_one_line(tmp_path: Path) -> None:
    words = ["--task", "first_recall", "--T", 6, "--steps", 2, "--hidden", 4, "--runs-dir", tmp_path, "--quiet"]
    assert invoke("compare", "--model", "skip_gru", "--seeds", 2, *words).exit_code == 0
    result = invoke("probe-study", "--runs-dir", tmp_path, "--workers", 1, "--quiet", "--json")
    (line,) = [line for line in result.stderr.splitlines() if "left out: " in line]
    assert result.exit_code == 1 and " and 1 more: SkipRNN cannot be probed" in line
    assert len(json.loads(result.stdout)["left_out"]) == 2
