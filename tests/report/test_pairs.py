"""Pairs of models as a matrix: in `plot pairs` with its numbers, and on the page."""

import csv
from pathlib import Path

import pytest
from run_maker import made_record

from stablebench.errors import UserError
from stablebench.report.figures.leaderboard import matrices
from stablebench.report.figures.matrix import save_matrices
from stablebench.report.page import page

RATES = {"fast": 0.05, "slow": 0.02, "slower": 0.0199}


def records(seeds: int, tasks: tuple[str, ...] = ("copy",)) -> list:
    return [
        made_record(model, task, seed, rate) for task in tasks for model, rate in RATES.items() for seed in range(seeds)
    ]


def test_the_matrix_says_who_beats_whom(tmp_path: Path) -> None:
    drawn = matrices(records(6, ("copy", "adding")))
    assert [matrix.title for matrix in drawn] == ["adding", "copy", "over tasks"]
    (matrix,) = drawn[:1]
    assert list(matrix.names) == ["fast", "slow", "slower"]
    cells = matrix.cells
    # six seeds of each, all of one below all of the other: p = 3 x 2 / 924
    assert cells[0][1] == (1.0, "better") and cells[1][0] == (0.0, "worse") and cells[0][0] is None
    chance, verdict = cells[1][2] or (0, "")
    assert verdict == "undecided" and 0.5 < chance < 1
    written = save_matrices(tmp_path / "pairs.svg", drawn)
    assert [path.name for path in written] == ["pairs.svg", "pairs.csv"]
    lines = list(csv.DictReader((tmp_path / "pairs.csv").read_text().splitlines()))
    assert len(lines) == 3 * 6 and lines[0] == {
        "panel": "adding",
        "model": "fast",
        "other": "slow",
        "P(better)": "1.0",
        "verdict": "better",
    }
    assert ">1.00<" in (tmp_path / "pairs.svg").read_text()


def test_below_five_seeds_there_is_no_matrix() -> None:
    with pytest.raises(UserError, match="No two models have five seeds each"):
        matrices(records(4))


def test_the_page_tests_pairs_from_five_seeds_on() -> None:
    def text(seeds: int) -> str:
        return page("t", [(Path(f"{i}"), record) for i, record in enumerate(records(seeds))], how="report")

    few, enough = text(4), text(6)
    assert "Pairs are compared from 5 seeds of each on" in few and 'class="matrix"' not in few
    assert "range " in few and "95 % of the median" in few
    assert 'class="better" title="better">1.00' in enough and "Not beaten at 95 %: fast." in enough
    assert "more seeds (power 0.8)" in enough or "no number of seeds" in enough
