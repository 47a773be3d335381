"""Time models side by side: the engines, a literal loop, torch's own networks, and their bare matrix products."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stablebench.cli.ui.output import Format, Table, print_json, print_tables, refuse_two_formats, say
from stablebench.errors import UserError
from stablebench.schema.seeds import MAX_SEED, WHY

if TYPE_CHECKING:
    from stablebench.speed.experiments import Comparison, Conditions, Series
    from stablebench.speed.summary import Spread
    from stablebench.speed.workload import Size, Workload

MODELS = ("roarnn", "cornn", "nnrnn", "exprnn", "dizzy", "rnn", "lstm", "gru")
SIZES = ("50,128,500", "100,128,784", "100,256,784", "128,190,420", "32,64,200")
BASE = "32,128,500"
LENGTHS = "200,500,1000,2000,5000,10000"
SCALED_WIDTHS = "64,128,256,512"
PARAMETRISED_WIDTHS = "64,128,190,256,512"
_LEAST_REPEATS = 3
_IMPLEMENTATIONS = ("fused", "reference", "literal", "nn.LSTM", "nn.RNN")
_SHOWN_RATIOS = ("literal / fused", "nn.LSTM / fused", "nn.RNN / fused", "fused / floor")
_LOSS = "y.backward(d_y) with a fixed gradient of every output; parameters get gradients, inputs none"
_LEGEND = (
    "ms: median of forward and backward, "
    + _LOSS
    + ". Contenders run in turn; a ratio is the median over repetitions, [quartiles].",
    "reference, fused, and scan for linear recurrences: the engines. literal: a loop that computes drive and step at "
    "every step. nn.LSTM, nn.RNN: torch's own of the same hidden size. floor: the model's matrix products alone, one "
    "library call each. "
    "transition: building the recurrent matrices, forward and backward, once a pass, in percent of fused. "
    "MB: peak memory of a pass on top of parameters and inputs.",
)


def speed(
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"A model, or path/to/file.py:Class. Repeatable; {', '.join(MODELS)}."),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="B,H,T",
            help=f"Batch, hidden size, steps. Repeatable; {' '.join(SIZES)}. With --scaling one, {BASE}.",
        ),
    ] = None,
    inputs: Annotated[int, typer.Option(metavar="N", help="Width of the inputs.")] = 1,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Time fused against T and against H, and fit the exponents.")
    ] = False,
    parametrisation: Annotated[
        bool, typer.Option("--parametrisation", help="Time transition() alone against H.")
    ] = False,
    lengths: Annotated[str | None, typer.Option(metavar="T,T,...", help=f"For --scaling; {LENGTHS}.")] = None,
    widths: Annotated[
        str | None,
        typer.Option(
            metavar="H,H,...", help=f"For --scaling, {SCALED_WIDTHS}; for --parametrisation, {PARAMETRISED_WIDTHS}."
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(metavar="N", help="Timed passes of each contender.")] = 7,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Measure peak memory, too.")] = True,
    threads: Annotated[int, typer.Option(metavar="N", help="CPU threads.")] = 1,
    seed: Annotated[int, typer.Option(metavar="N", help="Decides parameters and inputs.")] = 0,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")] = "auto",
    precision: Annotated[
        Literal["float32", "float64"], typer.Option(help="Floating-point type of all tensors.")
    ] = "float32",
    fmt: Annotated[Format, typer.Option("--format", help="How the tables are printed.")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document with every repetition.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing while running.")] = False,
) -> None:
    """Time models side by side, forward and backward over whole sequences.

    For each size a table: the engines, a literal loop over the equation, torch.nn.LSTM and torch.nn.RNN, and the bare
    matrix products, timed in turn. With --scaling or --parametrisation a table of that instead.
    """
    for option, value, least in (
        ("--repeats", repeats, _LEAST_REPEATS),
        ("--inputs", inputs, 1),
        ("--threads", threads, 1),
        ("--seed", seed, 0),
    ):
        if value < least:
            raise UserError(f"`{option}` must be >= {least}, got {value}.")
    if seed > MAX_SEED:
        raise UserError(f"`--seed` must be <= {MAX_SEED} ({WHY}), got {seed}.")
    if scaling and parametrisation:
        raise UserError("--scaling and --parametrisation are two measurements; give one of them.")
    if lengths is not None and not scaling:
        raise UserError("`--lengths` belongs to --scaling; the steps of a table are the T of --size B,H,T.")
    if widths is not None and not (scaling or parametrisation):
        raise UserError("`--widths` belongs to --scaling and --parametrisation; give --size B,H,T.")
    refuse_two_formats(fmt, as_json)
    if size and parametrisation:
        raise UserError("`--size` has no meaning for --parametrisation; give --widths.")
    if size and scaling and len(size) > 1:
        raise UserError(f"`--size` must be given once with --scaling, got {len(size)} of them.")

    from stablebench.cli.ui.speed import SpeedProgress
    from stablebench.models.build import resolve_device
    from stablebench.process.settings import prepare_process
    from stablebench.speed.experiments import Conditions
    from stablebench.speed.workload import Workload

    single = scaling or parametrisation
    sizes = [_size(text) for text in dict.fromkeys(size or ((BASE,) if single else SIZES))]
    ts = _numbers("--lengths", lengths or LENGTHS)
    hs = _numbers("--widths", widths or (SCALED_WIDTHS if scaling else PARAMETRISED_WIDTHS))
    prepare_process(threads, precision)
    where = resolve_device(device).type
    names = list(dict.fromkeys(model or MODELS))
    works = {s: [Workload(name, s, inputs, seed, where) for name in names] for s in sizes}
    _require_buildable(works, ts if scaling else [], hs if single else [])
    conditions = Conditions(repeats, threads, precision)
    environment, measured = _environment(where, conditions), _measured(seed, inputs, repeats)
    as_json = as_json or fmt == "json"
    direct = fmt == "table" and not as_json  # a table is shown when it is done
    tables: list[Table] = []

    def show(table: Table) -> None:
        tables.append(table)
        if direct:
            print_tables([table])
            say("")

    with SpeedProgress(quiet) as progress:
        if single:
            found = list(_series(works[sizes[0]], scaling, ts, hs, conditions, progress))
            document = {"series": [series.document() for series in found]}
            for table in _series_tables(found, scaling, _conditions_line(environment)):
                show(table)
        else:
            document = {"sizes": []}
            for s, works_of_size in works.items():
                rows = list(_comparisons(works_of_size, conditions, memory, progress))
                document["sizes"].append(_size_document(s, rows))
                legend = _LEGEND if s == sizes[-1] else ()
                show(_comparison_table(s, rows, memory, _conditions_line(environment), legend))
    if as_json:
        print_json({"environment": environment, "measured": measured, **document})
    elif not direct:
        print_tables(tables, fmt)


def _numbers(option: str, text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise UserError(f"`{option}` must be whole numbers >= 1 with commas between, got '{text}'.")
    return sorted(set(found))


def _size(text: str) -> "Size":
    from stablebench.speed.workload import Size

    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != 3 or min(found) < 1:
        raise UserError(f"`--size` must be B,H,T, three whole numbers >= 1 with commas between, got '{text}'.")
    return Size(*found)


def _require_buildable(works: "dict[Size, list[Workload]]", lengths: list[int], widths: list[int]) -> None:
    """Build every model once at every size, so that a refusal comes before the measurements."""
    from dataclasses import replace

    for size, of_size in works.items():
        for work in of_size:
            if not widths:
                work.build_model()
            for steps in lengths:
                replace(work, size=replace(size, steps=steps)).build_model()
            for hidden in widths:
                replace(work, size=replace(size, hidden=hidden)).build_model()


def _comparisons(
    works: "list[Workload]", conditions: "Conditions", memory: bool, progress: Any
) -> "Iterator[Comparison]":
    from stablebench.speed.experiments import compare

    for i, work in enumerate(works):
        progress.start(f"timing {_label(work.model)} at {work.size} ({i + 1} of {len(works)})")
        yield compare(work, conditions, progress.watch, memory=memory)


def _series(
    works: "list[Workload]",
    scaling: bool,
    lengths: list[int],
    widths: list[int],
    conditions: "Conditions",
    progress: Any,
) -> "Iterator[Series]":
    from stablebench.speed.experiments import parametrise, scale

    for i, work in enumerate(works):
        where = f"({i + 1} of {len(works)})"
        if scaling:
            progress.start(f"timing {_label(work.model)} against T {where}")
            yield scale(work, "steps", lengths, conditions, progress.watch)
            progress.start(f"timing {_label(work.model)} against H {where}")
            yield scale(work, "hidden", widths, conditions, progress.watch)
        else:
            progress.start(f"timing transition() of {_label(work.model)} {where}")
            yield parametrise(work, widths, conditions, progress.watch)


def _environment(device: str, conditions: "Conditions") -> dict[str, Any]:
    import torch

    from stablebench.engines.fused.engine import torch_calls_reason
    from stablebench.process.settings import commit, flags, hardware, versions

    return {
        "device": device,
        "hardware": hardware(device),
        "threads": conditions.threads,
        "precision": conditions.precision,
        "versions": versions(),
        "flags": flags(),
        "fused_runs_in_torch": torch_calls_reason(torch.device(device), getattr(torch, conditions.precision)),
        "commit": commit(),
    }


def _measured(seed: int, inputs: int, repeats: int) -> dict[str, Any]:
    from stablebench.speed.timing import WARM_UPS

    return {
        "pass": _LOSS,
        "order": "round robin",
        "warm_ups": WARM_UPS,
        "repeats": repeats,
        "seed": seed,
        "inputs": inputs,
    }


def _conditions_line(environment: dict[str, Any]) -> str:
    threads = environment["threads"]
    flushed = "flushed to zero" if environment["flags"]["flush_denormal"] else "kept"
    parts = [
        environment["hardware"],
        f"{threads} thread{'s' if threads > 1 else ''}",
        environment["precision"],
        f"torch {environment['versions']['torch']}",
        f"subnormals {flushed}",
    ]
    if environment["fused_runs_in_torch"]:
        parts.append(f"fused makes torch calls: {environment['fused_runs_in_torch']}")
    return ", ".join(parts)


def _size_document(size: "Size", rows: "list[Comparison]") -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(size), "models": [row.document() for row in rows]}


def _comparison_table(
    size: "Size", rows: "list[Comparison]", memory: bool, conditions: str, legend: tuple[str, ...]
) -> Table:
    scanned = ("scan",) if any("scan" in row.seconds for row in rows) else ()
    implementations = (*_IMPLEMENTATIONS, *scanned)
    timed = (*implementations, "floor")
    columns: dict[str, Callable[[Comparison], Any]] = {"model": lambda row: _label(row.work.model)}
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
            missing.setdefault(f"{_label(row.work.model)}: {reason}", []).append(name)
    notes = [f"No {' and no '.join(names)} for {reason}." for reason, names in missing.items()]
    minor = ["nn.RNN / fused", *(name for name in reversed(columns) if name.endswith(" MB"))]
    return Table(list(columns), values, title=str(size), notes=[*notes, conditions, *legend], minor=minor)


def _series_tables(found: "list[Series]", scaling: bool, conditions: str) -> Iterator[Table]:
    if not scaling:
        yield _series_table(
            found,
            "transition(), forward and backward, ms",
            "H",
            [conditions, "Median [quartiles]; widths run in turn."],
        )
        return
    for axis, letter in (("steps", "T"), ("hidden", "H")):
        of_axis = [series for series in found if series.axis == axis]
        base = of_axis[0].base
        fixed = f"B {base.batch}, " + (f"H {base.hidden}" if axis == "steps" else f"T {base.steps}")
        notes = [
            conditions,
            f"Median of forward and backward, {_LOSS}; sizes run in turn. exponent: p of the least squares fit "
            f"time = c {letter}^p through the logarithms of the medians.",
        ]
        yield _series_table(of_axis, f"fused against {letter}, {fixed}, ms", letter, notes, law=True)


def _series_table(found: "list[Series]", title: str, letter: str, notes: list[str], law: bool = False) -> Table:
    from stablebench.speed.summary import spread

    values = sorted({value for series in found for value in (*series.seconds, *series.left_out)})
    rows = []
    for series in found:
        row: list[Any] = [_label(series.model)]
        for value in values:
            seconds = series.seconds.get(value)
            if law:
                row.append(_thousandths(None if seconds is None else spread(seconds).median))
            else:
                row.append(None if seconds is None else _spread(spread([1e3 * s for s in seconds])))
        if law:
            row += [None, None] if series.law is None else [f"{series.law.exponent:.3f}", f"{series.law.r2:.5f}"]
        rows.append(row)
    reasons: dict[str, list[str]] = {}
    for series in found:
        for value, reason in series.left_out.items():
            reasons.setdefault(f"{_label(series.model)}: {reason}", []).append(f"{letter} {value}")
    missing = [f"No {', '.join(at)} for {reason}." for reason, at in reasons.items()]
    columns = ["model", *(f"{letter} {value}" for value in values), *(["exponent", "r^2"] if law else [])]
    return Table(columns, rows, title=title, notes=[*missing, *notes])


def _label(model: str) -> str:
    """Return a model's name, of a user's file the class's."""
    return model.rpartition(":")[2]


def _thousandths(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def _millions(size: int | None) -> float | None:
    return None if size is None else size / 1e6


def _percent(ratio: "Spread | None") -> float | None:
    return None if ratio is None else 100 * ratio.median


def _spread(spread: "Spread | None") -> str | None:
    return None if spread is None else f"{spread.median:.3g} [{spread.q1:.3g}, {spread.q3:.3g}]"
