"""The result of one check of a model."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["ok", "warning", "broken", "not applicable"]


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Args:
        check: Its name.
        verdict: `broken` if the engines, or the numbers of a run, rely on a property that the model does not have;
            `warning` if the model may be meant that way.
        message: What the check observed, in words; may be empty for `ok`.
        place: The line of the model's code, as `name.py:12`; empty if there is no single one.
        measured: Numbers and facts behind the message, by name; JSON-serialisable.
    """

    check: str
    verdict: Verdict = "ok"
    message: str = ""
    place: str = ""
    measured: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return asdict(self)

    def line(self) -> str:
        """Return it in one line."""
        return f"{self.check}: {self.message}{f' ({self.place})' if self.place else ''}"


Check = Callable[..., CheckResult]
