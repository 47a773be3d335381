"""What a check of a model found."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["ok", "warning", "broken", "not applicable"]


@dataclass(frozen=True)
class Finding:
    """How one check came out.

    Args:
        check: Its name.
        verdict: `broken` where the engines, or the numbers of a run, rely on what does not hold; `warning` where what
            was found may be meant.
        found: What was found, in words.
        place: Where it is written, as `name.py:12`; empty where there is no one place.
    """

    check: str
    verdict: Verdict = "ok"
    found: str = ""
    place: str = ""

    def document(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    def line(self) -> str:
        """Return it in one line."""
        return f"{self.check}: {self.found}{f' ({self.place})' if self.place else ''}"


Check = Callable[..., Finding]
