r"""The sharpness of the loss, and the noise of its gradient.

    H = d^2 L / dtheta^2           L the mean loss of the samples, as training has it; theta all trained parameters
    G = J^T (d^2 L / dy^2) J       Gauss-Newton, y the outputs of the network, J = dy/dtheta
    sharpness                      the largest eigenvalue of H, and of G
    noise scale                    tr Sigma / |g|^2, Sigma the covariance of the samples' gradients, g their mean

Plain gradient descent with rate lr is stable along a direction while its eigenvalue is below 2 / lr; momentum and
adaptive rates have other bounds. The noise scale is about the batch size up to which a larger batch saves updates;
tr Sigma and |g|^2 are estimated without bias, |g|^2 from products of different samples' gradients.

With all states s as variables of their own, s = F(theta, s), and lambda = dL/ds, a product with H is

    d = (I - F_s)^-1 F_theta v,  (r, q) = Hess(lambda . F + L)(v, d),  Hv = r + F_theta^T (I - F_s)^-T q:

two linear recurrences over the steps (`linearised`), and the second derivatives of all steps at once, as rows of one
batch. With G it is the same without the second derivatives of F. A deep network has its double backward passes.

The eigenvalues are those of Lanczos' method (`lanczos`), to a thousandth. No fewer than 3 products can show that for
each of the two matrices, and a product has one pass forwards and one backwards over all steps. With the one for lambda
these are at least 14 passes, where the gradient flow has 3; an LSTM of 128 units, whose largest eigenvalues lie close
together, takes 11 to 25 products a matrix. Memory grows with the number of steps, as that of a gradient does.

References: Cohen, Kaur, Li, Kolter, Talwalkar. Gradient Descent on Neural Networks Typically Occurs at the Edge of
Stability. ICLR 2021. https://arxiv.org/abs/2103.00065. McCandlish, Kaplan, Amodei. An Empirical Model of Large-Batch
Training. 2018. https://arxiv.org/abs/1812.06162, the simple noise scale (equation 2.9).
"""

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.errors import UserError, first_line
from stablebench.models.network import AnyNetwork, Network
from stablebench.probes.gradient_flow import LossOf, summed
from stablebench.probes.lanczos import largest_eigenvalue
from stablebench.probes.second_order import GraphProducts, SweepProducts

_EDGE = 0.1
"""Relative distance from 2 / lr within which the sharpness is at the edge."""
Stability = Literal["stable", "at the edge", "beyond the edge", "unknown"]


@dataclass(frozen=True)
class Curvature:
    """Sharpness and gradient noise.

    Args:
        hessian: The largest eigenvalue of H.
        gauss_newton: That of G, >= 0.
        gradient_square: |g|^2 without bias; may be below 0 where noise hides it. NaN for one sample.
        noise: tr Sigma; NaN for one sample.
        samples: How many.
        lr: The learning rate that 2 / lr is taken of; None where none is known.
    """

    hessian: float
    gauss_newton: float
    gradient_square: float
    noise: float
    samples: int
    lr: float | None = None

    @property
    def noise_scale(self) -> float | None:
        """The simple noise scale, in samples; None where the samples show no mean gradient."""
        return self.noise / self.gradient_square if self.gradient_square > 0 else None

    @property
    def stability(self) -> Stability:
        """Whether the sharpness is below 2 / lr, within 10 % of it, or above; unknown without lr."""
        if self.lr is None:
            return "unknown"
        share = self.hessian * self.lr / 2
        return "stable" if share < 1 - _EDGE else "at the edge" if share <= 1 + _EDGE else "beyond the edge"

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        known = {"gradient_square": self.gradient_square, "gradient_noise": self.noise}
        return {
            "largest_hessian_eigenvalue": self.hessian,
            "largest_gauss_newton_eigenvalue": self.gauss_newton,
            "two_over_lr": None if self.lr is None else 2 / self.lr,
            "stability": self.stability,
            **{name: value if math.isfinite(value) else None for name, value in known.items()},
            "noise_scale": self.noise_scale,
            "samples": self.samples,
        }


def curvature(network: AnyNetwork, batch: Batch, *, loss: LossOf, lr: float | None = None) -> Curvature | None:
    """Return sharpness and gradient noise; None where nothing is trained.

    Args:
        network: As `frozen` returns it; the reference engine runs it.
        batch: The samples.
        loss: The task's loss, of `stablebench.data.metrics`.
        lr: Learning rate.

    Raises:
        UserError: An operation of the model has no second derivative.
    """
    network = copy.deepcopy(network).requires_grad_()
    parameters: list[Tensor] = list(network.parameters())
    if not parameters:
        return None
    with torch.enable_grad():
        try:
            given = batch, summed(loss), parameters
            recurrent = isinstance(network, Network)
            products = SweepProducts(network, *given) if recurrent else GraphProducts(network, *given)
            hessian, vector = largest_eigenvalue(products.hessian, [products.gradient])
            starts = [products.gradient] if vector is None else [vector, products.gradient]
            gauss_newton, _ = largest_eigenvalue(products.gauss_newton, starts)
        except RuntimeError as error:
            names = ", ".join(dict.fromkeys(type(model).__name__ for model in network.models))
            raise UserError(f"curvature: {names} has no second derivative: {first_line(error)}") from error
        square, noise = _noise(products.sample_gradients())
    return Curvature(hessian, max(gauss_newton, 0.0), square, noise, len(batch.inputs), lr)


def _noise(rows: Tensor) -> tuple[float, float]:
    """Return |g|^2 and tr Sigma without bias, of the samples' gradients (samples, parameters)."""
    n = len(rows)
    if n < 2:
        return math.nan, math.nan
    squares, mean_square = rows.square().sum(1).mean().item(), rows.mean(0).square().sum().item()
    square = (n * mean_square - squares) / (n - 1)  # the mean of g_i . g_j over i != j
    return square, squares - square
