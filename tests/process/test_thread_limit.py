"""Threads that cannot begin are one message, and those that could are gone again."""

import threading

import pytest

from stablebench.errors import LimitReached
from stablebench.process.settings import prepare_process


def test_threads_that_cannot_begin_are_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    start, begun = threading.Thread.start, [0]

    def refuse(self: threading.Thread) -> None:
        begun[0] += 1
        if begun[0] == 3:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    before = threading.active_count()
    with pytest.raises(LimitReached, match=r"limit on processes and threads is reached; raise it \(`ulimit -u`"):
        prepare_process(8)
    assert begun[0] == 3 and threading.active_count() == before
    prepare_process(1)
