"""`stablebench plot`: files written, what is refused, and nothing imported before it is needed."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.models.base import DeepModel, LayerGroup, State
from stablebench.models.deep_network import DeepNetwork
from stablebench.report.figures.decision_boundary import plane


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a short run of a plain network on the double moon."""
    store = tmp_path_factory.mktemp("runs")
    what = ["--model", "mlp", "--task", "double_moon", "--layers", "4", "--hidden", "5", "--steps", "3"]
    code, output = invoke("train", *what, "--runs-dir", str(store), "--quiet")
    assert code == 0, output
    (folder,) = store.glob("double_moon/mlp/*")
    return folder


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_figure_and_numbers_are_written(run: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"moon{suffix}"
    code, output = invoke("plot", "decision-boundary", str(run), "-o", str(path), "--points", "11")
    assert code == 0, output
    assert path.stat().st_size > 1000
    rows = list(csv.DictReader(path.with_suffix(".csv").read_text().splitlines()))
    assert len(rows) == 121 and list(rows[0]) == ["x1", "x2", "output"]
    assert {float(row["x1"]) for row in rows} == {-20.0 + 5 * i for i in range(11)}
    assert {float(row["x2"]) for row in rows} == {-15.0 + 3.5 * i for i in range(11)}
    assert all(abs(float(row["output"])) <= 1 for row in rows)  # the recipe's output has a tanh


def test_another_rectangle_and_one_checkpoint(run: Path, tmp_path: Path) -> None:
    (checkpoint,) = run.glob("*/*.safetensors")
    where = ["--x1", "0", "1", "--x2", "-3", "-1", "--points", "3", "-o", str(tmp_path / "a.png")]
    code, output = invoke("plot", "decision-boundary", str(checkpoint), *where)
    assert code == 0, output
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [row["x1"] for row in rows] == ["0", "0.5", "1"] * 3
    assert [row["x2"] for row in rows] == ["-3"] * 3 + ["-2"] * 3 + ["-1"] * 3


class Coordinates(DeepModel):
    """Gives out its input; nothing is trained."""

    def layer_groups(self) -> list[LayerGroup]:
        return []

    def step(self, layer: tuple[torch.Tensor, ...], state: State, shared: None) -> State:
        return state


def test_an_output_stands_at_its_own_coordinates() -> None:
    network = DeepNetwork(Coordinates(2, 2), 1)
    with torch.no_grad():
        network.head.weight.copy_(torch.tensor([[1.0, 100.0]]))  # pyright: ignore
        network.head.bias.zero_()  # pyright: ignore
    found = plane(network, (0.0, 2.0), (5.0, 7.0), 3)
    assert found.output.tolist() == [[500.0, 501, 502], [600, 601, 602], [700, 701, 702]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "moon.gif"], "--output moon.gif: must end in .png, .svg, .pdf."),
        (["-o", "nowhere/moon.png"], "there is no folder nowhere"),
        (["--x1", "3", "3"], "`--x1` must be LOW HIGH with LOW < HIGH, got 3 3."),
        (["--x2", "nan", "3"], "`--x2` must be LOW HIGH"),
    ],
)
def test_what_cannot_be_drawn_is_refused(run: Path, arguments: list[str], message: str) -> None:
    code, output = invoke("plot", "decision-boundary", str(run), *arguments)
    assert code == 2 and message in output and "Traceback" not in output


def test_a_task_of_more_inputs_is_refused(tmp_path: Path) -> None:
    what = ["--model", "mlp", "--task", "digits_flat", "--layers", "3", "--hidden", "5", "--steps", "1"]
    assert invoke("train", *what, "--runs-dir", str(tmp_path), "--quiet")[0] == 0
    (folder,) = tmp_path.glob("digits_flat/mlp/*")
    code, output = invoke("plot", "decision-boundary", str(folder), "-o", str(tmp_path / "a.png"))
    assert code == 2 and "digits_flat has 64 static inputs and 10 outputs" in output


def test_help_imports_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from stablebench.cli.app import app\n"
        "assert CliRunner().invoke(app, ['plot', 'decision-boundary', '--help']).exit_code == 0\n"
        "print(sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
