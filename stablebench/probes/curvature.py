r"""The sharpness of the loss, and the noise of its gradient.

    H = d^2 L / dtheta^2           L the mean loss of the samples, as training has it; theta all trained parameters
    G = J^T (d^2 L / dy^2) J       Gauss-Newton, y the outputs of the network, J = dy/dtheta
    sharpness                      the largest eigenvalue of H, and of G
    noise scale                    tr Sigma / |g|^2, Sigma the covariance of the samples' gradients, g their mean

Plain gradient descent with rate lr is stable along a direction while its eigenvalue is below 2 / lr; momentum and
adaptive rates have other bounds. The noise scale is about the batch size up to which a larger batch saves updates;
tr Sigma and |g|^2 are estimated without bias, |g|^2 from products of different samples' gradients.

Products with H and G are double backward passes of the reference engine, and the eigenvalues come from scipy's
restarted Lanczos method: ten products or more, each about twice a gradient, so that this measure takes several times as
long as the gradient flow, and memory grows with the number of steps, as that of a gradient does.

References: Cohen, Kaur, Li, Kolter, Talwalkar. Gradient Descent on Neural Networks Typically Occurs at the Edge of
Stability. ICLR 2021. https://arxiv.org/abs/2103.00065. McCandlish, Kaplan, Amodei. An Empirical Model of Large-Batch
Training. 2018. https://arxiv.org/abs/1812.06162, the simple noise scale (equation 2.9).
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy
import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.data.metrics import LOSS_SUMS
from stablebench.data.task import take
from stablebench.errors import UserError, first_line
from stablebench.models import deep_model, recurrent_model
from stablebench.models.deep_network import DeepNetwork
from stablebench.models.network import AnyNetwork
from stablebench.probes.gradient_flow import LossOf

_TOLERANCE = 1e-3
"""Relative error of an eigenvalue."""
_EXACT = 8
"""Parameters up to which the whole matrix is built."""
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
    run: Any = deep_model.run_layers if isinstance(network, DeepNetwork) else recurrent_model.run_steps
    network.engine = run
    parameters: list[Tensor] = list(network.parameters())
    if not parameters:
        return None
    with torch.enable_grad():
        scores, _ = network(batch.inputs, None, batch.lengths)
        total, count = _summed(loss)(scores, batch)
        try:
            products = _Products(scores, total / count, parameters)
            top = [_largest(product, products) for product in (products.hessian, products.gauss_newton)]
        except RuntimeError as error:
            names = ", ".join(dict.fromkeys(type(model).__name__ for model in network.models))
            raise UserError(f"curvature: {names} has no second derivative: {first_line(error)}") from error
        square, noise = _noise(scores, batch, loss, parameters)
    return Curvature(top[0], max(top[1], 0.0), square, noise, len(batch.inputs), lr)


def _summed(loss: LossOf) -> Callable[[Tensor, Batch], tuple[Tensor, int]]:
    return LOSS_SUMS[loss] if isinstance(loss, str) else loss


class _Products:
    """Products of H and G with vectors, the graph being kept.

    Args:
        scores: The outputs, with their graph.
        loss: L.
        parameters: theta.
    """

    def __init__(self, scores: Tensor, loss: Tensor, parameters: list[Tensor]) -> None:
        self._scores, self._parameters = scores, parameters
        self._gradient = _grad(loss, parameters, create_graph=True)
        self.start = _flat(self._gradient).detach()
        self._loss = loss
        self._dummy = torch.zeros_like(scores).requires_grad_()
        self._pulled = _grad(scores, parameters, self._dummy, create_graph=True)

    def hessian(self, v: Tensor) -> Tensor:
        """Return H v."""
        along = sum((g * part).sum() for g, part in zip(self._gradient, self._split(v), strict=True))
        return _flat(_grad(along, self._parameters))

    def gauss_newton(self, v: Tensor) -> Tensor:
        """Return G v."""
        along = sum((g * part).sum() for g, part in zip(self._pulled, self._split(v), strict=True))
        (forward,) = _grad(along, [self._dummy])  # J v
        (outer,) = torch.autograd.grad(self._loss, self._scores, create_graph=True)
        bent = torch.zeros_like(forward)
        if outer.requires_grad:
            (bent,) = _grad((outer * forward).sum(), [self._scores])
        return _flat(_grad(self._scores, self._parameters, bent))

    def _split(self, v: Tensor) -> list[Tensor]:
        sizes = [torch.view_as_real(p).numel() if p.is_complex() else p.numel() for p in self._parameters]
        return [
            torch.view_as_complex(part.reshape(*p.shape, 2)).conj() if p.is_complex() else part.view_as(p)
            for part, p in zip(v.split(sizes), self._parameters, strict=True)
        ]


def _grad(value: Tensor | int, of: list[Tensor], cotangent: Tensor | None = None, create_graph: bool = False) -> Any:
    if not isinstance(value, Tensor) or not value.requires_grad:
        return [torch.zeros_like(p) for p in of]
    if value.is_complex():
        value = value.real
    taken = torch.autograd.grad(value, of, cotangent, retain_graph=True, create_graph=create_graph, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(taken, of, strict=True)]


def _flat(parts: list[Tensor]) -> Tensor:
    return torch.cat([(torch.view_as_real(p) if p.is_complex() else p).reshape(-1) for p in parts])


def _largest(product: Callable[[Tensor], Tensor], products: _Products) -> float:
    """Return the largest eigenvalue of a symmetric matrix from its products with vectors."""
    n = len(products.start)
    if n <= _EXACT:
        columns = torch.stack([product(row) for row in torch.eye(n, dtype=torch.float64)])
        return torch.linalg.eigvalsh((columns + columns.T) / 2)[-1].item()
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    def matvec(v: Any) -> Any:
        return product(torch.from_numpy(numpy.ascontiguousarray(v).reshape(-1))).numpy()

    start = products.start.numpy()
    if not start.any() or not product(products.start).any():
        start = torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
        if not product(torch.from_numpy(start)).any():
            return 0.0
    operator: Any = LinearOperator((n, n), matvec=matvec, dtype=numpy.float64)  # pyright: ignore[reportCallIssue]
    tolerance: Any = _TOLERANCE
    try:
        values = eigsh(operator, k=1, which="LA", tol=tolerance, v0=start, ncv=min(n, 10), return_eigenvectors=False)
    except ArpackNoConvergence as error:
        raise UserError(f"curvature: the largest eigenvalue did not converge: {error}") from error
    return float(values[0])


def _noise(scores: Tensor, batch: Batch, loss: LossOf, parameters: list[Tensor]) -> tuple[float, float]:
    """Return |g|^2 and tr Sigma without bias."""
    summed, losses = _summed(loss), []
    for i in range(len(scores)):
        total, count = summed(scores[i : i + 1], take(batch, torch.tensor([i])))
        if count:
            losses.append(total / count)
    n = len(losses)
    if n < 2:
        return math.nan, math.nan
    rows = torch.stack([_flat(_grad(value, parameters)) for value in losses])
    squares, mean_square = rows.square().sum(1).mean().item(), rows.mean(0).square().sum().item()
    square = (n * mean_square - squares) / (n - 1)  # the mean of g_i . g_j over i != j
    return square, squares - square
