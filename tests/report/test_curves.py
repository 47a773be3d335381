"""Curves of several seeds as one, axes, and figures for papers."""

import csv
from pathlib import Path

import numpy as np
import pytest
from run_maker import made_record

from stablebench.errors import UserError
from stablebench.report.figures.curves import Line, band_of, measured, thinned
from stablebench.report.figures.leaderboard import arrival_plots, curve_plots, profile_plots
from stablebench.report.figures.panels import draw_plots, save_plots
from stablebench.report.scale import scale_of
from stablebench.report.svg import panels_of


def test_band_is_median_between_lowest_and_highest_seed() -> None:
    """A band is the median between the lowest and the highest seed."""
    band = band_of("rnn", [{1: 1.0, 2: 5.0}, {1: 2.0, 2: 4.0}, {1: 9.0}], 10, [True, True, False])
    assert band == Line("rnn", [1, 2], [2.0, 4.5], [1.0, 4.0], [9.0, 5.0])
    assert band_of("rnn", [{1: 1.0}, {}], 10) == Line("rnn", [1], [1.0])


def test_seed_that_was_done_early_keeps_last_value() -> None:
    """A seed that was done early keeps its last value and a diverged one does not."""
    early = band_of("rnn", [{1: 1.0}, {1: 3.0, 2: 2.0}], 10, [True, True])
    diverged = band_of("rnn", [{1: 1.0}, {1: 3.0, 2: 2.0}], 10, [False, True])
    assert early is not None and early.y == [2.0, 1.5]
    assert diverged is not None and diverged.y == [2.0, 2.0]
    assert band_of("rnn", [{}, {}], 10) is None


def test_thinning_keeps_both_ends() -> None:
    assert thinned(list(range(100)), 4) == [0, 33, 66, 99]
    assert thinned([1, 2, 3], 5) == [1, 2, 3]


def test_what_was_measured_is_read_from_the_curve_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 10, "split": "train", "loss": 1.0, "gradient_norm": 2.0, "wall_s": 1.0}\n'
        '{"step": 10, "split": "validation", "loss": 3.0}\n'
        '{"step": 20, "split": "probe", "energy": 4.5, "note": "a", "flat": true, "wall_s": 1.0}\n{"step": 30, "spl'
    )
    assert measured(path) == {"gradient_norm": {10.0: 2.0}, "energy": {20.0: 4.5}}
    assert measured(tmp_path / "none.jsonl") == {}


@pytest.mark.parametrize(
    ("values", "log", "labels"),
    [
        ([0.0, 1.0], False, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        ([0.01, 10.0], True, ["0.01", "0.1", "1", "10"]),
        ([1e-9, 1e9], True, ["1e-9", "1e-6", "0.001", "1", "1000", "1e6", "1e9"]),
        ([2.0, 6.0], True, ["2", "5"]),
        ([5.0, 5.0], False, ["4.6", "4.8", "5", "5.2", "5.4"]),
    ],
)
def test_ticks_are_round_and_few(values: list[float], log: bool, labels: list[str]) -> None:
    scale = scale_of(values, log)
    assert [label for _, label in scale.ticks()] == labels
    assert all(0 <= scale.position(t) <= 1 for t, _ in scale.ticks())
    assert scale.position(values[0]) <= scale.position(values[1])


def test_a_line_is_drawn_where_its_values_lie() -> None:
    (panel,) = panels_of(
        [Line("a", [0.0, 1.0, 2.0], [0.0, 1.0, 0.5])], log_y=None, x_ends=(0.0, 2.0), y_ends=(0.0, 1.0)
    )
    assert panel.series[0].line == "M120 548l408-524 408 262"
    (steps,) = panels_of(
        [Line("a", [0.0, 1.0, 2.0], [0.0, 1.0, 1.0], steps=True)], log_y=None, x_ends=(0.0, 2.0), y_ends=(0.0, 1.0)
    )
    assert steps.series[0].line == "M120 548l408 0 0-524 408 0"
    assert [p.kind for p in panels_of([Line("a", [1.0, 2.0], [-1.0, 0.0])], log_y=True)] == ["linear"]


RECORDS = [
    made_record(m, task, seed, rate, points=8)
    for m, rate in (("a$b", 0.02), ("gru", 0.05))
    for task in ("copy", "adding")
    for seed in range(2)
]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_paper_figure_is_written_the_same_twice(tmp_path: Path, suffix: str) -> None:
    plots = curve_plots(RECORDS, log_y=True)
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    save_plots(first, plots)
    save_plots(second, plots)
    assert first.read_bytes() == second.read_bytes() and len(first.read_bytes()) > 1000


def test_run_with_one_evaluation_is_drawn_as_marker() -> None:
    """A run with one evaluation is drawn as a marker and a longer one as a line."""
    one = [made_record("rnn", seed=seed, rate=0.02, points=1) for seed in range(2)]
    (axes,) = draw_plots(curve_plots(one)).axes
    assert axes.lines[0].get_marker() == "o" and axes.lines[0].get_markevery() == [0]
    assert len(axes.collections) == 2  # the band's end to end as a bar: of one point a band has no width
    for longer in draw_plots(curve_plots(RECORDS)).axes:
        assert {str(line.get_marker()) for line in longer.lines if np.size(line.get_xdata()) > 2} == {"none"}


def test_the_numbers_of_a_figure_are_those_of_the_records(tmp_path: Path) -> None:
    _, numbers = save_plots(tmp_path / "a.png", curve_plots(RECORDS))
    rows = list(csv.DictReader(numbers.read_text().splitlines()))
    assert {row["panel"] for row in rows} == {"adding", "copy"} and len(rows) == 2 * 2 * 8
    losses = [
        r.evaluations[0].metrics["loss"] for r in RECORDS if (r.spec.model.name, r.spec.task.name) == ("gru", "copy")
    ]
    row = next(r for r in rows if (r["panel"], r["model"], r["x"]) == ("copy", "gru", "10.0"))
    assert float(row["low"]) == min(losses) and float(row["high"]) == max(losses)
    assert float(row["y"]) == pytest.approx(sum(losses) / 2)


def test_arrivals_and_profiles_are_drawn_where_there_are_any() -> None:
    (copy, adding) = arrival_plots(RECORDS, "target", "steps")
    assert {copy.title, adding.title} == {"copy: target", "adding: target"}
    assert all(max(line.y) <= 1 for line in copy.lines)
    assert [p.title.split()[0] for p in profile_plots(RECORDS)] == ["steps", "samples", "seconds"]
    slow = [made_record("rnn", seed=s, rate=0.0001, points=3) for s in range(2)]
    with pytest.raises(UserError, match="No run got to its target"):
        arrival_plots(slow, "target", "steps")
    with pytest.raises(UserError, match="there is no profile"):
        profile_plots(slow)
    with pytest.raises(UserError, match="No run has values of bpc"):
        curve_plots(slow, "bpc")
