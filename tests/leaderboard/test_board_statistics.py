"""What a leaderboard supports, on boards whose statistics can be worked out by hand."""

import json
import math
import random
from typing import Any

import pytest
from made_boards import made_board, made_row, made_table

from stablebench import stats
from stablebench.leaderboard import Decisions, render_statistics, statistics
from stablebench.leaderboard.normalise import normalised
from stablebench.leaderboard.ranking import rank
from stablebench.leaderboard.statistics_text import statistics_tables
from stablebench.schema.leaderboard import LeaderboardRow, LeaderboardTable, QuotedScore
from stablebench.schema.leaderboard_statistics import LeftOut, Statistics


def row(
    name: str, *scores: float, diverged: int = 0, to_target: list[int | None] | None = None, **more: Any
) -> LeaderboardRow:
    """Return a row of runs of 100 updates of 8 examples, 10 a second; `to_target` holds None for a run never there."""
    steps = to_target if to_target is not None else [None] * len(scores)
    there = [s for s in steps if s is not None]
    missed = len(steps) - len(there)
    target = {
        "steps": there,
        "seconds": [s / 10 for s in there],
        "steps_followed": [100] * missed + [None] * diverged,
        "seconds_followed": [10.0] * missed + [None] * diverged,
    }
    given = {
        "n": len(scores),
        "ended": len(scores) + diverged,
        "diverged": diverged,
        "seeds": {str(i): s for i, s in enumerate(scores)},
        "min": min(scores, default=None),
        "max": max(scores, default=None),
        "arrivals": {"baseline": target, "target": target},
    }
    return made_row(name, **(given | more))


def table(task: str, *rows: LeaderboardRow, higher: bool = False, target: float | None = 0.9) -> LeaderboardTable:
    metric, baseline = ("accuracy", 0.2) if higher else ("loss", 2.0)
    rows = tuple(row.replaced(metric=metric) for row in rows)
    return made_table(task, *rows, metric=metric, higher_is_better=higher, baseline=baseline, target=target)


def of(*tables: LeaderboardTable) -> Statistics:
    found = statistics(made_board(*tables))
    json.dumps(found.model_dump(), allow_nan=False)  # plain and finite
    return found


def test_normalised_scores_run_from_the_baseline_to_perfect() -> None:
    assert normalised("loss", 0.5, 2.0) == 0.75
    assert normalised("accuracy", 0.6, 0.2) == pytest.approx(0.5)
    assert normalised("perplexity", 26.0, 51.0) == 0.5
    assert normalised("sequence_accuracy", 1.0, 0.0) == 1.0 and normalised("scaled_accuracy", 0.25, 0.0) == 0.25
    assert normalised("loss", 9.0, 2.0) == 0.0 == normalised("loss", None, 2.0)
    assert normalised("loss", 1.0, None) is None and normalised("loss", 1.0, 0.0) is None


def test_a_row_says_what_papers_print_and_its_intervals() -> None:
    (found,) = of(table("t", row("a", 1.0, 2.0, 3.0, 4.0))).tables[0].rows
    assert (found.iqm, found.median, found.mean) == (2.5, 2.5, 2.5)
    assert found.standard_deviation == pytest.approx(math.sqrt(5 / 3))
    assert found.standard_error == pytest.approx(math.sqrt(5 / 12))
    assert (found.median_interval, found.coverage, found.iqm_interval) == (None, None, None)
    # mean 2.5 and 3.18245 standard errors of 0.645497: Student's t of 3 degrees of freedom
    assert found.mean_interval == pytest.approx((2.5 - 3.18245 * 0.645497, 2.5 + 3.18245 * 0.645497), rel=1e-5)
    (five,) = of(table("t", row("a", 5.0, 1.0, 2.0, 3.0, 4.0))).tables[0].rows
    assert (five.median_interval, five.coverage) == ((1.0, 5.0), 0.9375)


def test_an_interval_says_what_it_is_of() -> None:
    text = render_statistics(
        of(
            table(
                "t",
                row("four", 1.0, 2.0, 3.0, 4.0),
                row("five", *map(float, range(5))),
                row("six", *map(float, range(6))),
            )
        )
    )
    assert "95 % of the median" in text and "95 % of the mean (t)" in text
    assert "range 1 to 4" in text and "0 to 4 (94 %)" in text and "0 to 5  " in text


def test_diverged_seeds_count_as_worse_than_any() -> None:
    (found,) = of(table("t", row("a", 1.0, 2.0, 3.0, diverged=2))).tables[0].rows
    assert (found.n, found.diverged, found.median, found.median_interval) == (3, 2, 3.0, None)
    assert found.mean_interval is None
    # nine runs: from the second lowest to the second highest, which has a score still
    (most,) = of(table("t", row("a", *map(float, range(8)), diverged=1))).tables[0].rows
    assert (most.median, most.median_interval) == (4.0, (1.0, 7.0))
    (lost,) = of(table("t", row("a", diverged=2))).tables[0].rows
    assert lost.iqm is None and lost.mean is None


