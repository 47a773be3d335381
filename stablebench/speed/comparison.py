"""The contenders of a model at one size, timed side by side."""

from dataclasses import asdict, dataclass
from typing import Any

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
from stablebench.speed.summary import Spread, paired_ratios, spread
from stablebench.speed.timing import Watch, round_robin
from stablebench.speed.workload import Workload

RATIOS = {
    "literal / fused": ("literal", "fused"),
    "reference / fused": ("reference", "fused"),
    "nn.LSTM / fused": ("nn.LSTM", "fused"),
    "nn.RNN / fused": ("nn.RNN", "fused"),
    "nn.GRU / fused": ("nn.GRU", "fused"),
    "fused / floor": ("fused", "floor"),
    "scan / fused": ("scan", "fused"),
    "chunkwise / fused": ("chunkwise", "fused"),
    "transition / fused": ("transition", "fused"),
}
"""What is divided by what, repetition by repetition."""


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

    @property
    def flops(self) -> int | None:
        """Floating-point operations of all products, None if they are not known."""
        return sum(product.flops for product in self.products) if self.products else None

    def share(self, ceiling: float) -> float | None:
        """Return the operations a second of fused over those of a ceiling, None if one is missing.

        Args:
            ceiling: Operations a second (`stablebench.speed.ceiling`).
        """
        median = self.median("fused")
        return None if median is None or self.flops is None else self.flops / median / ceiling

    def median(self, name: str) -> float | None:
        """Return a contender's median seconds, None if it is missing."""
        return spread(self.seconds[name]).median if name in self.seconds else None

    def ratio(self, name: str) -> Spread | None:
        """Return one of `RATIOS` over the repetitions, None if a side is missing."""
        above, below = RATIOS[name]
        if above not in self.seconds or below not in self.seconds:
            return None
        return spread(paired_ratios(self.seconds[above], self.seconds[below]))

    def document(self, ceiling: float) -> dict[str, Any]:
        """Return it as plain values.

        Args:
            ceiling: As in `share`.
        """
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
            "flops": self.flops,
            "share_of_ceiling": self.share(ceiling),
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
