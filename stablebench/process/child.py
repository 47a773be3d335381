"""What is asked in a process of its own, which keeps neither its memory nor a device's context here."""

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

_SAFE_PATH = "PYTHONSAFEPATH"


def result_in_child(function: Callable[..., Any], *arguments: Any, preload: list[str] | None = None) -> Any:
    """Return what a function returns in a new process; None where that does not survive.

    Args:
        function: Of a module, with a result that can be pickled.
        arguments: Its arguments.
        preload: Modules that the server it is forked from has loaded, where it is not running yet.
    """
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    if preload is not None and sys.platform == "linux":
        context.set_forkserver_preload(preload)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, function, *arguments), daemon=True)
    with without_current_folder():
        process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return None
    finally:
        receiver.close()
        process.join()


def _send(connection: Connection, function: Callable[..., Any], *arguments: Any) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        connection.send(function(*arguments))


@contextlib.contextmanager
def without_current_folder() -> Iterator[None]:
    """Context in which Python starts without the current folder in its path.

    Else a user's `random.py` there would be taken for the standard library's. Processes of runs get this one's path.
    """
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before
