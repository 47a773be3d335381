r"""All singular values of the input-output Jacobian ds_T/ds_1, over any number of steps.

With J_t = ds_t/ds_{t-1} the transposed product is pulled back through the chain and orthogonalised on the way,

    J_2^T J_3^T ... J_T^T Q_0 = Q R_m ... R_2 R_1,

so its singular values are those of R = R_m ... R_1, not the diagonal of R: that has the growth rates right, but not the
singular values of a product that is not normal. R is kept as diag(2^r) S with integers r and rows of S near 1: its rows
grow and shrink by their own rates, thousands of decades apart. Q_0 is a random orthogonal matrix, behind which the rows
of R come in the order of their growth, whatever the order of the states; S then stays well conditioned.

The singular values come from one-sided Jacobi rotations of the rows of R, each of which keeps its own power of two:
they are right to rounding, relative to themselves and not to the largest. Every factor is orthogonalised when the
product since the last time is about to lose digits: a column of R_i whose diagonal entry is small against its norm has
lost as many.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stablebench.errors import StablebenchError
from stablebench.models.claims.claim import DECADE
from stablebench.probes.powers import LOWEST_EXPONENT, exponent, power_of_two
from stablebench.probes.state_chain import StateChain

_EPS = torch.finfo(torch.float64).eps
_DIGITS_LOST = 1e-5
"""Least diagonal entry, relative to its column, of a product of several steps: eps / 1e-5 = 2e-11 of error a block."""
_WELL_CONDITIONED = 1e-2
"""Above this the next product may be twice as long."""
_LONGEST = 32
"""Steps between two orthogonalisations."""
_RANGE = 1e150
"""Size of entries, up and down, that a product of several steps may reach."""
_STRIP = 64
"""Rows of a triangle that are multiplied together."""
_NEGLIGIBLE = 128
"""A row of R below another by this power of two, and by what a factor can add to that, adds nothing to it."""
_ALTERNATIONS = 20
"""QR decompositions before the Jacobi rotations."""
_PARTS = 4
"""Parts of the chain whose growth is kept apart."""
_SWEEPS = 40
"""Sweeps of Jacobi rotations, at most; about ten are needed."""


@dataclass(frozen=True)
class SingularValues:
    """The singular values of ds_T/ds_1 for each sample.

    Args:
        steps: One-step Jacobians multiplied: T - 1.
        logs: Natural logarithms, (samples, size), the largest first; -inf for those that are 0, that is where a
            one-step Jacobian is singular in float64.
        growth: Natural logarithms of the diagonal of R, (parts, samples, size): how the orthogonalised directions grew
            in parts of the chain, from its end to its start; their sum over all parts divided by `steps` are the
            finite-time Lyapunov exponents. -inf where a direction dies.
        part_steps: The one-step Jacobians of each part.
    """

    steps: int
    logs: Tensor
    growth: Tensor
    part_steps: tuple[int, ...]

    @property
    def size(self) -> int:
        """Width of the state."""
        return self.logs.shape[1]

    @property
    def log_largest(self) -> Tensor:
        """Natural logarithm of the largest one, (samples)."""
        return self.logs[:, 0]

    @property
    def log_smallest(self) -> Tensor:
        """Natural logarithm of the smallest one, (samples)."""
        return self.logs[:, -1]

    @property
    def log_condition(self) -> Tensor:
        """Natural logarithm of the condition number, the largest over the smallest, (samples); inf where it is 0."""
        return self.log_largest - self.log_smallest

    @property
    def isometry_distance(self) -> Tensor:
        """Root mean square of ln sigma over the directions that are not dead, (samples): 0 for dynamical isometry.

        A value of 1 says that such a direction typically grows or shrinks by a factor e over the whole chain; inf where
        all are dead. One dead direction, as of a unit that a nonlinearity cuts off, would make it infinite else.
        """
        alive = self.logs.isfinite()
        squares = torch.where(alive, self.logs, 0.0).square().sum(1)
        return torch.where(alive.any(1), (squares / alive.sum(1).clamp(min=1)).sqrt(), math.inf)

    @property
    def dead(self) -> Tensor:
        """How many directions are dead, their singular value being 0, (samples)."""
        return self.logs.isinf().sum(1)

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict; a value beyond float64 has its logarithm only, a value of 0 no logarithm.

        `log10_sigma` has all singular values of each sample, the largest first.
        """
        return {
            "steps": self.steps,
            "state_size": self.size,
            "sigma_max": _both(self.log_largest),
            "sigma_min": _both(self.log_smallest),
            "singular": int(self.log_smallest.isinf().sum()),
            "log10_condition": _finite(self.log_condition / DECADE),
            "isometry_distance": _finite(self.isometry_distance),
            "dead_directions": self.dead.tolist(),
            "log10_sigma": [_finite(row / DECADE) for row in self.logs],
        }


def _finite(values: Tensor) -> list[float | None]:
    return [v if math.isfinite(v) else None for v in values.tolist()]


def _both(logs: Tensor) -> dict[str, list[float | None]]:
    values = [math.exp(v) if -700 < v < 700 else (0.0 if v == -math.inf else None) for v in logs.tolist()]
    return {"value": values, "log10": [v / DECADE if math.isfinite(v) else None for v in logs.tolist()]}


def jacobian_singular_values(chain: StateChain, states: Tensor) -> SingularValues:
    """Return the singular values of ds_T/ds_1.

    Args:
        chain: The chain.
        states: `chain.states()`.

    Raises:
        StablebenchError: A one-step Jacobian is not finite.
    """
    n = chain.own_size
    product = GradedProduct(chain.batch, n)
    singular = torch.zeros(chain.batch, dtype=torch.bool)
    Q = _generic_basis(n).expand(chain.batch, n, n)
    t, length = chain.steps, 1
    ends = [chain.steps - (chain.steps - 1) * (part + 1) // _PARTS for part in range(_PARTS)]
    growth = states.new_zeros(_PARTS, chain.batch, n)
    part = 0
    while t > 1:
        while t <= ends[part]:
            part += 1
        length = min(length, t - ends[part])
        rows = Q.permute(2, 0, 1)  # columns of Q as cotangents, (n, batch, n)
        for back in range(length):
            rows = chain.own_vjp(t - back, states[t - back - 1], rows)
        block = rows.permute(1, 2, 0)
        if length > 1 and not _in_range(block, singular):
            length //= 2
            continue
        if not block.isfinite().all():
            raise StablebenchError(f"The derivative of step {t} is not finite.")
        new_Q, R = torch.linalg.qr(block)
        digits = _kept_digits(R)
        worst = digits[~singular].min().item() if not singular.all() else 1.0
        if length > 1 and worst < _DIGITS_LOST:
            length //= 2
            continue
        if length == 1:
            dead = digits <= n * _EPS
            singular |= dead.any(1)
            R = torch.where(dead[:, :, None], 0.0, R)
        product.multiply(R)
        growth[part] += R.diagonal(dim1=1, dim2=2).abs().log()
        Q, t = new_Q, t - length
        if worst > _WELL_CONDITIONED:
            length = min(2 * length, _LONGEST)
    starts = [chain.steps, *ends[:-1]]
    part_steps = tuple(start - end for start, end in zip(starts, ends, strict=True))
    return SingularValues(chain.steps - 1, product.log_singular_values(), growth, part_steps)


def _generic_basis(n: int) -> Tensor:
    """Return an orthogonal matrix (n, n), always the same, that no model's states are aligned with."""
    rng = torch.Generator().manual_seed(n)
    return torch.linalg.qr(torch.randn(n, n, generator=rng, dtype=torch.float64)).Q


def _in_range(block: Tensor, singular: Tensor) -> bool:
    """Whether no entry nears the ends of float64 and no column has died; dead columns are a singular sample's own."""
    columns = block.abs().amax(1)
    largest = columns.amax(1)
    dying = columns.amin(1)[~singular]
    return bool((largest < _RANGE).all() and (dying > 1 / _RANGE).all() and (largest[singular] > 1 / _RANGE).all())


def _kept_digits(R: Tensor) -> Tensor:
    """Return the ratios of the diagonal entries to their columns' norms, (batch, n); 0 for a column of zeros."""
    norms = torch.linalg.vector_norm(R, dim=1)
    diagonal = R.diagonal(dim1=1, dim2=2).abs()
    return torch.where(norms > 0, diagonal / norms, 0.0)


class GradedProduct:
    """An upper triangular R = diag(2^r) S, (batch, n, n), with r not increasing along the rows.

    Args:
        batch: How many there are.
        n: Their size; each begins as the identity.
    """

    def __init__(self, batch: int, n: int) -> None:
        self.S = torch.eye(n, dtype=torch.float64).repeat(batch, 1, 1)
        self.r = torch.zeros(batch, n, dtype=torch.long)

    def multiply(self, factor: Tensor) -> None:
        """Replace R by factor R; `factor` is upper triangular.

        A strip of rows at a time, without the zeros below the diagonal, and without rows of R so far below the strip's
        that all they add to it is less than rounding.
        """
        S, n = torch.zeros_like(self.S), factor.shape[1]
        strips = [(top, min(top + _STRIP, n)) for top in range(0, n, _STRIP)]
        for (top, end), reach in zip(strips, self._reaches(factor, [end for _, end in strips]), strict=True):
            # r_k <= r_i for k > i, so that scaling row k to row i's scale never enlarges
            weights = power_of_two(self.r[:, None, top:reach] - self.r[:, top:end, None]).triu()
            S[:, top:end, top:] = (factor[:, top:end, top:reach] * weights) @ self.S[:, top:reach, top:]
        r = self.r + exponent(S.abs().amax(2))
        r = r.flip(1).cummax(1).values.flip(1)
        self.S = S.mul_(power_of_two(self.r - r)[:, :, None])
        self.r = r

    def _reaches(self, factor: Tensor, ends: list[int]) -> list[int]:
        """Return for each strip of rows, by its end, how many rows of R to take: those within 2^margin of its last."""
        largest = torch.linalg.vector_norm(factor, dim=(1, 2))
        least = factor.diagonal(dim1=1, dim2=2).abs().amin(1)
        margin = _NEGLIGIBLE + exponent(largest) - exponent(least)
        margin = torch.where(least > 0, margin, -LOWEST_EXPONENT).clamp(max=-LOWEST_EXPONENT)
        lowest = self.r[:, [end - 1 for end in ends]] - margin[:, None]
        return (self.r[:, None, :] >= lowest[:, :, None]).sum(2).amax(0).tolist()

    def log_singular_values(self) -> Tensor:
        """Return their natural logarithms, (batch, n), the largest first; -inf for 0."""
        return _log_singular_values(self.S, self.r)


def _log_singular_values(S: Tensor, r: Tensor) -> Tensor:
    """Return the logarithms of the singular values of diag(2^r) S, an upper triangle with r not increasing.

    First R -> (Q^T R^T) a few times, which makes far apart values stand apart, as in the LR method; then one-sided
    Jacobi rotations of the rows until all are orthogonal. Row i is v_i exp(e_i) with |v_i| = 1; the smaller row of a
    pair is written in its own scale, so it loses no digit however far below the other it lies (Demmel, Veselic.
    Jacobi's method is more accurate than QR. SIAM J. Matrix Anal. Appl. 13, 1992).
    """
    weights = power_of_two(r[:, :, None] - r[:, None, :]).tril()
    M = S.mT  # R^T = M diag(2^r)
    for _ in range(_ALTERNATIONS):
        M = weights * torch.linalg.qr(M).R.mT
    norms = torch.linalg.vector_norm(M, dim=1)
    e = torch.where(norms > 0, norms.log() + r * math.log(2), -torch.inf)
    v = (M * torch.where(norms > 0, 1 / norms, 0.0)[:, None, :]).mT
    if v.shape[1] % 2:  # a row of zeros makes the number even
        v, e = nn.functional.pad(v, (0, 0, 0, 1)), nn.functional.pad(e, (0, 1), value=-torch.inf)
    half, n = v.shape[1] // 2, S.shape[1]
    for _ in range(_SWEEPS):
        order = e.argsort(dim=1, descending=True)
        e, v = e.gather(1, order), v.gather(1, order[:, :, None].expand_as(v))
        halves = [(v[:, :half], e[:, :half]), (v[:, half:].flip(1), e[:, half:].flip(1))]
        largest = 0.0
        for _ in range(2 * half - 1):
            cosine = (halves[0][0] * halves[1][0]).sum(2)
            size = cosine.abs().max().item()
            if size > n * _EPS:
                halves = _rotated(*halves[0], *halves[1], cosine)
            largest = max(largest, size)
            halves = _moved_on(*halves)
        v, e = (torch.cat([first, second.flip(1)], dim=1) for first, second in zip(*halves, strict=True))
        if largest <= n * _EPS:
            return e.sort(dim=1, descending=True).values[:, :n]
    raise StablebenchError(f"The singular values of a Jacobian of {n} states did not converge.")


def _rotated(a: Tensor, e_a: Tensor, b: Tensor, e_b: Tensor, cosine: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return rows exp(e) v, (batch, rows, n), rotated so that each of the first is orthogonal to its partner."""
    swap = e_b > e_a
    large, small = torch.where(swap[:, :, None], b, a), torch.where(swap[:, :, None], a, b)
    e_large, e_small = torch.where(swap, e_b, e_a), torch.where(swap, e_a, e_b)
    zero = e_small.isneginf()
    d = torch.where(zero, 0.0, e_small - torch.where(zero, 0.0, e_large)).exp()
    # the angle's tangent is tau d; the small row, in its own scale, adds tau of the large one
    g = torch.where(zero | (cosine == 0), torch.inf, (d * d - 1) / (2 * cosine))
    tau = torch.where(g >= 0, 1.0, -1.0) / (g.abs() + (d * d + g * g).sqrt())
    scale = (1 + (tau * d).square()).rsqrt()[:, :, None]
    new_large = scale * (large - (tau * d * d)[:, :, None] * small)
    new_small = scale * (small + tau[:, :, None] * large)
    rows = []
    for new, e in ((new_large, e_large), (new_small, e_small)):
        norm = torch.linalg.vector_norm(new, dim=2)
        rows.append((torch.where(norm > 0, 1 / norm, 0.0)[:, :, None] * new, e + norm.log()))
    (large, e_large), (small, e_small) = rows
    first = torch.where(swap[:, :, None], small, large), torch.where(swap, e_small, e_large)
    second = torch.where(swap[:, :, None], large, small), torch.where(swap, e_large, e_small)
    return [first, second]


def _moved_on(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return the rows in the next pairing of the circle method: the first row stays, the others move on by one."""
    upper, lower = [], []
    for a, b in zip(first, second, strict=True):
        upper.append(torch.cat([a[:, :1], b[:, :1], a[:, 1:-1]], dim=1) if a.shape[1] > 1 else a)
        lower.append(torch.cat([b[:, 1:], a[:, -1:]], dim=1) if a.shape[1] > 1 else b)
    return [(upper[0], upper[1]), (lower[0], lower[1])]
