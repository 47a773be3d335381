"""What decides how a run's numbers are rounded, beyond versions and hardware: recorded, and compared at resuming."""

import os
from typing import Any

import torch

from stablebench.engines import Choice
from stablebench.engines.fused.c.tuning import Tuning, chosen
from stablebench.models.blocks.native_rotations import compiled_rotations
from stablebench.models.blocks.rotations import PackedRotations
from stablebench.models.network import AnyNetwork
from stablebench.process import c_library as library

_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    *("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE"),
    *("ONEDNN_MAX_CPU_ISA", "ONEDNN_CPU_ISA_HINTS", "ONEDNN_DEFAULT_FPMATH_MODE"),
    *("DNNL_MAX_CPU_ISA", "DNNL_CPU_ISA_HINTS", "DNNL_DEFAULT_FPMATH_MODE"),
    *("OPENBLAS_CORETYPE", "BLIS_ARCH_TYPE", "NPY_DISABLE_CPU_FEATURES", "NVIDIA_TF32_OVERRIDE"),
)
"""Environment variables that choose the code of torch, MKL, oneDNN, numpy and CUDA's libraries, and so its rounding."""
_LIBC = "GLIBC_TUNABLES"
"""Of the C library, which chooses its elementary functions by the processor's features."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Recorded where they ask for another number than torch has, which is set after them and decides."""


def settings() -> dict[str, str]:
    """Return the instruction set that torch takes, `cpu_capability`, and the environment variables that are set."""
    variables = {"cpu_capability": torch.backends.cpu.get_cpu_capability()}
    variables |= {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
    if "glibc.cpu" in os.environ.get(_LIBC, ""):
        variables[_LIBC] = os.environ[_LIBC]
    threads = str(torch.get_num_threads())
    return variables | {
        name: os.environ[name] for name in _THREADS if os.environ.get(name, threads) not in ("", threads)
    }


def computed_by(engine: Choice, network: AnyNetwork, tuning: Tuning | None = None) -> dict[str, Any]:
    """Return the fields `backend` and `compiler` of the record of a run.

    Args:
        engine: What runs the network.
        network: The network, on its device; some models compile a part of theirs under every engine.
        tuning: Of compiled steps; by default `tuning.chosen()`.
    """
    backend = engine.backend or engine.name
    compiled, flags = backend == "native C", ()
    if compiled:
        flags = (tuning or chosen()).flags
    rotations = [m for m in network.modules() if isinstance(m, PackedRotations) and m.angles.device.type == "cpu"]
    if rotations:
        native = all(compiled_rotations(m.angles.dtype) for m in rotations)
        backend += f", rotations in {'native C' if native else 'torch calls'}"
        compiled |= native
    return {"backend": backend, "compiler": library.described(flags) if compiled else None}


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return in words what rounds differently in two environments, as a record's `environment` has them.

    What the first does not say, since it is of a version that did not record it, is no difference.
    """
    lines = []
    if before.get("backend") is not None and before["engine"] == now["engine"]:  # else the message is another one
        lines += _differ({"backend": before["backend"]}, {"backend": now["backend"]})
        if before.get("compiler") and now.get("compiler"):
            lines += [f"compiler {line}" for line in _differ(before["compiler"], now["compiler"])]
    if before.get("rounding"):
        lines += _differ(before["rounding"], now["rounding"], ignored=_THREADS)
    return lines


def _differ(before: dict[str, str], now: dict[str, str], ignored: tuple[str, ...] = ()) -> list[str]:
    names = [name for name in dict.fromkeys([*before, *now]) if name not in ignored]
    return [
        f"{name}: {before.get(name, 'not set')} then, {now.get(name, 'not set')} now"
        for name in names
        if before.get(name) != now.get(name)
    ]
