r"""How long linear dynamics remember: Fisher memory, transient amplification and linear memory capacity.

    h_t = Theta h_{t-1} + v s_t + z_t,    z_t ~ N(0, I) on every unit

The Fisher memory curve J(k) = v' (Theta^k)' C^-1 Theta^k v with C = sum_j Theta^j (Theta^j)' is the Fisher information
that h_t keeps of the signal of k steps ago (Ganguli, Huh, Sompolinsky. Memory traces in dynamical systems. PNAS 105,
2008; nnRNN paper, equations 3 and 7). A trained network is linearised first: Theta is a one-step Jacobian then.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from stablebench.errors import StablebenchError

_DOUBLINGS = 60
"""Doublings of the number of terms of C: 2^60 terms are more than any that matters."""
_SETTLED = 1e-15
"""Relative change of C at which its sum has converged."""


@dataclass(frozen=True)
class FisherMemory:
    """A Fisher memory curve.

    Args:
        curve: J(0) ... J(lags), (lags + 1).
        horizon: Terms of the noise covariance C; None for all.
    """

    curve: Tensor
    horizon: int | None

    @property
    def area(self) -> float:
        """The sum of the curve: the total memory."""
        return self.curve.sum().item()


def feedforward_matrix(n: int, alpha: float, beta: float = 0.0, d: float = 0.0) -> Tensor:
    """Return the nnRNN paper's example, (n, n): d on the diagonal, alpha under it, beta below (equation 2).

    Args:
        n: Its size, >= 1.
        alpha: The delay line's weight.
        beta: All entries further below.
        d: The diagonal.
    """
    ones = torch.ones(n, n, dtype=torch.float64)
    return d * ones.tril().triu() + alpha * ones.tril(-1).triu(-1) + beta * ones.tril(-2)


def noise_root(theta: Tensor, horizon: int | None = None) -> Tensor:
    """Return lower triangular L with L L' = sum_j Theta^j (Theta^j)' over j = 0 ... horizon - 1, (n, n) in float64.

    Every sum of two is a QR decomposition of their roots, so that the sum itself, whose condition number is the square,
    is never formed.

    Args:
        theta: Theta (n, n).
        horizon: Terms, >= 1; None for all, which needs a spectral radius below 1.

    Raises:
        StablebenchError: The sum has no limit, or exceeds float64.
    """
    theta = theta.double()
    one = torch.eye(len(theta), dtype=torch.float64)
    if horizon is None:
        radius = torch.linalg.eigvals(theta).abs().max().item()
        if radius >= 1:
            raise StablebenchError(
                f"The noise of a network with spectral radius {radius:.6g} grows without end: "
                "its Fisher memory needs a number of steps."
            )
        root, power = one, theta
        for _ in range(_DOUBLINGS):  # twice as many terms each time
            added = power @ root
            root = _root_of_sum(root, added)
            if torch.linalg.matrix_norm(added) <= _SETTLED * torch.linalg.matrix_norm(root):
                return root
            power = power @ power
        raise StablebenchError(f"The noise of a network with spectral radius {radius:.6g} does not settle.")
    root, power = one, theta
    for bit in f"{horizon:b}"[1:]:  # m terms, then 2 m, and one more for a bit of 1
        root, power = _root_of_sum(root, power @ root), power @ power
        if bit == "1":
            root, power = _root_of_sum(one, theta @ root), theta @ power
    return root


def _root_of_sum(A: Tensor, B: Tensor) -> Tensor:
    """Return lower triangular L with L L' = A A' + B B'."""
    both = torch.cat([A, B], dim=1)
    if not both.isfinite().all():
        raise StablebenchError("The noise of this network grows beyond float64.")
    return torch.linalg.qr(both.T, mode="r").R.T


