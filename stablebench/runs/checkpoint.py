"""Checkpoints: tensors and JSON in one safetensors file, with a digest over both; no pickle.

A flipped bit loads silently from safetensors, so the digest is checked on every load. A tensor that stands under
several names is stored once, and one of a type that safetensors does not know as its bytes.
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
from torch.nn.parameter import is_lazy

from stablebench.errors import UserError, first_line
from stablebench.runs.atomic import write_atomically

_STORED = frozenset(
    getattr(torch, name)
    for name in (
        *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64", "bool"),
        *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
    )
)
"""Types that safetensors knows."""
_AS_BYTES = frozenset({torch.complex128, torch.complex32, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz})
"""Types that are stored as their bytes."""


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


def why_not_stored(tensor: Tensor) -> str | None:
    """Return why a tensor cannot be stored, or None if it can."""
    if is_lazy(tensor):
        return "it has no shape yet (a lazy module)"
    if tensor.layout != torch.strided or tensor.is_nested:
        return f"it is {'nested' if tensor.is_nested else str(tensor.layout).removeprefix('torch.')}, not strided"
    if tensor.is_quantized:
        return f"it is quantised ({tensor.dtype})"
    if tensor.is_meta:
        return "it is on the device `meta` and has no values"
    if tensor.dtype not in _STORED | _AS_BYTES:
        return f"its type {tensor.dtype} has no place in a checkpoint"
    try:
        as_stored(tensor)
    except (RuntimeError, TypeError, NotImplementedError) as error:  # a subclass without memory of its own
        return f"{type(tensor).__name__}: {first_line(error)}"
    return None


def as_stored(tensor: Tensor) -> Tensor:
    """Return the values of a tensor as they lie in a file: on the CPU, contiguous, nothing left to be applied."""
    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()


def as_bytes(tensor: Tensor) -> Tensor:
    """Return the bytes of a tensor that `as_stored` returned, (bytes,) uint8."""
    return tensor.reshape(-1).view(torch.uint8)


def digest(tensors: dict[str, Tensor], state: str) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of all tensors and the JSON state."""
    total = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        tensor = as_stored(tensors[name])
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        total.update(as_bytes(tensor).numpy().data)
    return total.hexdigest()


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically; the folder above its own must be there."""
    state = json.dumps(checkpoint.state, allow_nan=False)
    stored, same, types = _packed(checkpoint.tensors)
    whole = stored | {name: stored[other] for name, other in same.items()}
    tensors = {name: _typed(tensor, types.get(name)) for name, tensor in whole.items()}
    metadata = {"state": state, "sha256": digest(tensors, state)}
    if same or types:
        metadata["layout"] = json.dumps({"same": same, "types": types})
    write_atomically(path, to_bytes(stored, metadata), within=path.parent.parent)


def _packed(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str], dict[str, list[Any]]]:
    """Return what is stored, which names stand for a tensor of another name, and types that are stored as bytes."""
    stored: dict[str, Tensor] = {}
    same: dict[str, str] = {}
    types: dict[str, list[Any]] = {}
    first: dict[tuple[Any, ...], str] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        where = (tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
        where += (tensor.is_conj(), tensor.is_neg())
        if tensor.numel() and (other := first.setdefault(where, name)) != name:
            same[name] = other
            continue
        values = as_stored(tensor)
        memory = values.untyped_storage().data_ptr()
        if memory in taken:  # a view of what is stored under another name
            values = values.clone()
        taken.add(memory)
        if values.dtype in _AS_BYTES:
            types[name] = [str(values.dtype).removeprefix("torch."), list(values.shape)]
            values = as_bytes(values)
        stored[name] = values
    types |= {name: types[other] for name, other in same.items() if other in types}
    return stored, same, types


def _typed(stored: Tensor, kind: list[Any] | None) -> Tensor:
    """Return a tensor of the type and shape that it had before it was stored as bytes."""
    return stored if kind is None else stored.view(getattr(torch, kind[0])).reshape(kind[1])


def load(path: Path, *, checked: bool = True) -> Checkpoint:
    """Read a checkpoint; its tensors are mapped into memory.

    Args:
        path: The file.
        checked: Whether the digest is compared.

    Raises:
        UserError: The file is missing, truncated, changed, or no checkpoint of stablebench's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        state = metadata["state"]
        layout = json.loads(metadata.get("layout", "{}"))
        tensors |= {name: tensors[other] for name, other in layout.get("same", {}).items()}
        tensors = {name: _typed(tensor, layout.get("types", {}).get(name)) for name, tensor in tensors.items()}
        damaged = checked and metadata["sha256"] != digest(tensors, state)
        parsed = json.loads(state)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such checkpoint.") from None
    except (SafetensorError, OSError, ValueError, KeyError, MemoryError) as error:
        raise UserError(f"{path}: not a whole checkpoint ({type(error).__name__}: {error}).") from None
    except (AttributeError, TypeError, RuntimeError) as error:  # a layout that does not fit the tensors
        raise UserError(f"{path}: not a whole checkpoint ({type(error).__name__}: {first_line(error)}).") from None
    if damaged:
        raise UserError(f"{path}: the checkpoint is damaged (its digest does not match).")
    return Checkpoint(tensors, parsed)