def test_arrivals_are_restricted_to_horizon_that_all_rows_share() -> None:
    """Arrivals are restricted to a horizon that all rows share."""
    fast = row("fast", 0.1, 0.1, to_target=[20, 40])
    late = row("late", 0.1, 0.1, to_target=[60, None])
    lost = row("lost", 0.1, diverged=1, to_target=[80])
    found = {r.name: r.arrivals["target"] for r in of(table("t", fast, late, lost)).tables[0].rows}
    assert {r["steps"].horizon for r in found.values()} == {100}
    assert [found[n]["steps"].restricted_mean for n in ("fast", "late", "lost")] == [30.0, 80.0, 90.0]
    assert found["late"]["steps"].curve == [(0.0, 1.0), (60.0, 0.5)]
    assert (found["lost"]["steps"].reached, found["lost"]["steps"].of) == (1, 2)
    assert found["fast"]["seconds"].restricted_mean == 3.0


def test_seconds_have_a_horizon_for_each_class_of_hardware() -> None:
    slow = row("slow", 0.1, to_target=[None], hardware="cpu, old, 1 thread")
    late = slow.arrivals.target.replaced(seconds_followed=[500.0])
    slow = slow.replaced(arrivals=slow.arrivals.replaced(target=late))
    found = of(table("t", row("a", 0.1, to_target=[None]), slow)).tables[0].rows
    assert [r.arrivals["target"]["seconds"].horizon for r in found] == [10.0, 500.0]
    assert [r.arrivals["target"]["steps"].horizon for r in found] == [100, 100]


def test_pairs_name_the_better_one_and_are_corrected() -> None:
    a, b, c = (
        row("a", *map(float, range(5))),
        row("b", *map(float, range(10, 15))),
        row("c", 20.0, 21.0, 22.0, diverged=2),
    )
    found = of(table("t", b, a, c)).tables[0]
    pairs = {(p.better, p.worse): p for p in found.pairs}
    assert set(pairs) == {("a", "b"), ("a", "c"), ("b", "c")}
    assert all(p.probability == 1.0 for p in pairs.values())
    assert pairs["a", "b"].p == pytest.approx(2 / 252)
    assert all(p.p_holm == pytest.approx(6 / 252) for p in pairs.values())  # the largest factor holds all up
    assert found.smallest_p_holm == pytest.approx(6 / 252)
    text = render_statistics(of(table("t", b, a, c)))
    assert "3 of 3 pairs differ at 5 %" in text
    few = render_statistics(of(table("t", row("a", 1.0, 2.0), row("b", 3.0, 4.0))))
    assert "0 of 0 pairs differ" in few and "Pairs are compared from 5 seeds of each on: 1 have fewer." in few
    assert "Not beaten at 95 %: a." in text and found.leaders == ["a"]
    short = of(table("t", row("a", 1.0, 2.0), row("b", 3.0, 4.0))).tables[0]
    assert (short.pairs[0].p, short.pairs[0].decision, short.leaders) == (None, None, None)


def test_an_undecided_pair_says_what_it_would_take() -> None:
    a, b = row("a", 1.0, 2.0, 3.0, 6.0, 7.0), row("b", 4.0, 5.0, 8.0, 9.0, 10.0)
    found = of(table("t", a, b))
    (pair,) = found.tables[0].pairs
    assert pair.probability == pytest.approx(21 / 25) and pair.decision is not None
    # ((1.96 / sqrt 6 + 0.8416 sqrt(0.84 x 0.16)) / 0.34)^2 = 10.6, so 11 seeds
    assert pair.decision.verdict == "undecided" and pair.decision.more_seeds == 6
    assert pair.decision.smallest_p == pytest.approx(2 / 252)
    assert found.tables[0].leaders == ["a", "b"]
    text = render_statistics(found)
    assert "undecided: about 6 more seeds (power 0.8); smallest attainable p is 0.0079" in text
    even = render_statistics(of(table("t", row("a", 1.0, 4.0, 5.0, 8.0, 9.0), row("b", 2.0, 3.0, 6.0, 7.0, 5.0))))
    assert "undecided: no number of seeds within reach at this effect" in even or "more seeds" in even


