"""The Lorenz-96 system (Lorenz 1996) as coRNN's supplement A has it: predict the state 25 time steps later.

Five variables on a ring, pushed by a force F and damped (eq. 17 of the paper, whose indices mix i and j):

    x_j' = (x_{j+1} - x_{j-2}) x_{j-1} - x_j + F

With F 0.9 a trajectory wanders about the equilibrium (F, ..., F); with F 8 it is chaotic. Each begins in the cube of
side 1 around the equilibrium, uniformly, and is seen at points 0.01 apart. The input of a step is the state there, five
features as they are, and the target the state `ahead` points later; the last `ahead` points are targets only.

scipy's DOP853 solves it in float64 with relative and absolute tolerance 1e-12, all trajectories of a part at once. What
the task asks for, the state 0.25 time units later, is right to 1e-8. Far ahead no solution of a chaotic system is: at
F 8 stricter tolerances lead to other states after 20 time units, so another machine may get other late points.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from stablebench.data.batch import Batch, Sizes
from stablebench.data.files.store import prepared
from stablebench.errors import UserError
from stablebench.schema.strict import Count, Positive

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

VARIABLES = 5
DT = 0.01
COUNTS = {"train": 256, "test": 128}
TOLERANCE = 1.0e-12
_SEEDS = {"train": 0, "test": 1}


def sizes(*, length: Count = 2000, ahead: Count = 25) -> Sizes:
    """Return the sizes: a state in, a state out.

    Raises:
        UserError: A trajectory would have no target.
    """
    if length <= ahead:
        raise UserError(f"`length` must be > ahead = {ahead} (a target lies that far ahead), got {length}.")
    return Sizes(inputs=VARIABLES, outputs=VARIABLES, steps=length - ahead)


def load(
    name: Literal["train", "test"],
    *,
    F: Positive = 0.9,
    length: Count = 2000,
    ahead: Count = 25,
    data_dir: Path | None = None,
) -> Batch:
    """Return all trajectories of a part; they are computed when first needed, and stored in the cache folder.

    Args:
        name: 256 of `train`, of which a card may hold out some for validation, or 128 of `test`.
        F: The force, > 0.
        length: Points of a trajectory, > ahead.
        ahead: How many points later the target lies.
        data_dir: Not needed: nothing is read.

    Returns:
        States (n, length - ahead, 5), states `ahead` points later, of the same shape.

    Raises:
        UserError: The lengths do not fit, or the cache folder cannot be used.
    """
    steps = sizes(length=length, ahead=ahead).steps
    key = {"version": 1, "force": F, "length": length, "counts": COUNTS, "seeds": _SEEDS, "tolerance": TOLERANCE}
    states = prepared("lorenz96", key, lambda: _computed(F, length))[name]
    return Batch(states[:, :steps], states[:, ahead:])


def _computed(F: float, length: int) -> "dict[str, Tensor]":
    import torch

    parts = {}
    for name, count in COUNTS.items():
        starts = F - 0.5 + np.random.default_rng(_SEEDS[name]).random((count, VARIABLES))
        parts[name] = torch.from_numpy(trajectories(starts, F, length).astype(np.float32))
    return parts


def trajectories(starts: "NDArray[np.float64]", F: float, length: int) -> "NDArray[np.float64]":
    """Return the solutions from `starts` (n, variables) at `length` points 0.01 apart, (n, length, variables)."""
    from scipy.integrate import solve_ivp

    n, variables = starts.shape
    before, before_that, after = (np.roll(np.arange(variables), shift) for shift in (1, 2, -1))

    def derivative(_: float, flat: "NDArray[np.float64]") -> "NDArray[np.float64]":
        x = flat.reshape(n, variables)
        return ((x[:, after] - x[:, before_that]) * x[:, before] - x + F).ravel()

    times = np.arange(length) * DT
    solved = solve_ivp(
        derivative,
        (0.0, times[-1]),
        starts.ravel(),
        method="DOP853",
        t_eval=times,
        rtol=TOLERANCE,
        atol=TOLERANCE,
    )
    return solved.y.reshape(n, variables, length).transpose(0, 2, 1)
