"""The environment of a run as its record states it, and what of it stands in the way of equal numbers."""

from typing import Any

import torch

from stablebench.engines import numerics
from stablebench.engines.fallback import FallbackEngine
from stablebench.process import settings as process
from stablebench.runs.progress import Reporter
from stablebench.schema.run_record import Environment

_DECISIVE = ("versions", "device", "hardware", "engine", "threads", "flags")
"""Fields that must be equal for a resumed run to give the same numbers."""


class RunEnvironment:
    """The environment of a run.

    Args:
        engine: The engine of the run.
        device: Its device.
        irreproducible: Why another run of its spec may give other numbers, or None.
        reporter: Told whenever another reason turns up.
    """

    def __init__(
        self, engine: FallbackEngine, device: torch.device, irreproducible: str | None, reporter: Reporter
    ) -> None:
        self._engine, self._reporter = engine, reporter
        self.irreproducible = irreproducible
        self._fixed = {
            "versions": process.versions(),
            "device": device.type,
            "hardware": process.hardware(device.type),
            "processor": process.processor() if device.type == "cpu" else None,
            "threads": torch.get_num_threads(),
            "flags": process.flags(),
            "commit": process.commit(),
            "platform": process.platform_name(),
            "torch_config": process.torch_config(),
            "packages": process.packages(),
            "rounding": numerics.settings(),
        }

    @property
    def now(self) -> Environment:
        """The record's field `environment`."""
        why = self.irreproducible
        return Environment(**self._fixed, **self._engine.facts, reproducible=why is None, irreproducible=why)

    def add_irreproducible(self, why: str | None, kind: str = "") -> None:
        """Note, and have the record say, why another run of this spec may give other numbers.

        Args:
            why: The reason; None for none.
            kind: What the note begins with.
        """
        before = self.irreproducible
        if why is None or why in (before or ""):
            return
        self._reporter.note(f"{kind}{why}")
        self.irreproducible = why if before is None else f"{before}; {why}"

    def differences(self, before: dict[str, Any]) -> list[str]:
        """Return in words what rounds differently here than in the environment of a checkpoint."""
        now = self.now.model_dump()
        keys = _DECISIVE if before.get("processor") is None else (*_DECISIVE, "processor")  # 0.1.0 did not say
        differ = [f"{key}: {before[key]} then, {now[key]} now" for key in keys if before[key] != now[key]]
        return differ + numerics.differences(before, now)
