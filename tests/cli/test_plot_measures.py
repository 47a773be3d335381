"""`train --probe`, `plot probe`, `plot structure` and `plot oscillators` as a user types them."""

import csv
import json
import math
import shutil
import statistics
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.models.recurrent.nnrnn import NnRNN
from stablebench.report.figures.curves import measured
from stablebench.report.figures.monitor import probed_runs
from stablebench.report.figures.schur import schur_structure
from stablebench.runs.store import RunFolder


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run store: two seeds of nnRNN with a probe, and one without."""
    folder = tmp_path_factory.mktemp("runs")
    what = ["train", "--model", "nnrnn", "--task", "copy", "--T", "5", "--hidden", "6", "--batch-size", "4", "--quiet"]
    for more in (
        ["--seed", "0", "--probe", "every=3,what=diagnostics,gradients,batch=2"],
        ["--seed", "1", "--probe", "every=3,what=diagnostics,gradients,batch=2"],
    ):
        code, output = invoke(*what, "--steps", "6", "--runs-dir", str(folder / "probed"), *more)
        assert code == 0, output
    assert invoke(*what, "--steps", "2", "--runs-dir", str(folder / "bare"))[0] == 0
    return folder


def seeds(store: Path, kind: str = "probed") -> list[str]:
    return [str(path) for path in sorted((store / kind).glob("copy/nnrnn/*"))]


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_runs_without_measurements_are_left_out_and_named(store: Path, tmp_path: Path) -> None:
    probed, bare = seeds(store), seeds(store, "bare")
    code, output = invoke("plot", "probe", *bare, *probed, "-o", str(tmp_path / "a.png"))
    assert code == 0 and f"not in the figure: {bare[0]}: nothing was measured" in output
    assert {row["run"] for row in rows(tmp_path / "a.csv")} == {"nnrnn on copy"}
    code, output = invoke("plot", "probe", *bare, "-o", str(tmp_path / "b.png"))
    assert code == 2 and "nothing was measured along this run; train it with --probe every=N" in output
    assert not (tmp_path / "b.png").exists()


def test_train_probe_writes_its_lines_and_the_record_knows(store: Path) -> None:
    folder = Path(seeds(store)[0])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "probe"] == [0, 3, 6]
    assert json.loads((folder / "record.json").read_text())["probe"].startswith("every=3,what=diagnostics,gradients,")


def test_a_curve_of_version_0_1_is_drawn_under_the_present_name(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "earlier"
    shutil.copytree(seeds(store)[0], folder)
    curve = folder / "metrics.jsonl"
    curve.write_text(curve.read_text().replace('"diagnostics.', '"watched.'))
    assert "watched." in curve.read_text()
    runs = probed_runs([RunFolder(folder)], ["watched"])
    assert {name.partition(".")[0] for _, _, _, name, _ in runs.rows} == {"diagnostics"}
    assert any(name.startswith("diagnostics.") for name in measured(curve))


def test_a_wrong_probe_is_one_message(tmp_path: Path) -> None:
    wrong = ["train", "--model", "rnn", "--task", "copy", "--probe", "every=3,what=energi", "--runs-dir", str(tmp_path)]
    code, output = invoke(*wrong)
    assert code == 2 and "Did you mean energy?" in output and "Traceback" not in output
    assert not list(tmp_path.iterdir())


def test_plot_probe_writes_a_figure_and_every_number(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    code, output = invoke("plot", "probe", *seeds(store), "-o", str(path))
    assert code == 0, output
    assert path.stat().st_size > 5000
    found = rows(path.with_suffix(".csv"))
    gammas = [row for row in found if row["name"] == "diagnostics.layers.0.mean_gamma"]
    assert [(row["seed"], row["step"]) for row in gammas] == [(s, n) for s in "01" for n in "036"]
    assert float(gammas[0]["value"]) == 1
    assert {row["run"] for row in found} == {"nnrnn on copy"}


def test_seeds_of_spec_are_one_series(store: Path) -> None:
    """Seeds of a spec are one series and show keeps what is called so."""
    runs = probed_runs([RunFolder(Path(path)) for path in seeds(store)], ["gradient.whole", "diagnostics"])
    names = {name: line for (_, name), line in runs.lines().items()}
    assert set(names) == {
        "gradient.whole",
        *(f"diagnostics.layers.0.{n}" for n in ("mean_gamma", "lower_energy", "lower_share")),
    }
    assert names["gradient.whole"].x == [0, 3, 6]
    values = {row[1:3]: row[4] for row in runs.rows if row[3] == "gradient.whole"}
    assert len(values) == 6
    mean, spread = (f([values[seed, 3] for seed in (0, 1)]) for f in (statistics.mean, statistics.stdev))
    assert names["gradient.whole"].y[1] == pytest.approx(mean)
    assert names["gradient.whole"].low[1] == pytest.approx(mean - spread)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("bare", [], "train it with --probe every=N"),
        ("probed", ["--show", "sigma"], "nothing is called so; measured were"),
        ("probed", ["-o", "p.gif"], "must end in .png"),
    ],
)
def test_what_cannot_be_drawn_is_refused(store: Path, kind: str, arguments: list[str], message: str) -> None:
    code, output = invoke("plot", "probe", *seeds(store, kind), *arguments)
    assert code == 2 and message in output and "Traceback" not in output


def test_structure_of_a_run_and_of_a_start(store: Path, tmp_path: Path) -> None:
    for what in ([seeds(store)[0]], ["--model", "nnrnn", "--hidden", "8"]):
        path = tmp_path / "s.png"
        code, output = invoke("plot", "structure", *what, "-o", str(path), "--force")
        assert code == 0, output
        assert path.stat().st_size > 5000
        found = rows(path.with_suffix(".csv"))
        own = [float(row["value"]) for row in found if row["what"] == "mean of sub-diagonal of T"]
        assert (max(own) > 0) == (what != ["--model", "nnrnn", "--hidden", "8"])  # T starts at 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs one of RUN and --model"),
        (["--model", "lstm"], "in Schur form, nnrnn; got LSTM"),
        (["--model", "nnrn"], "Did you mean nnrnn?"),
    ],
)
def test_a_structure_that_is_none_is_refused(arguments: list[str], message: str) -> None:
    code, output = invoke("plot", "structure", *arguments)
    assert code == 2 and message in output and "Traceback" not in output


def test_the_structure_s_numbers_against_a_matrix_made_by_hand() -> None:
    model = NnRNN(1, 6)
    with torch.no_grad():
        model.theta.copy_(torch.tensor([0.5, 0.5 + 2 * math.pi, -math.pi + 0.25]))
        model.T.fill_(0.25)
        model.gamma.copy_(torch.tensor([1.0, 1.0, 0.5]))
    found = schur_structure(model)
    assert found.angles.tolist() == pytest.approx([0.5, 0.5, -math.pi + 0.25], abs=1e-5)
    whole, own = found.subdiagonal_means()
    assert own.tolist() == pytest.approx([0.25] * 5, rel=1e-6)
    first = (2 * math.sin(0.5) + 0.5 * math.sin(0.25) + 2 * 0.25) / 5  # three sines of blocks and two entries of T
    assert whole.tolist() == pytest.approx([first, *[0.25] * 4], rel=1e-5)
    assert found.lower.count_nonzero() == 12
    mean = (2 * complex(math.cos(0.5), math.sin(0.5)) + complex(-math.cos(0.25), -math.sin(0.25))) / 3
    assert found.concentration() == pytest.approx(abs(mean), rel=1e-5)
    assert torch.linalg.eigvals(found.theta).abs().sort().values.tolist() == pytest.approx(
        [0.5] * 2 + [1] * 4, rel=1e-5
    )


def test_oscillators_are_drawn_and_written(tmp_path: Path) -> None:
    path = tmp_path / "o.png"
    code, output = invoke("plot", "oscillators", "-o", str(path), "--dt", "0.05", "--time", "9")
    assert code == 0, output
    assert path.stat().st_size > 20000
    assert "DUFF under steps passes |y| = 1000 at t =" in output
    found = rows(path.with_suffix(".csv"))
    sine = [row for row in found if (row["signal"], row["system"]) == ("cos 4t", "SHO")]
    assert len(sine) == 181
    assert all(float(row["y"]) == pytest.approx(math.sin(float(row["t"])), abs=2e-3) for row in sine)
    assert {row["system"] for row in found if row["neuron"] == "2"} == {"UC", "ORD", "FC"}
    assert [row["y"] for row in found if row["system"] == "DUFF"][-1] == ""


@pytest.mark.parametrize("below", ["", "copy", "copy/nnrnn"])
def test_a_folder_of_runs_is_refused_with_those_in_it(store: Path, below: str) -> None:
    folder, runs = store / "probed" / below, ", ".join(map(str, seeds(store)))
    for command in ("probe", "structure", "decision-boundary", "trajectories"):
        code, output = invoke("plot", command, str(folder))
        message = f"{folder}: must be the folder of one run, with a record.json; the 2 runs in it are {runs}."
        assert code == 2 and message in output, output
    for words in (["train", "--resume"], ["evaluate"], ["verify"], ["probe-gradients"]):
        assert message in invoke(*words, str(folder))[1]


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    code, output = invoke("plot", "probe", str(tmp_path))
    assert code == 2 and f"{tmp_path}: no run with a readable record.json" in output
