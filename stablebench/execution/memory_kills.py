"""Which of our processes the kernel has killed because memory had run out."""

import time

from stablebench.process.cgroups import MemoryKills, memory_kills

_LOOK_S = 0.5
"""Seconds between two looks at the kernel's count."""
_SEEN_S = 10.0
"""Seconds between the kernel's count of a process that it kills for memory and that process's end, at most."""


class MemoryKillCount:
    """The kernel's count of processes killed for memory in this control group, less those that are accounted for."""

    def __init__(self) -> None:
        self._accounted = memory_kills()
        self._looked = time.monotonic()
        self._seen_at = 0.0
        """When the kernel was last seen to have killed one that is not accounted for; 0 where there is none."""

    def look(self, now: float) -> None:
        """Look at the count; one of which no process of ours has ended after a while was none of ours."""
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        kills = memory_kills()
        if kills is None or self._accounted is None or kills.group != self._accounted.group:
            self._accounted = kills
        elif kills.count > self._accounted.count:
            if not self._seen_at:
                self._seen_at = now
            elif now - self._seen_at > _SEEN_S:
                self._accounted, self._seen_at = kills, 0.0

    def take(self) -> bool:
        """Account for a process that was killed; return whether the kernel killed one that was not accounted for."""
        kills, before = memory_kills(), self._accounted
        if kills is None or before is None or kills.group != before.group or kills.count <= before.count:
            return False
        self._accounted = MemoryKills(kills.group, before.count + 1)
        self._seen_at = 0.0
        return True
