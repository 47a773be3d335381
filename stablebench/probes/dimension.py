r"""In how many dimensions the states lie.

With lambda_i the eigenvalues of the states' covariance over all steps and samples, and p_i = lambda_i / sum lambda_j:

    participation ratio   (sum lambda_i)^2 / sum lambda_i^2        1 ... n
    effective rank        exp(-sum q_i ln q_i)                     1 ... n, q_i = sigma_i / sum sigma_j, sigma_i^2 =
                                                                   lambda_i: the singular values of centred states

One pass over the states; what is kept does not depend on the number of steps. Where there are fewer states than their
width, the eigenvalues are those of the products of centred states with each other, the rest being 0.

References: participation ratio: Gao, Trautmann, Yu, Santhanam, Ryu, Shenoy, Ganguli. A theory of multineuronal
dimensionality, dynamics and measurement. 2017. https://doi.org/10.1101/214262. Effective rank: Roy, Vetterli. The
effective rank: a measure of effective dimensionality. EUSIPCO 2007.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stablebench.probes.state_chain import StateChain


@dataclass(frozen=True)
class StateDimension:
    """The dimension of the states.

    Args:
        eigenvalues: Of the covariance, (n), the largest first, >= 0.
    """

    eigenvalues: Tensor

    @property
    def size(self) -> int:
        """Width of the state, n."""
        return len(self.eigenvalues)

    @property
    def participation_ratio(self) -> float | None:
        """The participation ratio; None where the states never change."""
        total = self.eigenvalues.sum()
        if not total:
            return None
        shares = self.eigenvalues / total
        return (1 / shares.square().sum()).item()

    @property
    def effective_rank(self) -> float | None:
        """The effective rank; None where the states never change."""
        sizes = self.eigenvalues.sqrt()
        if not sizes.sum():
            return None
        shares = sizes / sizes.sum()
        return torch.special.entr(shares).sum().exp().item()

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {
            "state_size": self.size,
            "participation_ratio": self.participation_ratio,
            "effective_rank": self.effective_rank,
            "eigenvalues": self.eigenvalues.tolist(),
        }


def state_dimension(chain: StateChain, states: Tensor) -> StateDimension:
    """Return the dimension of the states s_1 ... s_T of all samples.

    Args:
        chain: The chain.
        states: `chain.states()`.
    """
    n = chain.own_size
    states = states[:, :, :n] if chain.own_units is None else states[:, :, chain.own_units]
    if chain.steps * chain.batch < n:
        return StateDimension(_without_rounding(_of_few(states[1:].flatten(0, 1)), n))
    count, total, products = 0, states.new_zeros(n), states.new_zeros(n, n)
    start = states[1:].mean((0, 1))  # near the mean, so that nothing cancels in the covariance
    for state in states[1:]:
        centred = state - start
        count, total, products = count + len(centred), total + centred.sum(0), products + centred.T @ centred
    covariance = products / count - torch.outer(total, total) / count**2
    return StateDimension(_without_rounding(torch.linalg.eigvalsh(covariance).flip(0), n))


def _of_few(rows: Tensor) -> Tensor:
    """Return the eigenvalues of the covariance of fewer rows than columns, (columns), the largest first."""
    centred = rows - rows.mean(0)
    values = torch.linalg.eigvalsh(centred @ centred.T / len(rows)).flip(0)
    return torch.nn.functional.pad(values, (0, rows.shape[1] - len(rows)))


def _without_rounding(values: Tensor, n: int) -> Tensor:
    """Return eigenvalues of an (n, n) matrix with those that are rounding as 0."""
    floor = n * torch.finfo(values.dtype).eps * values.abs().max()
    return torch.where(values > floor, values, 0.0)
