"""Flags and tile of compiled steps, picked by timing a few on this processor with this compiler.

A compiler takes another processor's habits for a new one (GCC 12 halves the vectors of AVX-512 on Intel's servers), and
how many sums fit into registers depends on the instruction set. So a product forward, one for a weight gradient and a
loop of tanh are compiled in each way and timed in turn; the fastest is kept next to the compiled libraries. No sum
depends on the tile, but flags decide how loops round: the flags of a run are in its record, and it goes on with them.
"""

import ctypes
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stablebench.engines.fused.c.codegen import probe
from stablebench.errors import UserError, unknown_name
from stablebench.process import c_library as library
from stablebench.process import compile_cache

try:
    import fcntl
except ImportError:  # not on this system: two processes that start at once both measure
    fcntl = None

VARIABLE = "STABLEBENCH_TUNING"
"""Environment variable: the name of the tuning that is taken instead of a measured one."""
_ROUNDS, _REPEATS = 8, 40
"""How often each is timed, in turn, and products of a time: some 10 ms each on a present-day core."""
_GAIN = 0.98
"""How much of the time of one before it in the list a tuning may take at most to be preferred."""
_WAIT_S = 20.0
"""How long another process is waited for that is measuring."""


@dataclass(frozen=True)
class Tuning:
    """Flags that are added to the compiler's.

    Args:
        name: For `STABLEBENCH_TUNING`.
        flags: They, and the tile of `products.c` as macros.
        instructions: The instruction sets it is for; none for all.
    """

    name: str
    flags: tuple[str, ...] = ()
    instructions: tuple[str, ...] = ()


def _tile(rows: int, vectors: int) -> tuple[str, str]:
    return f"-DTILE_ROWS={rows}", f"-DTILE_VECTORS={vectors}"


_HALVES = ("-mprefer-vector-width=256", "-DVECTOR_BYTES=32")
_WIDE = "-mprefer-vector-width=512"
_FIRST = Tuning("plain")
"""What was there before others were; runs whose records say nothing else go on with it."""
TUNINGS = (
    _FIRST,
    Tuning("avx512-8x3", (_WIDE, *_tile(8, 3)), ("AVX-512",)),
    Tuning("avx512-6x4", (_WIDE, *_tile(6, 4)), ("AVX-512",)),
    Tuning("avx512-12x2", (_WIDE, *_tile(12, 2)), ("AVX-512",)),
    Tuning("avx512-half-8x3", (*_HALVES, *_tile(8, 3)), ("AVX-512",)),
    Tuning("avx2-6x2", ("-mno-avx512f", *_tile(6, 2)), ("AVX-512", "AVX2, FMA", "AVX2", "AVX", "SSE2")),
    Tuning("avx2-4x3", ("-mno-avx512f", *_tile(4, 3)), ("AVX2, FMA", "AVX2", "AVX", "SSE2")),
    Tuning("neon-6x4", _tile(6, 4), ("NEON", "SVE")),
    Tuning("neon-12x2", _tile(12, 2), ("NEON", "SVE")),
)


def chosen() -> Tuning:
    """Return the tuning that the environment variable names, else the fastest here, measured once.

    Raises:
        UserError: It names none that there is here.
        CompilerError: Nothing can be compiled and loaded here.
    """
    return named() or _fastest(library.key_of(probe(), str(possible())))


def named() -> Tuning | None:
    """Return the tuning that the environment variable names, or None.

    Raises:
        UserError: It names none that there is here.
        CompilerError: Nothing can be compiled and loaded here.
    """
    name = os.environ.get(VARIABLE)
    if not name:
        return None
    here = {tuning.name: tuning for tuning in possible()}
    if name not in here:
        raise UserError(f"{VARIABLE}: {unknown_name('tuning on this processor', name, here)}")
    return here[name]


def of_flags(flags: str | None) -> Tuning | None:
    """Return the tuning that a record's flags are of, None if they are of none that there is here.

    Args:
        flags: As in the record's `compiler`; None in those of versions that did not record it.
    """
    base = " ".join(library.flags())
    if flags is None:
        return _FIRST
    return next((t for t in possible() if flags == " ".join([base, *t.flags])), None)


def possible() -> list[Tuning]:
    """Return the tunings for the instructions that the compiler takes here.

    Raises:
        CompilerError: Nothing can be compiled and loaded here.
    """
    here = library.instructions()
    return [tuning for tuning in TUNINGS if here in tuning.instructions or not tuning.instructions]


@cache
def _fastest(key: str) -> Tuning:
    path = library.cache_folder() / f"{key}.tuning"
    kept = _kept(path)
    if kept is not None:
        return kept
    with _locked(path.with_name("tuning.lock")):
        kept = _kept(path)  # another process may have measured meanwhile
        if kept is not None:
            return kept
        seconds = measure()
        with suppress(OSError):
            compile_cache.write(path, json.dumps(seconds).encode())
    return fastest_of(seconds)


def _kept(path: Path) -> Tuning | None:
    with suppress(ValueError, TypeError, KeyError, AttributeError, StopIteration):  # whatever else it may hold
        return fastest_of(json.loads(compile_cache.read(path) or b""))
    return None


def fastest_of(seconds: dict[str, float]) -> Tuning:
    """Return the tuning that took the least time; of about equal ones the first.

    Args:
        seconds: By name, in the order of `TUNINGS`.
    """
    by_name = {tuning.name: tuning for tuning in TUNINGS}
    best = next(iter(seconds))
    for name, s in seconds.items():
        if s < _GAIN * seconds[best]:
            best = name
    return by_name[best]


def measure() -> dict[str, float]:
    """Return the seconds of each tuning that there is here, the best of several short repetitions, taken in turn.

    Raises:
        CompilerError: Nothing can be compiled and loaded here.
    """
    probes = {}
    for tuning in possible():
        try:
            probes[tuning.name] = library.load(probe(), "probe", more_flags=tuning.flags).probe
        except library.CompilerError:  # a compiler may not know a flag
            if tuning is _FIRST:
                raise
    seconds = dict.fromkeys(probes, float("inf"))
    for _ in range(_ROUNDS):
        for name, run in probes.items():
            began = time.perf_counter()
            run(ctypes.c_int64(_REPEATS))
            seconds[name] = min(seconds[name], time.perf_counter() - began)
    return seconds


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Context in which no other process of this user measures, unless it takes very long; without a lock if need be."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        until = time.monotonic() + _WAIT_S
        while fcntl is not None and time.monotonic() < until:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        os.close(descriptor)
