"""Checkpoints: tensors and JSON in one safetensors file, with a digest over both; no pickle.

A flipped bit loads silently from safetensors, so the digest is checked on every load.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from stablebench.errors import UserError
from stablebench.training.files import write_atomically


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after `step` updates.

    Args:
        tensors: `network.*`, `optimiser.*` and `random.*` tensors.
        state: What JSON can hold: counters, evaluations, the length of the curve.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]

    @property
    def step(self) -> int:
        """Updates made."""
        return self.state["step"]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under `prefix.`, without it."""
        return {k.removeprefix(f"{prefix}."): v for k, v in self.tensors.items() if k.startswith(f"{prefix}.")}


def digest(tensors: dict[str, Tensor], state: str) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of all tensors and the JSON state."""
    total = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically; the folder above its own must be there."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in checkpoint.tensors.items()}
    state = json.dumps(checkpoint.state, allow_nan=False)
    write_atomically(
        path, to_bytes(tensors, {"state": state, "sha256": digest(tensors, state)}), within=path.parent.parent
    )


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        UserError: The file is missing, truncated, changed, or no checkpoint of stablebench's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        state = metadata["state"]
        damaged = metadata["sha256"] != digest(tensors, state)
        parsed = json.loads(state)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such checkpoint.") from None
    except (SafetensorError, OSError, ValueError, KeyError, MemoryError) as error:
        raise UserError(f"{path}: not a whole checkpoint ({type(error).__name__}: {error}).") from None
    if damaged:
        raise UserError(f"{path}: the checkpoint is damaged (its digest does not match).")
    return Checkpoint(tensors, parsed)
