"""Compiles C text into a library, once per text, compiler and processor, and loads it.

Libraries lie in the folder `engines` of the cache folder, named by a hash of all that decides what is in them.
Processes that compile the same text at once do not disturb each other.
"""

import atexit
import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

from stablebench.data.folders import cache_dir

_log = logging.getLogger(__name__)

_FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd")
"""Not -ffast-math: it gives up NaN, and a library linked with it flushes subnormals in the whole process."""

_compiling_s = 0.0


class CompilerError(Exception):
    """There is no C compiler, or it refused."""


def compiling_s() -> float:
    """Return the seconds that this process has spent on compiling."""
    return _compiling_s


def load(text: str) -> ctypes.CDLL:
    """Return the library compiled from C text.

    Raises:
        CompilerError: It could not be compiled.
    """
    key = hashlib.sha256("\0".join([text, *compiler(), *_FLAGS, _processor()]).encode()).hexdigest()[:32]
    return _load(text, key, cache_folder())


@cache
def _load(text: str, key: str, folder: Path) -> ctypes.CDLL:
    path = folder / f"{key}.so"
    if not path.is_file():
        global _compiling_s
        began = time.perf_counter()
        try:
            _compile(text, path)
        finally:
            _compiling_s += time.perf_counter() - began
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise CompilerError(f"{path} cannot be loaded: {error}") from error


def _compile(text: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as building:
        source, result = Path(building) / "step.c", Path(building) / "step.so"
        source.write_text(text, encoding="utf-8")
        command = [compiler()[0], *_FLAGS, "-shared", "-fPIC", str(source), "-o", str(result)]
        try:
            # in a session of its own: Ctrl-C is for the run, which ends at its next update
            done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
        except OSError as error:
            raise CompilerError(f"{command[0]} cannot be run: {error}") from error
        if done.returncode:
            first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip())
            raise CompilerError(
                f"{' '.join(command[: 1 + len(_FLAGS)])} failed: {first.partition('error')[2].lstrip(': ')}"
            )
        os.replace(result, path)


@cache
def compiler() -> tuple[str, str]:
    """Return the compiler's path and its version."""
    named = os.environ.get("CC")
    if named and shutil.which(named) is None:
        _log.warning("CC names %s, which is not there; cc, gcc or clang is taken if there is one.", named)
    for name in (named, "cc", "gcc", "clang"):
        path = shutil.which(name) if name else None
        if path is not None:
            done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
            return path, done.stdout
    raise CompilerError("there is no C compiler (CC, cc, gcc or clang)")


@cache
def _processor() -> str:
    """Return what `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    wanted = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU part")
    found = {name: line for line in lines if (name := line.partition(":")[0].strip()) in wanted}
    return "\n".join([platform.machine(), platform.processor(), *(found[name] for name in sorted(found))])


@cache
def cache_folder() -> Path:
    """Return a folder to keep libraries in, for this process alone if the user's cache cannot be written to."""
    folder = cache_dir() / "engines"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        _log.info("Compiled steps are not kept: %s", error)
        temporary = Path(tempfile.mkdtemp(prefix="stablebench-"))
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        return temporary
