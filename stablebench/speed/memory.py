"""The peak memory of one pass: what it takes on top of parameters, inputs and output gradients.

On a CUDA device torch counts it. On a CPU a fresh process builds the same work, runs its first two steps to plan,
compile and load what is needed, then does one pass; the peak is how far its resident memory grew above where it was.
Freed memory is handed back to the system before, and memory counts in pages that were touched; so up to about a
megabyte is noise.
"""

import ctypes
import gc
from contextlib import suppress
from pathlib import Path

import psutil
import torch

from stablebench.engines.fused.step_graph import UnsupportedStep
from stablebench.process.child import result_in_child
from stablebench.process.device import peak_bytes
from stablebench.process.settings import prepare_process
from stablebench.speed.contenders import Contender, sequence_contender
from stablebench.speed.workload import Workload

_PRELOADED = ["stablebench.speed.memory", "stablebench.schema.strict", "psutil"]
_PRELOADED += ["torch.fx.experimental.symbolic_shapes", "torch._dynamo"]
"""What a measurement imports on its way; a process that has it from the start is ready in a fraction of the time."""


def peak_bytes_on_cuda(contender: Contender) -> int:
    """Return the bytes that one pass of a warm contender takes."""
    contender.clear()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    contender.run()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    contender.clear()
    return peak - before


def peak_bytes_on_cpu(work: Workload, name: str, threads: int, precision: str) -> int | None:
    """Return the bytes that one pass takes in a process of its own; None if it did not survive, or cannot tell.

    Args:
        work: What to build there.
        name: The contender.
        threads: CPU threads.
        precision: `float32` or `float64`.
    """
    return result_in_child(_growth, work, name, threads, precision, preload=_PRELOADED)


def _growth(work: Workload, name: str, threads: int, precision: str) -> int | None:
    prepare_process(threads, precision)
    built = work.build()
    warm_up, contender = (sequence_contender(name, sequences) for sequences in (built.first(2), built))
    if isinstance(warm_up, UnsupportedStep) or isinstance(contender, UnsupportedStep):
        return None
    warm_up.run()
    warm_up.clear()
    gc.collect()
    _hand_back_freed_memory()
    before = _forget_peak()
    contender.run()
    return max(0, peak_bytes(torch.device("cpu")) - before)


def _hand_back_freed_memory() -> None:
    with suppress(AttributeError, OSError, TypeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def _forget_peak() -> int:
    """Return the resident bytes, and make them the peak where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # see proc(5)
    return psutil.Process().memory_info().rss
