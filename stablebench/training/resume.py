"""Finds the checkpoint that a run is resumed from, and makes its tensors the run's own."""

import torch
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.base import State
from stablebench.runs import checkpoint
from stablebench.runs.checkpoint import Checkpoint
from stablebench.runs.progress import Reporter
from stablebench.runs.store import RunFolder


def latest_valid_checkpoint(folder: RunFolder, reporter: Reporter | None = None) -> Checkpoint | None:
    """Return the newest checkpoint whose digest holds, or None where the run has no checkpoint at all.

    Raises:
        UserError: There are checkpoints, and all are damaged.
    """
    problems = []
    for path in folder.checkpoints():
        try:
            return checkpoint.load(path)
        except UserError as error:
            problems.append(str(error))
            if reporter is not None:
                reporter.note(f"{error} Falling back to the one before.")
    if problems:
        raise UserError("\n".join(problems))
    return None


def contiguous_clone(tensor: Tensor) -> Tensor:
    """Return a copy in memory of its own: where a tensor lies in memory decides how a matrix product is rounded."""
    return tensor.clone(memory_format=torch.contiguous_format)


def states_of(tensors: dict[str, Tensor], device: torch.device) -> list[State]:
    """Return the states of all layers from tensors called `layer.number`."""
    layers: dict[int, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, number = (int(part) for part in name.split("."))
        layers.setdefault(layer, {})[number] = contiguous_clone(tensor.to(device))
    return [tuple(state[i] for i in sorted(state)) for _, state in sorted(layers.items())]
