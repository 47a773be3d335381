"""Time models side by side: the engines, a literal loop, torch's own networks, and their bare matrix products."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from stablebench.cli.shared import completion
from stablebench.cli.shared.commands import MODEL, option
from stablebench.cli.shared.known_names import check_names
from stablebench.cli.shared.options import Device, Precision, PrintedTables, Quiet, Seed, Threads, names_of
from stablebench.cli.ui.output import Table, print_json, print_tables, say
from stablebench.errors import UserError

if TYPE_CHECKING:
    from stablebench.speed.comparison import Conditions
    from stablebench.speed.workload import Size

MODELS = ("roarnn", "cornn", "nnrnn", "exprnn", "dizzy", "rnn", "lstm", "gru")
SIZES, REPEATS = ("50,128,500", "32,64,200"), 5
THOROUGH_SIZES, THOROUGH_REPEATS = ("50,128,500", "100,128,784", "100,256,784", "128,190,420", "32,64,200"), 7


def speed(
    *,
    models: Annotated[
        list[str] | None,
        option(
            f"Models, or FILE.py:CLASS: a,b or repeated (default: {', '.join(MODELS)}).",
            MODEL,
            "--model",
            earlier=["--models"],
            metavar="A,B",
            autocompletion=completion.models,
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        option(f"Batch, hidden size, steps. Repeatable (default: {' '.join(SIZES)}).", MODEL, metavar="B,H,T"),
    ] = None,
    inputs: Annotated[int, option("Width of the inputs.", MODEL, metavar="N", min=1)] = 1,
    thorough: Annotated[
        bool,
        option(
            f"Sizes {' '.join(THOROUGH_SIZES)}, {THOROUGH_REPEATS} passes and peak memory, unless said otherwise: "
            "some ten minutes on two cores.",
            None,
            "--thorough",
        ),
    ] = False,
    repeats: Annotated[
        int | None,
        option(
            f"Timed passes of each contender (default: {REPEATS}, --thorough {THOROUGH_REPEATS}).", metavar="N", min=3
        ),
    ] = None,
    memory: Annotated[
        bool | None,
        option("Measure peak memory, too (default: with --thorough).", None, "--memory/--no-memory"),
    ] = None,
    seed: Seed = None,
    device: Device = "auto",
    threads: Threads = 1,
    precision: Precision = "float32",
    printed: PrintedTables,
    quiet: Quiet = False,
) -> None:
    """Time models side by side, forward and backward over whole sequences.

    For each size a table: the engines, a literal loop over the equation, torch.nn.LSTM and torch.nn.RNN, and the bare
    matrix products, timed in turn; and the share of the machine's ceiling, a large matrix product, that fused reaches.

    Examples:
        stablebench speed --model roarnn,lstm --size 32,128,500 --repeats 5
        stablebench speed --thorough --format github
    """
    names = list(dict.fromkeys(names_of("--model", models) or MODELS))
    check_names(names)
    from stablebench.cli.shared.speed_tables import comparison_table, label_of
    from stablebench.cli.ui.progress import SpeedProgress
    from stablebench.models.build import resolve_device
    from stablebench.process.settings import prepare_process
    from stablebench.speed.ceiling import ceiling
    from stablebench.speed.comparison import Conditions, compare
    from stablebench.speed.workload import Workload

    sizes = [size_of(text) for text in dict.fromkeys(size or (THOROUGH_SIZES if thorough else SIZES))]
    repeats = repeats or (THOROUGH_REPEATS if thorough else REPEATS)
    memory = thorough if memory is None else memory
    conditions = Conditions(repeats, threads or 1, precision or "float32")
    prepare_process(conditions.threads, conditions.precision)
    where = resolve_device(device or "auto").type
    works = {s: [Workload(name, s, inputs, seed or 0, where) for name in names] for s in sizes}
    for work in (work for of_size in works.values() for work in of_size):
        work.build_model()  # so that a refusal comes before the measurements
    highest = ceiling(where)
    ran_in = environment(where, conditions) | {"ceiling_flops_per_s": highest}
    tables: list[Table] = []
    documents: list[dict[str, Any]] = []
    with SpeedProgress(quiet) as progress:
        for s, works_of_size in works.items():
            rows = []
            for i, work in enumerate(works_of_size, start=1):
                progress.start(f"timing {label_of(work.model)} at {s} ({i} of {len(names)})")
                rows.append(compare(work, conditions, progress.watch, memory=memory))
            documents.append({**asdict(s), "models": [row.document(highest) for row in rows]})
            tables.append(comparison_table(s, rows, memory, ran_in, is_last=s == sizes[-1]))
            if printed.fmt == "table" and not printed.as_json:  # it is shown when it is done
                print_tables(tables[-1:])
                say("")
    if printed.as_json:
        print_json({"environment": ran_in, "measured": measured(seed or 0, inputs, repeats), "sizes": documents})
    elif printed.fmt != "table":
        print_tables(tables, printed.fmt)


def size_of(text: str) -> "Size":
    """Return the size that `--size` names.

    Raises:
        UserError: It does not name one.
    """
    from stablebench.speed.workload import Size

    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or min(numbers) < 1:
        raise UserError(f"`--size` must be B,H,T, three whole numbers >= 1 with commas between, got '{text}'.")
    return Size(*numbers)


def environment(device: str, conditions: "Conditions") -> dict[str, Any]:
    """Return where and with what everything is timed."""
    from stablebench.engines.fused.c import tuning
    from stablebench.process.c_compiler import CompilerError
    from stablebench.process.settings import commit, flags, hardware, versions

    try:
        tuned = tuning.chosen().name
    except CompilerError:  # nothing can be compiled
        tuned = None
    return {
        "device": device,
        "tuning": tuned,
        "hardware": hardware(device),
        "threads": conditions.threads,
        "precision": conditions.precision,
        "versions": versions(),
        "flags": flags(),
        "fused_runs_in_torch": None,  # as in documents of version 0.1, where it could
        "commit": commit(),
    }


def measured(seed: int, inputs: int, repeats: int) -> dict[str, Any]:
    """Return what a timed pass is, and how many there are."""
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
