"""What a run asks of the device that it computes on."""

import resource
import sys

import torch
from torch import Tensor


def random_state(device: torch.device) -> Tensor:
    """Return the state of the generator that a model draws from on `device`."""
    return torch.get_rng_state() if device.type == "cpu" else torch.cuda.get_rng_state(device)


def set_random_state(device: torch.device, state: Tensor) -> None:
    """Set the state of the generator that a model draws from on `device`."""
    if device.type == "cpu":
        torch.set_rng_state(state)
    else:
        torch.cuda.set_rng_state(state, device)


def answers(device: torch.device) -> bool:
    """Return whether a device still computes: after some errors of CUDA nothing in the process does any more."""
    try:
        return torch.ones(1, device=device).add(1).item() == 2
    except RuntimeError:
        return False


def peak_bytes(device: torch.device) -> int:
    """Return the peak memory: of the process on a CPU, of torch's allocator on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