def fisher_memory(theta: Tensor, v: Tensor, lags: int, horizon: int | None = None) -> FisherMemory:
    """Return the Fisher memory curve for unit noise on every unit.

    Args:
        theta: Theta (n, n).
        v: How the signal enters, (n,); or several directions (n, m), over which the curve is averaged.
        lags: The longest lag, >= 0.
        horizon: How long the noise has come in; None for ever.

    Raises:
        StablebenchError: The noise has no limit, or it exceeds float64.
    """
    factor = noise_root(theta, horizon)
    theta, signal, information = theta.double(), v.double().reshape(len(theta), -1), []
    for _ in range(lags + 1):
        white = torch.linalg.solve_triangular(factor, signal, upper=False)
        information.append(white.square().sum() / signal.shape[1])
        signal = theta @ signal
    return FisherMemory(torch.stack(information), horizon)


def delay_line_bound(theta: Tensor, lags: int) -> Tensor:
    """Return the nnRNN paper's lower bound on J(0) ... J(lags) with v the first unit (proposition 1), (lags + 1).

    It holds for k < n.

    Args:
        theta: Strictly lower triangular (n, n) with one weight sqrt(alpha) > 0 under the diagonal.
        lags: The longest lag, >= 0.
    """
    theta = theta.double()
    alpha = theta[1, 0].item() ** 2
    # Gram-Schmidt from the last column on leaves sqrt(alpha) e_2 ... sqrt(alpha) e_n and these coefficients
    gram = theta[1:, :-1] / theta[1, 0]
    sigma = torch.linalg.matrix_norm(gram, 2)
    k = torch.arange(lags + 1, dtype=torch.float64)
    delay = 1 / (k + 1) if alpha == 1 else alpha**k * (alpha - 1) / (alpha ** (k + 1) - 1)
    return delay / sigma ** (2 * (len(theta) - 1))


def linear_memory_capacity(theta: Tensor, v: Tensor, lags: int) -> Tensor:
    """Return how much of the variance of each past input a linear readout of h_t recovers, without noise, (lags + 1).

    The sum over all lags is the memory capacity, at most n (Jaeger. Short term memory in echo state networks. 2001).
    Without noise it counts what float64 tells apart: it is a numerical rank, of singular values above n eps sigma_max.

    Args:
        theta: Theta (n, n), of spectral radius below 1 or nilpotent.
        v: How the signal enters, (n,).
        lags: The longest lag, >= 0; longer ones count as noise.

    Raises:
        StablebenchError: Responses exceed float64.
    """
    signal, by_lag = v.double(), []
    for _ in range(lags + 1):
        by_lag.append(signal)
        signal = theta.double() @ signal
    responses = torch.stack(by_lag, dim=1)  # of the states to the input of each lag
    if not responses.isfinite().all():
        raise StablebenchError("The responses of this network grow beyond float64.")
    # the share of input k that the states hold: the squared length of unit vector k projected on the row space
    _, s, rows = torch.linalg.svd(responses, full_matrices=False)
    kept = rows[s > len(theta) * torch.finfo(torch.float64).eps * s.max()]
    return kept.square().sum(0)


def transients(theta: Tensor, steps: int, starts: int = 1000, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return how activity swells and dies from random starts on the unit sphere (nnRNN paper, figure 1(b)).

    Args:
        theta: Theta (n, n).
        steps: Steps, >= 0.
        starts: Starts, >= 1.
        seed: Decides them.

    Returns:
        The standard deviation across units and the norm of h_t, each (steps + 1, starts).
    """
    rng = torch.Generator().manual_seed(seed)
    h = torch.randn(len(theta), starts, generator=rng, dtype=torch.float64)
    h = h / torch.linalg.vector_norm(h, dim=0)
    deviations, norms = [], []
    for _ in range(steps + 1):
        deviations.append(h.std(0, correction=0))
        norms.append(torch.linalg.vector_norm(h, dim=0))
        h = theta.double() @ h
    return torch.stack(deviations), torch.stack(norms)
