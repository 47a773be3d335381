"""Summaries over seeds of how far an accuracy holds, against numbers worked out by hand."""

from run_maker import made_record

from stablebench.leaderboard.length_curves import format_held, format_held_interval, length_curve
from stablebench.schema.measured import Measurements
from stablebench.schema.run_record import RunRecord


def scored(seed: int, accuracies: dict[int, float], drawn: float | None = None) -> RunRecord:
    record = made_record("rnn", "parity", seed)
    record = record.model_copy(update={"result": record.result.model_copy(update={"tested_step": 200})})
    lengths = {str(length): {"accuracy": accuracy} for length, accuracy in accuracies.items()}
    lengths |= {} if drawn is None else {"40-256": {"accuracy": drawn}}
    record.take_measured(Measurements(spec_hash=record.spec_hash, step=200, lengths=lengths))
    return record


def test_the_longest_length_is_the_median_of_the_seeds() -> None:
    """Three seeds hold 40, 128 and nothing; a length that one seed lacks is no length of the row."""
    curve = length_curve(
        [
            scored(0, {40: 1.0, 64: 0.8, 128: 0.95, 512: 1.0}, 0.6),
            scored(1, {40: 0.9, 64: 0.9, 128: 0.9}, 0.9),
            scored(2, {40: 0.89, 64: 1.0, 128: 1.0}, 0.7),
        ]
    )
    assert curve is not None
    assert curve.held == {"0": 40, "1": 128, "2": 0} and curve.longest_held == 40 and curve.longest == 128
    assert curve.median == {"40": 0.9, "64": 0.9, "128": 0.95}
    assert (curve.solved, curve.ended, curve.mean_40_256, curve.interval) == (1, 3, 0.7, None)
    assert format_held_interval(curve) == "range none to >= 128" and format_held(40, curve) == "40"


def test_five_seeds_have_an_interval_and_say_what_it_covers() -> None:
    curve = length_curve([scored(seed, {40: 1.0, 64: 1.0 if seed > 1 else 0.0, 128: 0.5}) for seed in range(5)])
    assert curve is not None and curve.interval == (40, 64) and curve.longest_held == 64
    assert format_held_interval(curve) == "40 to 64 (94 %)" and curve.mean_40_256 is None


def test_a_diverged_seed_holds_nothing() -> None:
    lost = made_record("rnn", "parity", 1, status="diverged")
    curve = length_curve([scored(0, {40: 1.0}), lost, scored(2, {40: 1.0})])
    assert curve is not None and curve.held == {"0": 40, "1": 0, "2": 40}
    assert (curve.solved, curve.ended) == (2, 3) and curve.longest_held == 40
    assert length_curve([made_record("rnn", "parity", 0)]) is None and length_curve([lost]) is None


def test_one_seed_has_neither_interval_nor_range() -> None:
    curve = length_curve([scored(0, {40: 1.0})])
    assert curve is not None and format_held_interval(curve) is None