def test_models_that_differ_by_less_than_a_margin_are_equal() -> None:
    a, b = row("a", 0.90, 0.91, 0.92, 0.93, 0.94), row("b", 0.905, 0.915, 0.925, 0.935, 0.945)
    board = made_board(table("t", a, b))

    def verdict(margin: float | None) -> str:
        (pair,) = statistics(board, margin).tables[0].pairs
        assert pair.decision is not None
        return pair.decision.verdict

    assert verdict(None) == "undecided" == verdict(0.01)
    assert verdict(0.1) == "equal"  # either, made worse by 0.1, is worse than all of the other
    clear = made_board(
        table("t", row("a", *(0.1 + i / 1000 for i in range(5))), row("b", *(0.2 + i / 1000 for i in range(5))))
    )
    (pair,) = statistics(clear, 0.01).tables[0].pairs
    assert pair.decision is not None and pair.decision.verdict == "better"
    (pair,) = statistics(clear, 0.2).tables[0].pairs
    assert pair.decision is not None and pair.decision.verdict == "equal"
    assert "equal within 0.2" in render_statistics(statistics(clear, 0.2))


def test_of_identical_models_few_are_called_better() -> None:
    rng = random.Random(3)
    called = 0
    for _ in range(300):
        rows = [row(name, *(rng.gauss(0, 1) for _ in range(5))) for name in "abc"]
        found = of(table("t", *rows))
        called += any(pair.decision is not None and pair.decision.verdict == "better" for pair in found.tables[0].pairs)
    assert called / 300 <= 0.05


def test_the_direction_of_the_metric_decides_who_is_better() -> None:
    (pair,) = of(table("t", row("a", 0.9, 0.8), row("b", 0.2, 0.3), higher=True)).tables[0].pairs
    assert (pair.better, pair.worse, pair.probability) == ("a", "b", 1.0)


def quoted(name: str, losses: list[float], accuracies: list[float]) -> LeaderboardRow:
    """Return a row of a task that is trained on a loss and quoted in accuracy."""
    seeds = {str(i): value for i, value in enumerate(accuracies)}
    ends = {"min": min(accuracies), "max": max(accuracies), "interval": (min(accuracies), max(accuracies))}
    shown = QuotedScore(metric="accuracy", score=sorted(accuracies)[2], seeds=seeds, **ends)
    return row(name, *losses).replaced(score=sorted(losses)[2], quoted=shown)


def test_whatever_is_compared_is_the_score_that_is_shown() -> None:
    """Of the losses b is better, of the accuracies, which the table shows, a is."""
    a = quoted("a", [1.0, 1.1, 1.2, 1.3, 1.4], [0.95, 0.96, 0.97, 0.98, 0.99])
    b = quoted("b", [0.1, 0.2, 0.3, 0.4, 0.5], [0.6, 0.61, 0.62, 0.63, 0.64])
    one = table("t", *rank([b, a])).replaced(quoted_baseline=0.25)
    assert [(r.name, r.rank, r.best) for r in one.rows] == [("a", 1, True), ("b", 2, False)]
    found = of(one, one.replaced(task="u"))
    of_task = found.tables[0]
    (pair,) = of_task.pairs
    assert (pair.better, of_task.leaders, of_task.metric) == ("a", ["a"], "accuracy")
    assert [(r.name, r.median, r.max) for r in of_task.rows] == [("a", 0.97, 0.99), ("b", 0.62, 0.64)]
    assert [r.name for r in found.overall.rows] == ["a", "b"] and found.overall.leaders == ["a"]
    assert found.overall.rows[0].median == pytest.approx((0.97 - 0.25) / 0.75)
    decisions = Decisions(stats.SeedPlan(looks=(5,), level=0.05), pairs=1)
    decisions.look(made_board(one), 5)
    assert [(d.better, d.verdict) for d in decisions.document().decisions] == [("a", "better")]
    close = statistics(made_board(table("t", a, quoted("c", [5.0] * 5, [0.955, 0.965, 0.97, 0.985, 0.99]))), 0.05)
    (near,) = close.tables[0].pairs
    assert near.decision is not None and near.decision.verdict == "equal"  # 0.05 of accuracy, not of loss


def test_nobody_is_called_unbeaten_where_nobody_could_be_beaten() -> None:
    """With 5 seeds no p of a first of 10 pairs is below 10 x 2 / C(10, 5) = 0.079; 6 seeds give 0.022."""
    few = table("t", *(row(name, *(i * 10.0 + j for j in range(5))) for i, name in enumerate("abcde")))
    (found,) = of(few).tables
    assert (found.leaders, found.seeds_to_tell) == (None, 6)
    text = render_statistics(of(few))
    assert "Not beaten" not in text
    assert "Too few seeds to tell any of 10 pairs apart at 5 % for all together: 6 of each could." in text
    more = table("t", *(row(name, *(i * 10.0 + j for j in range(6))) for i, name in enumerate("abcde")))
    assert (of(more).tables[0].leaders, of(more).tables[0].seeds_to_tell) == (["a"], None)
    assert stats.fewest_seeds(1035) == 9 and stats.fewest_seeds(1) == 4 and stats.fewest_seeds(1, tasks=2) == 3


