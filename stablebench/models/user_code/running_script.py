"""The script that this process runs, where a model lies in it, and scripts that run again while a model is loaded.

Code is loaded by running its file. The file of a class that `sb.train` is given may be the script that calls it: here
its class is there already, and elsewhere the call comes again while the file is run for its class.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from inspect import isclass, isfunction
from types import CodeType, ModuleType
from typing import Any

import stablebench
from stablebench.models.user_code.code import Code

_TYPED = ("<stdin", "<python-input", "<ipython-input")
"""What Python calls the files of lines that are typed in, as after `python -i`."""


class RunsAgain(BaseException):
    """A script that is run for a class in it has come to a call that trains, or that loads the class.

    No error: what a script does about errors must not hide it.
    """


class _Loading(threading.local):
    """The files that a thread is running for what they define, the innermost last."""

    def __init__(self) -> None:
        self.paths: list[str] = []


_loading = _Loading()


@contextmanager
def loading(path: str) -> Iterator[None]:
    """Context in which a file is run for what it defines.

    Raises:
        RunsAgain: It is being run already.
    """
    real = os.path.realpath(path)
    if real in _loading.paths:
        raise RunsAgain
    _loading.paths.append(real)
    try:
        yield
    finally:
        _loading.paths.pop()


def begin_call() -> None:
    """Begin a call that trains.

    Raises:
        RunsAgain: It stands in a file that is only run for what it defines.
    """
    if _loading.paths:
        raise RunsAgain


def why_not_again(path: str) -> str:
    """Return what is said of a script that would do everything again."""
    return (
        f"{path}: the script runs again while a class or function of it is loaded: put the call that trains under "
        "`if __name__ == '__main__':`, or the class or function in a file of its own"
    )


def is_script(code: Code) -> bool:
    """Return whether code lies in the script that this process runs."""
    file, entry = getattr(sys.modules.get("__main__"), "__file__", None), entry_path(code)
    if file is None or entry is None:
        return False
    with suppress(OSError):
        return os.path.samefile(file, entry)
    return False


def script_with(code: Code, name: str) -> ModuleType | None:
    """Return the running script as a module, where code lies in it and it is still what its files hold.

    Args:
        code: The code.
        name: What is wanted of it; empty where that is not known yet.
    """
    if not is_script(code) or not all(module.is_unchanged() and _is_older(module.path) for module in code.modules):
        return None
    script = sys.modules["__main__"]
    text = next(module.data for module in code.modules if module.name == code.entry)
    return script if not name or _is_as_written(getattr(script, name, None), text) else None


def entry_path(code: Code) -> str | None:
    """Return the file that code begins in; None of an installed package's."""
    return next((module.path for module in code.modules if module.name == code.entry), None)


def _is_older(path: str) -> bool:
    """Return whether a file was written before stablebench was imported, so that the script runs what it holds."""
    return os.stat(path).st_mtime_ns <= stablebench.IMPORTED_NS


def _is_as_written(thing: Any, text: bytes) -> bool:
    """Return whether a class or function is what a file's text makes of it, and not typed in since."""
    name = os.path.basename(sys.modules["__main__"].__file__ or "")
    written = set(_functions(compile(text, name, "exec", dont_inherit=True)))
    made = [value.__code__ for value in (vars(thing).values() if isclass(thing) else [thing]) if isfunction(value)]
    own = [c for c in made if os.path.basename(c.co_filename) == name or c.co_filename.startswith(_TYPED)]
    return callable(thing) and all(code in written for code in own)


def _functions(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _functions(constant)
