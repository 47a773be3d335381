"""Compiles C text into a library, once per text, compiler and processor, and loads it.

Libraries lie in the folder `engines` of the cache folder, named by a hash of all that decides what is in them, with a
digest next to each (`compile_cache`). Processes that compile the same text at once do not disturb each other.
"""

import atexit
import ctypes
import hashlib
import logging
import os
import platform
import shutil
import stat
import tempfile
import time
from functools import cache
from pathlib import Path

from stablebench.process import compile_cache
from stablebench.process.c_compiler import CompilerError, compile_library, compiler, flags
from stablebench.process.folders import cache_dir

__all__ = [
    "CompilerError",
    "cache_folder",
    "compiler",
    "compiling_s",
    "described",
    "flags",
    "instructions",
    "key_of",
    "load",
    "private_folder",
]

_log = logging.getLogger(__name__)

_compiling_s = 0.0

_INSTRUCTION_SET = """
const char *instruction_set(void)
{
#if defined __AVX512F__
    return "AVX-512";
#elif defined __AVX2__ && defined __FMA__
    return "AVX2, FMA";
#elif defined __AVX2__
    return "AVX2";
#elif defined __AVX__
    return "AVX";
#elif defined __SSE2__
    return "SSE2";
#elif defined __ARM_FEATURE_SVE
    return "SVE";
#elif defined __ARM_NEON
    return "NEON";
#else
    return "no vectors";
#endif
}
"""


def compiling_s() -> float:
    """Return the seconds that this process has spent on compiling."""
    return _compiling_s


def load(text: str, *functions: str, more_flags: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Return the library compiled from C text.

    Args:
        text: The text.
        functions: What it defines.
        more_flags: After `flags()`.

    Raises:
        CompilerError: It could not be compiled or loaded; a second call does not try again.
        CompilationInterrupted: A signal came while it was compiled.
    """
    loaded = _load(text, key_of(text, *more_flags), cache_folder(), functions, more_flags)
    if isinstance(loaded, CompilerError):
        raise CompilerError(str(loaded))
    return loaded


def key_of(text: str, *others: str) -> str:
    """Return a hash of a text and other words, of compiler, flags and processor."""
    return hashlib.sha256("\0".join([text, *compiler(), *flags(), *others, _processor()]).encode()).hexdigest()[:32]


@cache
def _load(
    text: str, key: str, folder: Path, functions: tuple[str, ...], more_flags: tuple[str, ...]
) -> ctypes.CDLL | CompilerError:
    path = folder / f"{key}.so"
    library = compile_cache.read(path)
    is_new = library is None
    try:
        if library is None:
            library = _compile(text, folder, more_flags)
        loaded = compile_cache.open_library(library)
    except CompilerError as error:
        return error
    except OSError as error:
        return CompilerError(f"what {compiler()[0]} made cannot be loaded: {error}")
    missing = [name for name in functions if not hasattr(loaded, name)]
    if missing:
        return CompilerError(f"what {compiler()[0]} made has no function {', '.join(missing)}")
    if is_new:
        try:
            compile_cache.write(path, library)
        except OSError as error:
            _log.info("A compiled step is not stored: %s", error)
    return loaded


def _compile(text: str, folder: Path, more_flags: tuple[str, ...]) -> bytes:
    global _compiling_s
    began = time.perf_counter()
    try:
        return compile_library(text, (*_temporary(), folder), more_flags)
    finally:
        _compiling_s += time.perf_counter() - began


def _temporary() -> tuple[str, ...]:
    try:
        return (tempfile.gettempdir(),)
    except OSError:  # nothing can be written in any
        return ()


def instructions(more_flags: tuple[str, ...] = ()) -> str:
    """Return the vector instructions that the compiler takes on this processor: the smallest library there is says so.

    Args:
        more_flags: After `flags()`.

    Raises:
        CompilerError: Nothing can be compiled and loaded here.
    """
    function = load(_INSTRUCTION_SET, "instruction_set", more_flags=more_flags).instruction_set
    function.restype = ctypes.c_char_p
    return function().decode()


def described(more_flags: tuple[str, ...] = ()) -> dict[str, str]:
    """Return what decides how compiled code rounds: `name` and `version` of the compiler, `flags`, `instructions`.

    Args:
        more_flags: After `flags()`.

    Raises:
        CompilerError: Nothing can be compiled and loaded here.
    """
    path, version = compiler()
    first = next(iter(version.splitlines()), "").removeprefix(Path(path).name).strip()
    name = Path(path).resolve().name  # cc and gcc are one compiler
    all_flags = " ".join([*flags(), *more_flags])
    return {"name": name, "version": first, "flags": all_flags, "instructions": instructions(more_flags)}


@cache
def _processor() -> str:
    """Return what `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU part")
    values = {name: line for line in lines if (name := line.partition(":")[0].strip()) in names}
    return "\n".join([platform.machine(), platform.processor(), *(values[name] for name in sorted(values))])


@cache
def cache_folder() -> Path:
    """Return a folder for compiled code that nobody else can write to.

    It is `engines` in the user's cache folder; `engines-UID` next to it where the first is another user's; and one for
    only this process where neither can be written to.

    Raises:
        CompilerError: No folder can be written to.
    """
    problems = []
    for name in ("engines", f"engines-{os.geteuid()}"):
        folder = cache_dir() / name
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            status = folder.stat()
            reason = None if stat.S_ISDIR(status.st_mode) else "it is no folder"
            reason = reason or compile_cache.untrusted_reason(status)
            if reason is None:
                with tempfile.TemporaryFile(dir=folder):
                    return folder
            _log.warning("No compiled step is loaded from %s or stored there: %s.", folder, reason)
        except OSError as error:
            problems.append(f"{folder}: {error.strerror or error}")
    _log.info("Compiled steps are not stored: %s", "; ".join(problems))
    return private_folder()


@cache
def private_folder() -> Path:
    """Return a folder of this process, which goes when the process ends.

    Raises:
        CompilerError: None can be made.
    """
    try:
        temporary = Path(tempfile.mkdtemp(prefix="stablebench-"))
    except OSError as error:
        raise CompilerError(f"no folder for compiled code can be written to: {error.strerror or error}") from None
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary
