r"""The largest and smallest singular value of the input-output Jacobian ds_T/ds_1, over any number of steps.

With J_t = ds_t/ds_{t-1} the transposed product is pulled back through the chain and orthogonalised on the way,

    J_2^T J_3^T ... J_T^T = Q R_m ... R_2 R_1,

so its singular values are those of R = R_m ... R_1. R is kept as diag(2^r) S diag(2^c) with integers r and c and
entries of S near 1 or below: rows of R grow and shrink by their own rates, thousands of decades apart. sigma_max is the
norm of R, sigma_min one over the norm of R^-1 = diag(2^-c) S^-1 diag(2^-r), each taken after its largest power of two
has been taken out. Every factor is orthogonalised when the product since the last time is about to lose digits: a
column of R_i whose diagonal entry is small against its norm has lost as many.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stablebench.errors import StablebenchError
from stablebench.probes.chain import Chain
from stablebench.probes.powers import exponent, power_of_two

_EPS = torch.finfo(torch.float64).eps
_DIGITS_LOST = 1e-5
"""Least diagonal entry, relative to its column, of a product of several steps: eps / 1e-5 = 2e-11 of error a block."""
_WELL_CONDITIONED = 1e-2
"""Above this the next product may be twice as long."""
_LONGEST = 32
"""Steps between two orthogonalisations."""
_RANGE = 1e150
"""Size of entries, up and down, that a product of several steps may reach."""
_REBALANCE = -200
"""Exponent of S's smallest diagonal entry at which columns are scaled anew, far from underflow at -1022."""


@dataclass(frozen=True)
class SingularValues:
    """The extreme singular values of ds_T/ds_1 for each sample.

    Args:
        steps: One-step Jacobians multiplied: T - 1.
        size: Width of the state.
        log_largest: Natural logarithm of the largest one, (samples); -inf for a Jacobian of 0.
        log_smallest: Of the smallest one; -inf where a one-step Jacobian is singular in float64.
    """

    steps: int
    size: int
    log_largest: Tensor
    log_smallest: Tensor

    def document(self) -> dict[str, Any]:
        """Return it as plain data; a value beyond float64 has its logarithm only, a value of 0 no logarithm."""
        return {
            "steps": self.steps,
            "state_size": self.size,
            "sigma_max": _both(self.log_largest),
            "sigma_min": _both(self.log_smallest),
            "singular": int(self.log_smallest.isinf().sum()),
        }


def _both(logs: Tensor) -> dict[str, list[float | None]]:
    values = [math.exp(v) if -700 < v < 700 else (0.0 if v == -math.inf else None) for v in logs.tolist()]
    return {"value": values, "log10": [v / math.log(10) if math.isfinite(v) else None for v in logs.tolist()]}


def jacobian_singular_values(chain: Chain, states: Tensor) -> SingularValues:
    """Return the extreme singular values of ds_T/ds_1.

    Args:
        chain: The chain.
        states: `chain.states()`.

    Raises:
        StablebenchError: A one-step Jacobian is not finite.
    """
    n = chain.size
    product = _ScaledProduct(chain.batch, n)
    singular = torch.zeros(chain.batch, dtype=torch.bool)
    Q = torch.eye(n, dtype=states.dtype).expand(chain.batch, n, n)
    t, length = chain.steps, 1
    while t > 1:
        length = min(length, t - 1)
        rows = Q.permute(2, 0, 1)  # columns of Q as cotangents, (n, batch, n)
        for back in range(length):
            rows = chain.pull(t - back, states[t - back - 1], rows)
        block = rows.permute(1, 2, 0)
        if length > 1 and not _in_range(block, singular):
            length //= 2
            continue
        if not block.isfinite().all():
            raise StablebenchError(f"The derivative of step {t} is not finite.")
        new_Q, R = torch.linalg.qr(block)
        kept = _least_diagonal(R)
        worst = kept[~singular].min().item() if not singular.all() else 1.0
        if length > 1 and worst < _DIGITS_LOST:
            length //= 2
            continue
        if length == 1:
            singular |= kept <= n * _EPS
        product.multiply(R, singular)
        Q, t = new_Q, t - length
        if worst > _WELL_CONDITIONED:
            length = min(2 * length, _LONGEST)
    low = torch.where(singular, -torch.inf, product.log_smallest(~singular))
    return SingularValues(chain.steps - 1, n, product.log_largest(), low)


def _in_range(block: Tensor, singular: Tensor) -> bool:
    """Whether no entry nears the ends of float64 and no column has died; dead columns are a singular sample's own."""
    columns = block.abs().amax(1)
    largest = columns.amax(1)
    dying = columns.amin(1)[~singular]
    return bool((largest < _RANGE).all() and (dying > 1 / _RANGE).all() and (largest[singular] > 1 / _RANGE).all())


def _least_diagonal(R: Tensor) -> Tensor:
    """Return the smallest ratio of a diagonal entry to its column's norm, (batch); 0 for a column of zeros."""
    norms = torch.linalg.vector_norm(R, dim=1)
    diagonal = R.diagonal(dim1=1, dim2=2).abs()
    return torch.where(norms > 0, diagonal / norms, 0.0).amin(1)


class _ScaledProduct:
    """An upper triangular R = diag(2^r) S diag(2^c), (batch, n, n), with r not increasing along the rows."""

    def __init__(self, batch: int, n: int) -> None:
        self.S = torch.eye(n, dtype=torch.float64).repeat(batch, 1, 1)
        self.r = torch.zeros(batch, n, dtype=torch.long)
        self.c = torch.zeros(batch, n, dtype=torch.long)

    def multiply(self, factor: Tensor, singular: Tensor) -> None:
        """Replace R by factor R; `factor` is upper triangular, `singular` says whose R has no inverse."""
        # r_k <= r_i for k > i, so that scaling row k to row i's scale never enlarges
        S = (factor * power_of_two(self.r[:, None, :] - self.r[:, :, None]).triu()) @ self.S
        r = self.r + exponent(S.abs().amax(2))
        r = r.flip(1).cummax(1).values.flip(1)
        self.S = S * power_of_two(self.r - r)[:, :, None]
        self.r = r
        small = exponent(self.S.diagonal(dim1=1, dim2=2)).amin(1) < _REBALANCE
        for i in torch.nonzero(small & ~singular).flatten().tolist():
            self._rebalance(i)

    def _rebalance(self, i: int) -> None:
        """Choose r and c of one sample so that S has a diagonal near 1 and nothing above it larger.

        That takes r_j >= log2|R_jk| - log2|R_kk| + r_k for all k > j: the recursion below, from the last row up.
        """
        S, r, c = self.S[i], self.r[i], self.c[i]
        logs = exponent(S) + r[:, None] + c
        diagonal = logs.diagonal().clone()
        excess = torch.where(S != 0, logs - diagonal, torch.iinfo(torch.long).min // 2).triu(1)
        new_r = torch.zeros_like(r)
        for j in range(len(r) - 2, -1, -1):
            new_r[j] = torch.maximum((excess[j, j + 1 :] + new_r[j + 1 :]).max(), new_r[j + 1])
        new_c = diagonal - new_r
        self.S[i] = S * power_of_two(r[:, None] + c - new_r[:, None] - new_c)
        self.r[i], self.c[i] = new_r, new_c

    def log_largest(self) -> Tensor:
        """Return ln of the norm of R, (batch)."""
        return _log_norm(self.S, self.r, self.c)

    def log_smallest(self, regular: Tensor) -> Tensor:
        """Return -ln of the norm of R^-1, (batch), where `regular`; NaN elsewhere."""
        found = torch.full((len(self.S),), torch.nan, dtype=torch.float64)
        if regular.any():
            S = self.S[regular]
            eye = torch.eye(S.shape[1], dtype=S.dtype)
            inverse = torch.linalg.solve_triangular(S, eye.expand_as(S), upper=True)
            found[regular] = -_log_norm(inverse, -self.c[regular], -self.r[regular])
        return found


def _log_norm(S: Tensor, r: Tensor, c: Tensor) -> Tensor:
    """Return ln of the spectral norm of diag(2^r) S diag(2^c), (batch); -inf for zero."""
    scale = r[:, :, None] + c[:, None, :]
    top = torch.where(S != 0, exponent(S) + scale, torch.iinfo(torch.long).min // 2).flatten(1).amax(1)
    entries = torch.where(S != 0, S * power_of_two(scale - top[:, None, None]), 0.0)
    return torch.linalg.matrix_norm(entries, 2).log() + top * math.log(2)
