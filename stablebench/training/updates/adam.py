r"""Adam: steps along a mean of gradients, divided by the root of a mean of their squares.

Equation, for the gradient g at update t = 1, 2, ..., or g + lambda W with weight decay lambda:

    m <- m + (1 - beta_1) (g - m)
    v <- beta_2 v + (1 - beta_2) g^2
    W <- W - eta / (1 - beta_1^t) * m / (sqrt(v) / sqrt(1 - beta_2^t) + eps)

The numbers are those of `torch.optim.Adam` bit for bit, and so are the names of its state; what torch does around them
takes longer than they do where a network is small.

Reference: Kingma, Ba. Adam: A Method for Stochastic Optimization. ICLR 2015. https://arxiv.org/abs/1412.6980
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_lists: Any = torch
"""torch, whose functions of lists of tensors its type stubs leave out."""


class Adam(torch.optim.Optimizer):
    """Adam; the module docstring has the equation.

    Args:
        params: The parameters, or groups of them.
        lr: eta, >= 0.
        betas: beta_1 and beta_2, in [0, 1).
        eps: Added to the root, >= 0.
        weight_decay: lambda, >= 0.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Make one update; a parameter without a gradient stays as it is."""
        for group in self.param_groups:
            if parameters := [p for p in group["params"] if p.grad is not None]:
                self._update(parameters, **group)

    def _update(
        self, W: list[Tensor], *, lr: float, betas: tuple[float, float], eps: float, weight_decay: float, **_: Any
    ) -> None:
        states = [self.state[w] or self._begin(w) for w in W]
        g: list[Any] = [w.grad for w in W]
        m, v = [state["exp_avg"] for state in states], [state["exp_avg_sq"] for state in states]
        t = [state["step"].add_(1).item() for state in states]
        if weight_decay:
            g = _lists._foreach_add(g, W, alpha=weight_decay)
        if any(w.is_complex() for w in W):  # their parts are numbers of their own
            W, g, m, v = ([torch.view_as_real(x) if x.is_complex() else x for x in each] for each in (W, g, m, v))
        _lists._foreach_lerp_(m, g, 1 - betas[0])
        _lists._foreach_mul_(v, betas[1])
        _lists._foreach_addcmul_(v, g, g, 1 - betas[1])
        divisors = _lists._foreach_sqrt(v)
        _lists._foreach_div_(divisors, [(1 - betas[1] ** n) ** 0.5 for n in t])
        _lists._foreach_add_(divisors, eps)
        _lists._foreach_addcdiv_(W, m, divisors, [-lr / (1 - betas[0] ** n) for n in t])

    def _begin(self, w: Tensor) -> dict[str, Tensor]:
        self.state[w] = {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(w), "exp_avg_sq": torch.zeros_like(w)}
        return self.state[w]
