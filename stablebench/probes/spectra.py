r"""Eigenvalues in the complex plane, and how far a matrix is from normal and from orthogonal.

    spectral radius             max |lambda|
    departure from normality    Henrici's ||U||_F, U the strictly upper triangle of the Schur form A = Q (D + U) Q^H;
                                also relative to ||A||_F, where 0 is normal and 1 nilpotent
    distance from orthogonality ||A^T A - I||, spectral norm, so max |sigma^2 - 1|

Of the recurrent matrix where a model has one (`RecurrentModel.recurrent_matrix`), and of one-step Jacobians
ds_t/ds_{t-1} at steps spread evenly over the chain.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from scipy.linalg import schur
from torch import Tensor

from stablebench.models.base import RecurrentModel
from stablebench.models.network import AnyNetwork
from stablebench.probes.state_chain import StateChain

_SAMPLED = 5
"""Steps whose Jacobians are looked at."""


@dataclass(frozen=True)
class Spectrum:
    """The eigenvalues of one matrix.

    Args:
        of: What matrix.
        eigenvalues: Complex, (n,), the largest first.
        henrici: Departure from normality, ||U||_F.
        norm: ||A||_F.
        from_orthogonal: ||A^H A - I||, spectral norm.
    """

    of: str
    eigenvalues: Tensor
    henrici: float
    norm: float
    from_orthogonal: float

    @property
    def radius(self) -> float:
        """The largest modulus."""
        return self.eigenvalues.abs().max().item()

    @property
    def least_modulus(self) -> float:
        """The smallest modulus."""
        return self.eigenvalues.abs().min().item()

    @property
    def relative_henrici(self) -> float:
        """Departure from normality as a share of ||A||_F, 0 ... 1; 0 for A = 0."""
        return self.henrici / self.norm if self.norm else 0.0

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {
            "of": self.of,
            "spectral_radius": self.radius,
            "least_modulus": self.least_modulus,
            "henrici": self.henrici,
            "henrici_relative": self.relative_henrici,
            "distance_from_orthogonal": self.from_orthogonal,
            "eigenvalues": {"real": self.eigenvalues.real.tolist(), "imaginary": self.eigenvalues.imag.tolist()},
        }


@dataclass(frozen=True)
class Spectra:
    """The spectra of one network.

    Args:
        recurrent: Of the recurrent matrix of each layer that has one.
        steps: Of one-step Jacobians of the first sample.
    """

    recurrent: list[Spectrum]
    steps: list[Spectrum]

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {
            "recurrent_matrix": [spectrum.document() for spectrum in self.recurrent],
            "one_step_jacobian": [spectrum.document() for spectrum in self.steps],
        }


def spectrum(A: Tensor, of: str) -> Spectrum:
    """Return the spectrum of a matrix.

    Args:
        A: (n, n), real or complex.
        of: What it is.
    """
    A = A.detach().to(torch.complex128)
    matrix = A.numpy()
    triangle = numpy.asarray(schur(matrix, output="complex")[0])
    values = numpy.diagonal(triangle)
    order = numpy.argsort(-abs(values), kind="stable")
    return Spectrum(
        of,
        torch.from_numpy(values[order].copy()),
        float(numpy.linalg.norm(numpy.triu(triangle, 1))),
        float(numpy.linalg.norm(matrix)),
        torch.linalg.matrix_norm(A.mH @ A - torch.eye(len(A), dtype=A.dtype), 2).item(),
    )


def sampled_steps(chain: StateChain, count: int = _SAMPLED) -> list[int]:
    """Return up to `count` steps t of 2 ... T, spread evenly, the ends among them; [1] where T is 1."""
    if chain.steps == 1:
        return [1]
    span = chain.steps - 2
    return sorted({2 + math.floor(span * i / max(count - 1, 1)) for i in range(count)})


def step_jacobian(chain: StateChain, states: Tensor, t: int, sample: int = 0) -> Tensor:
    """Return ds_t/ds_{t-1} of one sample, (n, n).

    Args:
        chain: The chain.
        states: `chain.states()`.
        t: 1 ... T.
        sample: Which sample.
    """
    n = chain.own_size if t > 1 or chain.own_units is not None else chain.size
    rows = torch.eye(n, dtype=states.dtype)[:, None].expand(n, chain.batch, n)
    return chain.own_vjp(t, states[t - 1], rows)[:, sample]


def spectra(network: AnyNetwork, chain: StateChain, states: Tensor) -> Spectra:
    """Return the spectra of a network.

    Args:
        network: The chain's network.
        chain: The chain; its first sample's Jacobians are looked at.
        states: `chain.states()`.
    """
    recurrent = []
    for i, layer in enumerate(network.models, start=1):
        matrix = layer.recurrent_matrix() if isinstance(layer, RecurrentModel) else None
        if matrix is not None:
            recurrent.append(spectrum(matrix, "recurrent matrix" + (f", layer {i}" if len(network.models) > 1 else "")))
    steps = [spectrum(step_jacobian(chain, states, t), f"ds_{t}/ds_{t - 1}") for t in sampled_steps(chain)]
    return Spectra(recurrent, steps)
