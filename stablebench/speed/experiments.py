"""The three measurements: contenders side by side, time against one size, and only the parametrisation."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import psutil
import torch

from stablebench.engines.fused.plan import plan_model
from stablebench.engines.fused.step_graph import UnsupportedStep
from stablebench.speed.contenders import (
    Contender,
    contender_names,
    floor_products,
    sequence_contender,
    transition_contender,
)
from stablebench.speed.floor import BareProduct
from stablebench.speed.memory import peak_bytes_on_cpu, peak_bytes_on_cuda
from stablebench.speed.summary import PowerLaw, Spread, paired_ratios, power_law, spread
from stablebench.speed.timing import Watch, round_robin
from stablebench.speed.workload import Size, Workload

RATIOS = {
    "literal / fused": ("literal", "fused"),
    "reference / fused": ("reference", "fused"),
    "nn.LSTM / fused": ("nn.LSTM", "fused"),
    "nn.RNN / fused": ("nn.RNN", "fused"),
    "fused / floor": ("fused", "floor"),
    "scan / fused": ("scan", "fused"),
    "transition / fused": ("transition", "fused"),
}
"""What is divided by what, repetition by repetition."""
_SHARE_OF_MEMORY = 0.5
"""Of the free memory, that one pass may be expected to take."""


@dataclass(frozen=True)
class Conditions:
    """Under what everything is timed.

    Args:
        repeats: Timed passes of each contender, >= 1.
        threads: CPU threads.
        precision: `float32` or `float64`.
    """

    repeats: int
    threads: int
    precision: str


@dataclass(frozen=True)
class SpeedComparison:
    """A model's contenders at one size.

    Args:
        work: What was run.
        seconds: Of every repetition, by contender, `recurrent_weights` included.
        absent: Why a contender is missing.
        peak_bytes: Of one pass, by contender; the floor's buffers are there before, so it has none.
        products: What the floor does.
    """

    work: Workload
    seconds: dict[str, list[float]]
    absent: dict[str, str]
    peak_bytes: dict[str, int | None]
    products: list[BareProduct]

    def median(self, name: str) -> float | None:
        """Return a contender's median seconds, None if it is missing."""
        return spread(self.seconds[name]).median if name in self.seconds else None

    def ratio(self, name: str) -> Spread | None:
        """Return one of `RATIOS` over the repetitions, None if a side is missing."""
        above, below = RATIOS[name]
        if above not in self.seconds or below not in self.seconds:
            return None
        return spread(paired_ratios(self.seconds[above], self.seconds[below]))

    def document(self) -> dict[str, Any]:
        """Return it as plain values."""
        contenders: dict[str, Any] = {}
        for name in (*self.absent, *self.seconds):
            if name in self.absent:
                contenders[name] = {"seconds": None, "reason": self.absent[name]}
            else:
                contenders[name] = {"seconds": self.seconds[name], **asdict(spread(self.seconds[name]))}
            contenders[name]["peak_bytes"] = self.peak_bytes.get(name)
        ratios = {name: self.ratio(name) for name in RATIOS}
        return {
            "name": self.work.model,
            "contenders": contenders,
            "ratios": {name: None if ratio is None else asdict(ratio) for name, ratio in ratios.items()},
            "products": [asdict(product) | {"flops": product.flops} for product in self.products],
            "flops": sum(product.flops for product in self.products) if self.products else None,
        }


def compare(work: Workload, conditions: Conditions, watch: Watch, *, memory: bool = True) -> SpeedComparison:
    """Time a model's contenders side by side.

    Args:
        work: What to run.
        conditions: How.
        watch: Called before every pass.
        memory: Whether to measure peak memory, too.
    """
    built = work.build()
    made = {name: sequence_contender(name, built) for name in contender_names(built.model)}
    absent = {name: entry.reason for name, entry in made.items() if isinstance(entry, UnsupportedStep)}
    present = [entry for entry in made.values() if not isinstance(entry, UnsupportedStep)]
    timed = [*present, transition_contender(built.model)]
    seconds = round_robin(timed, conditions.repeats, device=work.device, watch=watch)
    peaks: dict[str, int | None] = {}
    for contender in present if memory else []:
        if contender.name != "floor":
            watch(f"memory of {contender.name}", 1, 1)
            peaks[contender.name] = _peak_bytes(work, contender, conditions)
    return SpeedComparison(work, seconds, absent, peaks, floor_products(built))


def _peak_bytes(work: Workload, contender: Contender, conditions: Conditions) -> int | None:
    if work.device == "cuda":
        return peak_bytes_on_cuda(contender)
    return peak_bytes_on_cpu(work, contender.name, conditions.threads, conditions.precision)


@dataclass(frozen=True)
class Series:
    """A model's times at several values of one size.

    Args:
        model: The model.
        what: `fused` or `recurrent_weights`.
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
    free = _free_bytes(work.device)
    if needed <= _SHARE_OF_MEMORY * free:
        return None
    gigabytes = [math.ceil(needed / 1e8) / 10, math.floor(free / 1e8) / 10]
    return f"may take {gigabytes[0]} GB of the {gigabytes[1]} GB that are free"


def _free_bytes(device: str) -> int:
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return psutil.virtual_memory().available


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
