"""How the time of a pass grows with its size.

    python benchmarks/speed_against_size.py scaling --model roarnn           # the fused engine against T and against H
    python benchmarks/speed_against_size.py parametrisation --model exprnn   # only recurrent_weights(), against H

Sizes run in turn (`stablebench.speed.timing`); what is given with `--lengths` and `--widths` varies, and `--size` gives
the rest. `--json` prints every repetition.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import psutil
import torch

from stablebench.cli.shared.options import names_of, numbers_of
from stablebench.cli.shared.speed_tables import LOSS, conditions_line, label_of, spread_text
from stablebench.cli.speed import MODELS, environment, measured, size_of
from stablebench.cli.ui.output import print_json, print_tables
from stablebench.cli.ui.progress import SpeedProgress
from stablebench.engines.fused.plan import plan_model
from stablebench.engines.fused.step_graph import UnsupportedStep
from stablebench.errors import StablebenchError
from stablebench.models.build import resolve_device
from stablebench.process.settings import prepare_process
from stablebench.speed.comparison import Conditions
from stablebench.speed.contenders import sequence_contender, transition_contender
from stablebench.speed.summary import spread
from stablebench.speed.timing import Watch, round_robin
from stablebench.speed.workload import Size, Workload
from stablebench.tables import Table

SIZE = "32,128,500"
LENGTHS = "200,500,1000,2000,5000,10000"
WIDTHS = {"scaling": "64,128,256,512", "parametrisation": "64,128,190,256,512"}
_SHARE_OF_MEMORY = 0.5
"""Of the free memory, that one pass may be expected to take."""


@dataclass(frozen=True)
class PowerLaw:
    """value = factor * size^exponent, the least squares line through the logarithms.

    Args:
        exponent: Its slope.
        factor: The value at size 1.
        r2: The share of the variance of log(value) that it explains; NaN where there is none.
    """

    exponent: float
    factor: float
    r2: float


def power_law(sizes: Sequence[float], values: Sequence[float]) -> PowerLaw:
    """Return the power law through values > 0 at two or more different sizes > 0."""
    if len(set(sizes)) < 2:
        raise ValueError(f"a power law needs two different sizes, got {list(sizes)}.")
    x, y = np.log(np.asarray(sizes, dtype=float)), np.log(np.asarray(values, dtype=float))
    dx, dy = x - x.mean(), y - y.mean()
    exponent = float(dx @ dy / (dx @ dx))
    variance = float(dy @ dy)
    error = float(np.square(dy - exponent * dx).sum())
    return PowerLaw(exponent, math.exp(y.mean() - exponent * x.mean()), 1 - error / variance if variance else math.nan)


@dataclass(frozen=True)
class Series:
    """A model's times at several values of one size.

    Args:
        model: The model.
        what: `fused` or `transition`.
        axis: Which size varies.
        base: The other sizes.
        seconds: Of every repetition, by the varying size.
        left_out: Why a value is missing.
    """

    model: str
    what: str
    axis: Literal["steps", "hidden"]
    base: Size
    seconds: dict[int, list[float]]
    left_out: dict[int, str]

    @property
    def law(self) -> PowerLaw | None:
        """The power law through the medians, None for fewer than two."""
        if len(self.seconds) < 2:
            return None
        return power_law(list(self.seconds), [spread(seconds).median for seconds in self.seconds.values()])

    def document(self) -> dict[str, Any]:
        """Return it as plain values."""
        points = [
            {self.axis: value, "seconds": seconds, **asdict(spread(seconds))} for value, seconds in self.seconds.items()
        ]
        points += [{self.axis: value, "seconds": None, "reason": reason} for value, reason in self.left_out.items()]
        fixed = {name: size for name, size in asdict(self.base).items() if name != self.axis}
        return {
            "name": self.model,
            "contender": self.what,
            "axis": self.axis,
            **({} if self.what == "transition" else fixed),
            "points": sorted(points, key=lambda point: point[self.axis]),
            "power_law": None if self.law is None else asdict(self.law),
        }


def scale(
    work: Workload, axis: Literal["steps", "hidden"], values: Sequence[int], conditions: Conditions, watch: Watch
) -> Series:
    """Time the fused engine at several values of one size, in turn.

    Args:
        work: What to run; its size gives what does not vary.
        axis: What varies.
        values: Its values.
        conditions: How.
        watch: Called before every pass.
    """
    contenders, left_out = [], {}
    for value in values:
        varied = replace(work, size=replace(work.size, **{axis: value}))
        reason = _too_large_reason(varied)
        made = UnsupportedStep(reason) if reason is not None else sequence_contender("fused", varied.build())
        if isinstance(made, UnsupportedStep):
            left_out[value] = made.reason
        else:
            contenders.append(replace(made, name=str(value)))
    seconds = round_robin(contenders, conditions.repeats, device=work.device, watch=watch) if contenders else {}
    return Series(work.model, "fused", axis, work.size, {int(v): s for v, s in seconds.items()}, left_out)


def _too_large_reason(work: Workload) -> str | None:
    """Return why a pass is likely not to fit into memory, or None."""
    built = replace(work, size=replace(work.size, steps=1)).build()
    planned = plan_model(built.model, built.x)
    if isinstance(planned, UnsupportedStep):
        return None
    # all that a step reads and writes, gradients too, which is more than stays in memory
    width = sum(planned.program.widths.values())
    needed = width * work.size.batch * work.size.steps * built.x.element_size()
    free = free_bytes(work.device)
    if needed <= _SHARE_OF_MEMORY * free:
        return None
    return f"may take {math.ceil(needed / 1e8) / 10} GB of the {math.floor(free / 1e8) / 10} GB that are free"


def free_bytes(device: str) -> int:
    """Return the memory that is free on `cpu` or `cuda`."""
    return torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available


def parametrise(work: Workload, widths: Sequence[int], conditions: Conditions, watch: Watch) -> Series:
    """Time `recurrent_weights()` forward and backward at several widths, in turn.

    Args:
        work: The model; of its size only the width counts, which varies.
        widths: Hidden sizes.
        conditions: How.
        watch: Called before every pass.
    """
    models = {width: replace(work, size=replace(work.size, hidden=width)).build_model() for width in widths}
    contenders = [replace(transition_contender(model), name=str(width)) for width, model in models.items()]
    seconds = round_robin(contenders, conditions.repeats, device=work.device, watch=watch)
    return Series(work.model, "transition", "hidden", work.size, {int(v): s for v, s in seconds.items()}, {})


def tables(series: list[Series], conditions: str) -> Iterator[Table]:
    """Yield a table for each size that varies, with the fitted exponents unless it is of `recurrent_weights()`.

    Args:
        series: The times, all of `scaling` or all of `parametrisation`.
        conditions: The line below a table.
    """
    for axis, letter in (("steps", "T"), ("hidden", "H")):
        of_axis = [one for one in series if one.axis == axis]
        if not of_axis:
            continue
        base = of_axis[0].base
        if of_axis[0].what == "transition":
            title = "recurrent_weights(), forward and backward, ms"
            notes = ["Median [quartiles]; widths run in turn."]
        else:
            fixed = f"H {base.hidden}" if axis == "steps" else f"T {base.steps}"
            title = f"fused against {letter}, B {base.batch}, {fixed}, ms"
            notes = [
                f"Median of forward and backward, {LOSS}; sizes run in turn. exponent: p of the least squares fit "
                f"time = c {letter}^p through the logarithms of the medians."
            ]
        yield _table(of_axis, title, letter, [conditions, *notes])


def _table(series: list[Series], title: str, letter: str, notes: list[str]) -> Table:
    fitted = series[0].what != "transition"
    values = sorted({value for one in series for value in (*one.seconds, *one.left_out)})
    rows, missing = [], []
    for one in series:
        spreads = {value: spread([1e3 * s for s in seconds]) for value, seconds in one.seconds.items()}
        times = [spreads.get(value) for value in values]
        shown = [None if s is None else s.median for s in times] if fitted else [spread_text(s) for s in times]
        law = one.law
        fit = [None, None] if law is None else [f"{law.exponent:.3f}", f"{law.r2:.5f}"]
        rows.append([label_of(one.model), *shown, *(fit if fitted else [])])
        missing += [f"No {letter} {value} for {label_of(one.model)}: {why}." for value, why in one.left_out.items()]
    columns = ["model", *(f"{letter} {value}" for value in values), *(["exponent", "r^2"] if fitted else [])]
    return Table(columns, rows, title=title, notes=[*missing, *notes])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("what", choices=WIDTHS)
    parser.add_argument(
        "--model", "--models", dest="models", action="append", metavar="A,B", help=f"(default: {', '.join(MODELS)})"
    )
    parser.add_argument("--size", default=SIZE, metavar="B,H,T", help="what does not vary (default: %(default)s)")
    parser.add_argument("--inputs", type=int, default=1, metavar="N", help="width of the inputs (default: 1)")
    parser.add_argument("--lengths", default=LENGTHS, metavar="T,T", help="of scaling (default: %(default)s)")
    parser.add_argument("--widths", metavar="H,H", help=f"(default: {' or '.join(WIDTHS.values())})")
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="timed passes of each (default: 7)")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads (default: 1)")
    parser.add_argument("--precision", choices=("float32", "float64"), default="float32")
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    return parser.parse_args()


def main() -> None:
    """Time, and print tables or JSON."""
    given = _arguments()
    base = size_of(given.size)
    lengths = sorted(set(numbers_of("--lengths", [given.lengths]) or []))
    widths = sorted(set(numbers_of("--widths", [given.widths or WIDTHS[given.what]]) or []))
    conditions = Conditions(given.repeats, given.threads, given.precision)
    prepare_process(conditions.threads, conditions.precision)
    device = resolve_device(given.device).type
    names = dict.fromkeys(names_of("--model", given.models) or MODELS)
    works = [Workload(name, base, given.inputs, given.seed, device) for name in names]
    series: list[Series] = []
    with SpeedProgress(quiet=False) as progress:
        for work in works:
            progress.start(f"{given.what} of {label_of(work.model)}")
            if given.what == "scaling":
                series.append(scale(work, "steps", lengths, conditions, progress.watch))
                series.append(scale(work, "hidden", widths, conditions, progress.watch))
            else:
                series.append(parametrise(work, widths, conditions, progress.watch))
    where = environment(device, conditions)
    if given.json:
        how = measured(given.seed, given.inputs, given.repeats)
        print_json({"environment": where, "measured": how, "series": [one.document() for one in series]})
    else:
        print_tables(list(tables(series, conditions_line(where))))


if __name__ == "__main__":
    try:
        main()
    except StablebenchError as error:
        sys.exit(f"Error: {error}")
