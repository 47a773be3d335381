"""The tables of `speed`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stablebench.cli.shared.text import counted
from stablebench.tables import Table

if TYPE_CHECKING:
    from stablebench.speed.comparison import SpeedComparison
    from stablebench.speed.summary import Spread
    from stablebench.speed.workload import Size

_IMPLEMENTATIONS = ("fused", "reference", "literal", "nn.LSTM", "nn.RNN")
_SHOWN_RATIOS = ("literal / fused", "nn.LSTM / fused", "nn.RNN / fused", "fused / floor")
LOSS = "y.backward(d_y) with a fixed gradient of every output; parameters get gradients, inputs none"
_LEGEND = (
    "ms: median of forward and backward, "
    + LOSS
    + ". Contenders run in turn; a ratio is the median over repetitions, [quartiles].",
    "reference, fused, scan for linear recurrences, and chunkwise for matrix memories: the engines. literal: a loop "
    "that computes input projection and step at every step. nn.*: torch's own of the same hidden size. floor: only the "
    "model's matrix products, one library call each. share: operations of these products a second, by fused, in "
    "percent of the ceiling, a product of matrices of 1024 x 1024 by MKL or oneDNN, whichever is faster. "
    "transition: building the recurrent matrices, forward and backward, once a pass, in percent of fused. "
    "MB: peak memory of a pass on top of parameters and inputs.",
)


def conditions_line(environment: dict[str, Any]) -> str:
    """Return hardware, threads, precision and versions in one line."""
    flushed = "flushed to zero" if environment["flags"]["flush_denormal"] else "kept"
    words = [
        environment["hardware"],
        counted(environment["threads"], "thread"),
        environment["precision"],
        f"torch {environment['versions']['torch']}",
        f"subnormals {flushed}",
        f"compiled as {environment['tuning'] or 'nothing'}",
    ]
    if "ceiling_flops_per_s" in environment:
        words.append(f"ceiling {environment['ceiling_flops_per_s'] / 1e9:.0f} GFLOP/s")
    return ", ".join(words)


def comparison_table(
    size: "Size", rows: "list[SpeedComparison]", memory: bool, environment: dict[str, Any], *, is_last: bool
) -> Table:
    """Return the table of one size: a row a model.

    Args:
        size: The size.
        rows: The models' times.
        memory: Whether peak memory was measured.
        environment: Where it ran, with the ceiling.
        is_last: Whether the legend stands below it.
    """
    some = [name for name in ("nn.GRU", "scan", "chunkwise") if any(name in row.seconds for row in rows)]
    implementations = (*_IMPLEMENTATIONS, *some)
    timed = (*implementations, "floor")
    columns: dict[str, Callable[[SpeedComparison], Any]] = {"model": lambda row: label_of(row.work.model)}
    for name in timed:
        columns[f"{name} ms"] = lambda row, name=name: _thousandths(row.median(name))
    for name in (*_SHOWN_RATIOS, *(f"{name} / fused" for name in some)):
        columns[name] = lambda row, name=name: spread_text(row.ratio(name))
    highest = environment["ceiling_flops_per_s"]
    columns["share %"] = lambda row: None if (share := row.share(highest)) is None else 100 * share
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
        list(columns),
        values,
        title=str(size),
        notes=[*notes, conditions_line(environment), *(_LEGEND if is_last else ())],
        minor=minor,
    )


def label_of(model: str) -> str:
    """Return a model's name; of a user's own model its class."""
    return model.rpartition(":")[2]


def _thousandths(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def _millions(size: int | None) -> float | None:
    return None if size is None else size / 1e6


def _percent(ratio: "Spread | None") -> float | None:
    return None if ratio is None else 100 * ratio.median


def spread_text(spread: "Spread | None") -> str | None:
    """Return a median and the quartiles around it."""
    return None if spread is None else f"{spread.median:.3g} [{spread.q1:.3g}, {spread.q3:.3g}]"