def test_models_are_compared_over_the_tasks_they_share() -> None:
    found = of(
        table("t1", row("a", *[0.5] * 5), row("b", *[1.0] * 5)),
        table("t2", row("a", *[1.0] * 5), row("b", *[0.6] * 5), higher=True),
        table("t3", row("a", *[0.1] * 5)),
    ).overall
    assert (found.models, found.tasks) == (["a", "b"], ["t1", "t2"])
    assert found.left_out == LeftOut(models=[], tasks=["t3"])
    first, second = found.rows
    assert (first.name, first.rank, first.rank_interval) == ("a", 1.0, (1.0, 1.0))
    assert (second.name, second.rank) == ("b", 2.0)
    # a: 0.75 five times and 1 five times; a quarter is left out at either end
    assert (first.iqm, first.iqm_interval) == (pytest.approx(0.875), (pytest.approx(0.875), pytest.approx(0.875)))
    assert second.median == pytest.approx(0.5)
    (pair,) = found.improvement
    assert (pair.name, pair.over, pair.probability) == ("a", "b", 1.0)
    assert pair.p == pair.p_holm == pytest.approx(2 / 252**2) and found.leaders == ["a"]
    few = of(table("t", row("a", 0.1, 0.2), row("b", 0.3, 0.4))).overall
    assert (few.improvement[0].p, few.improvement[0].decision, few.leaders) == (None, None, None)


def test_the_larger_comparison_is_taken() -> None:
    three, two = [row(n, 0.1) for n in "abc"], [row(n, 0.1) for n in "ab"]
    found = of(table("t1", *three), table("t2", *three), table("t3", *two)).overall
    assert (found.models, found.tasks) == (["a", "b", "c"], ["t1", "t2"])  # 6 cells; a and b on all three are 6
    longer = of(table("t1", *three), table("t2", *two), table("t3", *two)).overall
    assert (longer.models, longer.tasks) == (["a", "b"], ["t1", "t2", "t3"])
    assert longer.left_out.models == ["c"]


def test_a_diverged_run_counts_zero_over_tasks_and_ranks_last() -> None:
    found = of(table("t", row("a", 1.9, 1.9), row("b", diverged=2))).overall.rows
    assert [(r.name, r.rank, r.diverged) for r in found] == [("a", 1.0, 0), ("b", 2.0, 2)]
    assert found[1].iqm == 0.0


def test_profiles_in_steps_samples_and_seconds() -> None:
    fast, slow = row("a", 0.1, to_target=[20]), row("b", 0.1, to_target=[40], batch_size=2)
    never, same = row("a", 0.1, to_target=[None]), row("b", 0.1, to_target=[50])
    found = of(table("t1", fast, slow), table("t2", never, same), table("t3", fast, slow, target=None)).overall
    by_unit = {p.unit: {r.name: r for r in p.rows} for p in found.profiles}
    assert set(by_unit) == {"steps", "samples", "seconds"}
    # in steps a is at ratio 1 and never, b at 2 and 1: (1 + 0) / 2 and (2/3 + 1) / 2; t3 has no target
    assert by_unit["steps"]["a"].score == 0.5 and by_unit["steps"]["b"].score == pytest.approx(5 / 6)
    assert by_unit["steps"]["a"].solved == 1
    # in samples b needs 80, a 160
    assert by_unit["samples"]["b"].score == 1.0 and by_unit["samples"]["a"].score == pytest.approx(1 / 3)
    assert by_unit["steps"]["b"].curve == [(1.0, 0.5), (2.0, 1.0), (4.0, 1.0)]


def test_seconds_of_different_hardware_are_not_compared() -> None:
    there = row("b", 0.1, to_target=[40], hardware="cuda, another, 1 thread")
    found = of(table("t", row("a", 0.1, to_target=[20]), there)).overall.profiles
    assert [p.unit for p in found] == ["steps", "samples"]


def test_one_model_or_none_has_no_comparison() -> None:
    assert of(table("t", row("a", 0.1))).overall.rows == []
    assert of().overall.models == []
    assert statistics_tables(of()) == []
    assert render_statistics(of(table("t", row("a", n=0, ended=0))))


FIVE = (0.1, 0.2, 0.3, 0.4, 0.5)


@pytest.mark.parametrize("fmt", ["table", "github", "latex", "html", "csv", "json"])
def test_every_format_shows_every_table(fmt: Any) -> None:
    found = of(table("t", row("a", *FIVE, to_target=[20, 30, 40, 50, 60]), row("b", 7.0, 8.0, 9.0, diverged=2)))
    text = render_statistics(found, fmt)
    for words in ("time to the target", "pairs", "Over tasks", "Probability of improvement"):
        assert words in text
    assert "nan" not in text.lower()
