"""Signals that end a run at the next step boundary, after its checkpoint is written."""

import signal
from types import FrameType, TracebackType

_CODES: dict[int, int] = {signal.SIGHUP: 129, signal.SIGINT: 130}
SIGNAL_CODES = (129, 130, 143)
"""Exit codes of what a signal ended."""


def pass_on(exit_code: int) -> None:
    """End what a run is only a part of, where a signal came during the run, as the signal itself would have.

    Args:
        exit_code: The run's; of one during which no signal came nothing follows.

    Raises:
        KeyboardInterrupt: SIGINT came.
        SystemExit: Another signal came.
    """
    if exit_code == _CODES[signal.SIGINT]:
        raise KeyboardInterrupt
    if exit_code in SIGNAL_CODES:
        raise SystemExit(exit_code)


class Interrupted(Exception):
    """A signal ends what is being done."""


class Interrupt:
    """Context in which SIGINT, SIGTERM, SIGHUP and SIGUSR1 are noted instead of ending the process.

    A second SIGINT ends it. SIGHUP stays ignored where it was, as `nohup` has it. `signum` is the first signal that
    came, or None.
    """

    _WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)

    def __init__(self) -> None:
        self.signum: int | None = None
        self._ctrl_c = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        """Take the signals over, where this is the main thread."""
        try:
            ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set[int]()
            watched = [signum for signum in self._WATCHED if signum not in ignored]
            self._before = {signum: signal.signal(signum, self._note) for signum in watched}
        except ValueError:  # not the main thread: its owner handles signals
            self._before = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)  # pyright: ignore[reportArgumentType]

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self._ctrl_c:
            raise KeyboardInterrupt
        self._ctrl_c |= signum == signal.SIGINT
        self.signum = self.signum or signum

    def check(self) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self.signum is not None:
            raise Interrupted

    @property
    def exit_code(self) -> int:
        """129 after SIGHUP, 130 after SIGINT, 143 after the others, as a shell reports them; 0 where none came."""
        return 0 if self.signum is None else _CODES.get(self.signum, 143)

    @property
    def description(self) -> str | None:
        """Which signal came; None where none did."""
        return None if self.signum is None else f"signal {self.signum} ({signal.Signals(self.signum).name})"
