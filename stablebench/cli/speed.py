"""Time models side by side: the engines, a literal loop, torch's own networks, and their bare matrix products."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from stablebench.cli.shared.commands import MODEL, option
from stablebench.cli.shared.options import AsJson, Device, Format, Precision, Quiet, Seed, Threads, names_of, numbers_of
from stablebench.cli.ui.output import Table, print_json, print_tables, refuse_two_formats, say
from stablebench.errors import UserError

if TYPE_CHECKING:
    from stablebench.speed.experiments import Conditions, Series, SpeedComparison
    from stablebench.speed.workload import Size, Workload

MODELS = ("roarnn", "cornn", "nnrnn", "exprnn", "dizzy", "rnn", "lstm", "gru")
SIZES = ("50,128,500", "100,128,784", "100,256,784", "128,190,420", "32,64,200")
BASE = "32,128,500"
LENGTHS = "200,500,1000,2000,5000,10000"
SCALED_WIDTHS = "64,128,256,512"
PARAMETRISED_WIDTHS = "64,128,190,256,512"


def speed(
    *,
    models: Annotated[
        list[str] | None,
        option(
            f"Models, or path/to/file.py:Class: a,b or repeated (default: {', '.join(MODELS)}).", MODEL, metavar="A,B"
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        option(
            f"Batch, hidden size, steps. Repeatable (default: {' '.join(SIZES)}; with --scaling one, {BASE}).",
            MODEL,
            metavar="B,H,T",
        ),
    ] = None,
    inputs: Annotated[int, option("Width of the inputs.", MODEL, metavar="N", min=1)] = 1,
    scaling: Annotated[
        bool, option("Time fused against T and against H, and fit the exponents.", None, "--scaling")
    ] = False,
    parametrisation: Annotated[
        bool, option("Time only recurrent_weights(), against H.", None, "--parametrisation")
    ] = False,
    lengths: Annotated[list[str] | None, option(f"T of --scaling (default: {LENGTHS}).", metavar="T,T")] = None,
    widths: Annotated[
        list[str] | None,
        option(
            f"H of --scaling (default: {SCALED_WIDTHS}) or --parametrisation ({PARAMETRISED_WIDTHS}).", metavar="H,H"
        ),
    ] = None,
    repeats: Annotated[int, option("Timed passes of each contender.", metavar="N", min=3)] = 7,
    memory: Annotated[bool, option("Measure peak memory, too.", None, "--memory/--no-memory")] = True,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = 1,
    precision: Precision = "float32",
    fmt: Format = "table",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Time models side by side, forward and backward over whole sequences.

    For each size a table: the engines, a literal loop over the equation, torch.nn.LSTM and torch.nn.RNN, and the bare
    matrix products, timed in turn. With --scaling or --parametrisation a table of that instead.

    Example:
        stablebench speed --models roarnn,lstm --size 32,128,500 --repeats 5
    """
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

    from stablebench.cli.shared.speed_tables import comparison_table, conditions_line, series_tables
    from stablebench.cli.ui.progress import SpeedProgress
    from stablebench.models.build import resolve_device
    from stablebench.process.settings import prepare_process
    from stablebench.speed.experiments import Conditions
    from stablebench.speed.workload import Workload

    single = scaling or parametrisation
    sizes = [_size(text) for text in dict.fromkeys(size or ((BASE,) if single else SIZES))]
    ts = _ascending("--lengths", lengths or [LENGTHS])
    hs = _ascending("--widths", widths or [SCALED_WIDTHS if scaling else PARAMETRISED_WIDTHS])
    names = list(dict.fromkeys(names_of("--models", models) or MODELS))
    conditions = Conditions(repeats, threads or 1, precision or "float32")
    prepare_process(conditions.threads, conditions.precision)
    where = resolve_device(device or "auto").type
    works = {s: [Workload(name, s, inputs, seed or 0, where) for name in names] for s in sizes}
    _require_buildable(works, ts if scaling else [], hs if single else [])
    environment, measured = _environment(where, conditions), _measured(seed or 0, inputs, repeats)
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
            series = list(_series(works[sizes[0]], scaling, ts, hs, conditions, progress))
            document = {"series": [one.document() for one in series]}
            for table in series_tables(series, scaling, conditions_line(environment)):
                show(table)
        else:
            document = {"sizes": []}
            for s, works_of_size in works.items():
                rows = list(_comparisons(works_of_size, conditions, memory, progress))
                document["sizes"].append({**asdict(s), "models": [row.document() for row in rows]})
                show(comparison_table(s, rows, memory, conditions_line(environment), is_last=s == sizes[-1]))
    if as_json:
        print_json({"environment": environment, "measured": measured, **document})
    elif not direct:
        print_tables(tables, fmt)


def _ascending(option: str, values: list[str]) -> list[int]:
    return sorted(set(numbers_of(option, values) or []))


def _size(text: str) -> "Size":
    from stablebench.speed.workload import Size

    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or min(numbers) < 1:
        raise UserError(f"`--size` must be B,H,T, three whole numbers >= 1 with commas between, got '{text}'.")
    return Size(*numbers)


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
) -> "Iterator[SpeedComparison]":
    from stablebench.cli.shared.speed_tables import label_of
    from stablebench.speed.experiments import compare

    for i, work in enumerate(works):
        progress.start(f"timing {label_of(work.model)} at {work.size} ({i + 1} of {len(works)})")
        yield compare(work, conditions, progress.watch, memory=memory)


def _series(
    works: "list[Workload]",
    scaling: bool,
    lengths: list[int],
    widths: list[int],
    conditions: "Conditions",
    progress: Any,
) -> "Iterator[Series]":
    from stablebench.cli.shared.speed_tables import label_of
    from stablebench.speed.experiments import parametrise, scale

    for i, work in enumerate(works):
        where = f"({i + 1} of {len(works)})"
        if scaling:
            progress.start(f"timing {label_of(work.model)} against T {where}")
            yield scale(work, "steps", lengths, conditions, progress.watch)
            progress.start(f"timing {label_of(work.model)} against H {where}")
            yield scale(work, "hidden", widths, conditions, progress.watch)
        else:
            progress.start(f"timing recurrent_weights() of {label_of(work.model)} {where}")
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
    from stablebench.cli.shared.speed_tables import LOSS
    from stablebench.speed.timing import WARM_UPS

    return {
        "pass": LOSS,
        "order": "round robin",
        "warm_ups": WARM_UPS,
        "repeats": repeats,
        "seed": seed,
        "inputs": inputs,
    }
