"""The tables of `speed`."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from stablebench.cli.shared.text import counted
from stablebench.speed.summary import spread
from stablebench.tables import Table

if TYPE_CHECKING:
    from stablebench.speed.experiments import Series, SpeedComparison
    from stablebench.speed.summary import Spread
    from stablebench.speed.workload import Size

_IMPLEMENTATIONS = ("fused", "reference", "literal", "nn.LSTM", "nn.RNN")
_SHOWN_RATIOS = ("literal / fused", "nn.LSTM / fused", "nn.RNN / fused", "fused / floor")
LOSS = "y.backward(d_y) with a fixed gradient of every output; parameters get gradients, inputs none"
_LEGEND = (
    "ms: median of forward and backward, "
    + LOSS
    + ". Contenders run in turn; a ratio is the median over repetitions, [quartiles].",
    "reference, fused, and scan for linear recurrences: the engines. literal: a loop that computes input "
    "projection and step at every step. nn.LSTM, nn.RNN: torch's own of the same hidden size. floor: only the model's "
    "matrix products, one library call each. "
    "transition: building the recurrent matrices, forward and backward, once a pass, in percent of fused. "
    "MB: peak memory of a pass on top of parameters and inputs.",
)


def conditions_line(environment: dict[str, Any]) -> str:
    """Return hardware, threads, precision and versions in one line."""
    flushed = "flushed to zero" if environment["flags"]["flush_denormal"] else "kept"
    parts = [
        environment["hardware"],
        counted(environment["threads"], "thread"),
        environment["precision"],
        f"torch {environment['versions']['torch']}",
        f"subnormals {flushed}",
    ]
    if environment["fused_runs_in_torch"]:
        parts.append(f"fused makes torch calls: {environment['fused_runs_in_torch']}")
    return ", ".join(parts)


def comparison_table(
    size: "Size", rows: "list[SpeedComparison]", memory: bool, conditions: str, *, is_last: bool
) -> Table:
    """Return the table of one size: a row a model.

    Args:
        size: The size.
        rows: The models' times.
        memory: Whether peak memory was measured.
        conditions: The line below the table.
        is_last: Whether the legend stands below it.
    """
    scanned = ("scan",) if any("scan" in row.seconds for row in rows) else ()
    implementations = (*_IMPLEMENTATIONS, *scanned)
    timed = (*implementations, "floor")
    columns: dict[str, Callable[[SpeedComparison], Any]] = {"model": lambda row: label_of(row.work.model)}
    for name in timed:
        columns[f"{name} ms"] = lambda row, name=name: _thousandths(row.median(name))
    for name in (*_SHOWN_RATIOS, *(f"{name} / fused" for name in scanned)):
        columns[name] = lambda row, name=name: _spread(row.ratio(name))
    columns["transition %"] = lambda row: _percent(row.ratio("transition / fused"))
    if memory:
        for name in implementations:
            columns[f"{name} MB"] = lambda row, name=name: _millions(row.peak_bytes.get(name))
    values = [[column(row) for column in columns.values()] for row in rows]
    missing: dict[str, list[str]] = {}
    for row in rows:
        for name, reason in row.absent.items():
            missing.setdefault(f"{label_of(row.work.model)}: {reason}", []).append(name)
    notes = [f"No {' and no '.join(names)} for {reason}." for reason, names in missing.items()]
    minor = ["nn.RNN / fused", *(name for name in reversed(columns) if name.endswith(" MB"))]
    return Table(
        list(columns), values, title=str(size), notes=[*notes, conditions, *(_LEGEND if is_last else ())], minor=minor
    )


def series_tables(series: "list[Series]", scaling: bool, conditions: str) -> Iterator[Table]:
    """Yield the tables of `--scaling`, or of `--parametrisation`.

    Args:
        series: The times.
        scaling: Which of the two.
        conditions: The line below a table.
    """
    if not scaling:
        yield _series_table(
            series,
            "recurrent_weights(), forward and backward, ms",
            "H",
            [conditions, "Median [quartiles]; widths run in turn."],
        )
        return
    for axis, letter in (("steps", "T"), ("hidden", "H")):
        of_axis = [one for one in series if one.axis == axis]
        base = of_axis[0].base
        fixed = f"B {base.batch}, " + (f"H {base.hidden}" if axis == "steps" else f"T {base.steps}")
        notes = [
            conditions,
            f"Median of forward and backward, {LOSS}; sizes run in turn. exponent: p of the least squares fit "
            f"time = c {letter}^p through the logarithms of the medians.",
        ]
        yield _series_table(of_axis, f"fused against {letter}, {fixed}, ms", letter, notes, law=True)


def _series_table(series: "list[Series]", title: str, letter: str, notes: list[str], law: bool = False) -> Table:
    values = sorted({value for one in series for value in (*one.seconds, *one.left_out)})
    rows = []
    for one in series:
        row: list[Any] = [label_of(one.model)]
        for value in values:
            seconds = one.seconds.get(value)
            if law:
                row.append(_thousandths(None if seconds is None else spread(seconds).median))
            else:
                row.append(None if seconds is None else _spread(spread([1e3 * s for s in seconds])))
        if law:
            row += [None, None] if one.law is None else [f"{one.law.exponent:.3f}", f"{one.law.r2:.5f}"]
        rows.append(row)
    reasons: dict[str, list[str]] = {}
    for one in series:
        for value, reason in one.left_out.items():
            reasons.setdefault(f"{label_of(one.model)}: {reason}", []).append(f"{letter} {value}")
    missing = [f"No {', '.join(at)} for {reason}." for reason, at in reasons.items()]
    columns = ["model", *(f"{letter} {value}" for value in values), *(["exponent", "r^2"] if law else [])]
    return Table(columns, rows, title=title, notes=[*missing, *notes])


def label_of(model: str) -> str:
    """Return a model's name; of a user's own model its class."""
    return model.rpartition(":")[2]


def _thousandths(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def _millions(size: int | None) -> float | None:
    return None if size is None else size / 1e6


def _percent(ratio: "Spread | None") -> float | None:
    return None if ratio is None else 100 * ratio.median


def _spread(spread: "Spread | None") -> str | None:
    return None if spread is None else f"{spread.median:.3g} [{spread.q1:.3g}, {spread.q3:.3g}]"
