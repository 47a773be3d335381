"""One model, one look: on the page, in figures for papers, of probes and from Python; looks differ to every eye."""

import itertools
import re
from pathlib import Path

import numpy
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from run_maker import made_record, store

import stablebench as sb
from stablebench.models.registry import model_names
from stablebench.probes.gradient_flow import GradientFlow
from stablebench.report import palette
from stablebench.report.figures import style
from stablebench.report.figures.leaderboard import curve_plots
from stablebench.report.figures.panels import draw_plots
from stablebench.report.figures.probe import draw_gradient_norms
from stablebench.report.page import page

_CONES = {
    "all": numpy.eye(3),
    "no long": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no medium": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no short": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Linear RGB as seen without one kind of cones: Machado, Oliveira and Fernandes (2009), table 1, severity 1."""
_LMS = numpy.array([[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]])
_LAB = numpy.array([[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]])


def lines_of(figure: Figure) -> dict[str, tuple[str, str]]:
    """Return colour and dashes of each named line."""
    drawn = [line for axes in figure.axes for line in axes.get_lines()]
    return {
        str(line.get_label()): (to_hex(line.get_color()), str(line._unscaled_dash_pattern))  # pyright: ignore
        for line in drawn
    }


def test_a_model_looks_the_same_in_every_figure(tmp_path: Path) -> None:
    models = ["roarnn", "lstm", "gru"]
    records = [made_record(model, "copy", seed) for model in [*models, "rnn"] for seed in (0, 1)]
    runs = [(store(tmp_path, record), record) for record in records]
    plotted = lines_of(draw_plots(curve_plots(records)))
    flows = {model: GradientFlow("task", torch.rand(3, 12)) for model in reversed(models)}
    probed = lines_of(draw_gradient_norms(flows, "copy"))
    text = page("four", runs, how="", cards=lambda name: None)
    shown = dict(re.findall(r'<th scope="row" data-value="(\w+)"><span class="swatch (c\d d\d)"', text))
    for model in models:
        colour, dashes = palette.colour_and_dashes(palette.looks([model])[model])
        assert plotted[model] == probed[model] and plotted[model][0] == palette.LIGHT[colour]
        assert shown[model] == f"c{colour} d{dashes}"
    assert len({*plotted.values()}) >= 4
    own = sb.probe("lstm", task="copy", T=5, hidden=4, what="flow").plot()
    assert lines_of(own)["lstm"] == plotted["lstm"]


def test_no_two_registered_models_look_alike() -> None:
    looks = palette.looks(model_names())
    assert len(set(looks.values())) == len(model_names()) <= palette.COUNT
    assert len({tuple(style.look(look).values()) for look in looks.values()}) == len(looks)
    assert palette.looks(["lstm"])["lstm"] == looks["lstm"]


def test_own_models_and_settings_get_free_colours() -> None:
    names = ["roarnn", "lstm", "MyCell (leak 0.1)", "MyCell (leak 0.2)", "Other", "lstm (hidden 32)"]
    looks = palette.looks(names)
    assert len({palette.colour_and_dashes(look)[0] for look in looks.values()}) == 6
    assert looks["lstm"] == palette.looks(["lstm"])["lstm"] == palette.looks(["lstm (hidden 32)"])["lstm (hidden 32)"]
    many = palette.looks(f"m{i}" for i in range(palette.COUNT))
    assert len(set(many.values())) == palette.COUNT
    assert len(palette.looks(f"m{i}" for i in range(200))) == 200  # looks are used again, and nothing fails


@pytest.mark.parametrize("colours", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("cones", _CONES)
def test_nine_models_are_told_apart_whatever_one_sees(colours: tuple[str, ...], cones: str) -> None:
    """Oklab distances are at least those of the palette of Okabe and Ito (0.076)."""
    channels = numpy.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours])
    linear = numpy.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    seen = (linear @ numpy.asarray(_CONES[cones]).T).clip(0, 1)
    lab = numpy.cbrt(seen @ _LMS.T) @ _LAB.T
    for i, j in itertools.combinations(range(9), 2):
        assert numpy.linalg.norm(lab[i] - lab[j]) >= 0.076, (colours[i], colours[j])


def test_losses_are_drawn_on_a_logarithmic_axis() -> None:
    records = [made_record("rnn"), made_record("gru")]
    assert [plot.log_y for plot in curve_plots(records)] == [True]
    assert [plot.log_y for plot in curve_plots(records, "accuracy")] == [False]
    assert [plot.log_y for plot in curve_plots(records, log_y=False)] == [False]
