"""C compilers that fail in one way each, as shell scripts."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stablebench.models.blocks import native_rotations
from stablebench.process import c_library as library

FAILING = {
    "refuses without the word": "echo 'no licence' >&2; exit 1",
    "says nothing": "exit 1",
    "prints bytes that are no text": r"printf 'licence \377\376 gone\n' >&2; exit 1",
    "is killed": "kill -9 $$",
    "writes no file": "exit 0",
    "writes an empty file": ': > "$out"',
    "writes garbage": 'echo garbage > "$out"',
    "writes a library of something else": 'echo "int nothing;" | {real} -x c -shared -fPIC - -o "$out"',
    "has no room": "echo 'as: can not write out: No space left on device' >&2; exit 1",
}
"""What each does where it is asked to compile into `$out`."""


def script(path: Path, body: str) -> Path:
    """Write a compiler that says its version, and does `body` where it is asked to compile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        "#!/bin/sh",
        'if [ "$1" = --version ]; then echo "mock 1.0"; exit 0; fi',
        'for last; do out="$last"; done',
        body.replace("{real}", real_compiler()),
    ]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
    return path


def real_compiler() -> str:
    """Return the compiler of this machine."""
    return subprocess.run(["sh", "-c", "command -v cc"], capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def taken(path: Path | None, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Context in which CC names a compiler, or nothing, and libraries are kept in a folder of one's own."""
    with monkeypatch.context() as patched:
        patched.setenv("STABLEBENCH_CACHE", str(cache))
        patched.delenv("CC", raising=False)
        if path is not None:
            patched.setenv("CC", str(path))
        _clear()
        try:
            yield
        finally:
            _clear()


def _clear() -> None:
    for cached in (library.compiler, library.cache_folder, native_rotations.native_rotations):
        cached.cache_clear()
    library._load.cache_clear()
