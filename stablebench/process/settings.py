"""What is set once for a whole process, before any tensor work."""

import ctypes
import os
import platform
import subprocess
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy
import torch

import stablebench
from stablebench.process import thread_limit

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""malloc.h of glibc."""
_CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def prepare_process(threads: int, precision: str = "float32", deterministic: bool = False) -> None:
    """Set threads, flushing of subnormals, one floating-point precision for all models, and how memory is reused.

    Vanishing gradients become subnormal numbers, which slow a CPU up to 25 times. The setting reaches the threads
    that start after it, so this must come before any tensor work. float64 keeps subnormals out in the same way.

    Args:
        threads: CPU threads of torch.
        precision: `float32` or `float64`.
        deterministic: Whether torch refuses algorithms that may give other numbers each time. cuBLAS reads its part
            when it starts, so where CUDA was used before in this process, this comes too late for it.

    Raises:
        UserError: There are more threads than any machine would use.
        LimitReached: The system does not begin so many threads.
    """
    thread_limit.check_thread_count(threads)
    thread_limit.check_threads(threads)
    _keep_freed_memory()
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    torch.set_default_dtype(getattr(torch, precision))
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    if deterministic:  # https://docs.nvidia.com/cuda/cublas/#results-reproducibility
        os.environ[_CUBLAS_WORKSPACE] = ":4096:8"
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # it imports torch's compiler
        torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = False


def _keep_freed_memory() -> None:
    """Have glibc hand freed memory out again instead of giving it back to the system.

    It maps fresh pages for every block of more than 32 MiB, and the system clears them one by one as they are touched:
    half the time of an nn.LSTM of 256 units over 784 steps. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)


def flags() -> dict[str, Any]:
    """Return the process-wide settings that take part in bitwise equality."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    flags = {
        "flush_denormal": _flushes(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "deterministic": deterministic,
    }
    return flags | ({"cublas_workspace": os.environ.get(_CUBLAS_WORKSPACE)} if deterministic else {})


def why_not_reproducible(device: str, deterministic: bool) -> str | None:
    """Return why a spec may give other numbers each time, whatever the model; None if it does not.

    Some of a GPU's kernels add in an order that changes.
    """
    return None if device == "cpu" or deterministic else "on CUDA without --deterministic"


def _flushes() -> bool:
    tiny = torch.tensor([1e-30], dtype=torch.float32)
    return (tiny * 1e-12).item() == 0.0


@cache
def versions() -> dict[str, str]:
    """Return the versions that a run depends on."""
    return {
        "stablebench": stablebench.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }


@cache
def packages() -> list[str]:
    """Return all installed packages as `name==version`, as pip reads them; the first of a name on the path counts."""
    packages: dict[str, str] = {}
    for folder in sys.path:  # the folders' names say it all, and reading every package's metadata takes long
        for path in Path(folder or ".").glob("*.dist-info"):
            name, _, version = path.stem.partition("-")
            packages.setdefault(name.lower().replace("_", "-"), version)
    return sorted(f"{name}=={version}" for name, version in packages.items())


@cache
def platform_name() -> str:
    """Return the operating system with its version, and the C library."""
    return f"{platform.platform()}, {' '.join(platform.libc_ver())}".rstrip(", ")


@cache
def torch_config() -> str:
    """Return how torch was built and what it runs on, in one line."""
    return " ".join(torch.__config__.show().split())


@cache
def processor() -> str | None:
    """Return the processor's vendor, family and model, which tell apart what one name covers; None off Linux."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return None
    facts: dict[str, str] = {}
    for line in info.read_text().split("\n\n", 1)[0].splitlines():
        key, _, value = line.partition(":")
        facts[key.strip()] = value.strip()
    words = [facts.get("vendor_id"), *(f"{key} {facts[key]}" for key in ("cpu family", "model") if key in facts)]
    return " ".join(word for word in words if word) or None


@cache
def hardware(device: str) -> str:
    """Return the GPU's name, or the processor's with its number of cores."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        name = models[0] if models else name
    return f"{name}, {os.cpu_count()} cores"


@cache
def commit() -> str | None:
    """Return the git commit of stablebench's own checkout, `+` added where its files changed; None outside one."""
    root = Path(stablebench.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    git = partial(subprocess.run, cwd=root, capture_output=True, text=True, timeout=10)
    try:
        head = git(["git", "rev-parse", "--short=12", "HEAD"])
        changed = git(["git", "status", "--porcelain", "-uno"])
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "") if head.returncode == 0 else None
