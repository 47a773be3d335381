import math
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.probes.gradient_flow import GradientFlow
from stablebench.report.figures import style
from stablebench.report.figures.probe import draw_gradient_norms
from stablebench.report.figures.text_plot import text_plot

FALLING = GradientFlow("task", torch.arange(11).expand(3, -1) * math.log(10))
DEAD = GradientFlow("task", torch.full((3, 11), -math.inf))


def test_text_plot_rises_from_lower_left_to_upper_right() -> None:
    """The text plot rises from the lower left to the upper right."""
    lines = text_plot({"rnn": FALLING}, width=11, height=11).splitlines()
    assert lines[1] == "    10.0 |          *"
    assert lines[11] == "     0.0 |*"
    assert lines[-1].split() == ["t", "=", "0", "t", "=", "10"]


def test_several_models_get_letters_and_plain_characters() -> None:
    text = text_plot({"rnn": FALLING, "lstm": FALLING})
    assert "a rnn, b lstm" in text and text.isascii()


def test_nothing_but_zeros_is_said() -> None:
    assert "exactly 0" in text_plot({"rnn": DEAD})


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_a_figure_in_each_format_also_with_zeros(tmp_path: Path, suffix: str, start: bytes) -> None:
    path = tmp_path / f"flow{suffix}"
    style.save(path, draw_gradient_norms({"rnn": FALLING, "dead": DEAD}, "copy"))
    assert path.read_bytes().startswith(start)


@pytest.mark.parametrize(("name", "message"), [("a.gif", "must end in"), ("nowhere/a.png", "there is no folder")])
def test_a_path_that_cannot_be_a_figure_is_refused(tmp_path: Path, name: str, message: str) -> None:
    result = CliRunner().invoke(app, ["plot", "oscillators", "-o", str(tmp_path / name)])
    assert result.exit_code == 2 and f"--output {tmp_path / name}: {message}" in result.stderr
