"""torch's optimisers with one learning rate a parameter group; the rate is a function of the step."""

import math
from typing import Any

import torch
from torch import Tensor

from stablebench.errors import UserError, did_you_mean
from stablebench.models.base import ParameterGroup
from stablebench.schema.optim import OptimSpec
from stablebench.training.updates.adam import Adam
from stablebench.training.updates.cayley import CayleyUpdate
from stablebench.training.updates.eager import eager
from stablebench.training.updates.exponential import ExponentialUpdate

_OPTIMISERS: dict[str, Any] = {
    "adam": Adam,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "sgd": torch.optim.SGD,
}
_TAKES = {
    "adam": {"betas", "eps"},
    "rmsprop": {"alpha", "eps", "momentum"},
    "adagrad": {"eps"},
    "sgd": {"momentum", "nesterov"},
}
_MULTIPLICATIVE = {"exponential": ExponentialUpdate, "cayley": CayleyUpdate}
"""Rules that move a matrix on its group; they take only a learning rate and have no state."""


class Updater:
    """Updates all parameters of a network as an `OptimSpec` says.

    Args:
        groups: The network's parameter groups.
        spec: The optimiser.
        steps_per_epoch: What a schedule in epochs is counted in; None where the task has none.

    Raises:
        UserError: The spec names a group that the model has not, or gives an option to the wrong optimiser.
    """

    def __init__(self, groups: list[ParameterGroup], spec: OptimSpec, steps_per_epoch: int | None) -> None:
        self._refuse_misfits(groups, spec)
        self.parameters = [p for group in groups for p in group.parameters]
        self._clip_norm = spec.clip_norm
        self._warmup = spec.warmup
        schedule = spec.schedule
        unit = steps_per_epoch or 1 if schedule and schedule.unit == "epochs" else 1
        self._drops = [at * unit for at in schedule.at] if schedule else []
        self._factor = schedule.factor if schedule else 1.0
        self._drops_on_stall = bool(schedule and schedule.on_stall)
        self.optimisers: list[torch.optim.Optimizer] = []
        options: dict[str, Any] = {k: getattr(spec, k) for k in _TAKES[spec.name] if getattr(spec, k) is not None}
        if spec.name != "adam":  # each operation for all parameters in one call: the same numbers, sooner, if real
            options["foreach"] = not any(p.is_complex() for p in self.parameters)
        if "betas" in options:
            options["betas"] = tuple(options["betas"])
        rules = {"optimiser": _OPTIMISERS[spec.name]} | _MULTIPLICATIVE
        for rule, update in rules.items():
            only_rate = rule != "optimiser"
            described = [self._describe(g, spec, only_rate) for g in groups if g.rule == rule and g.parameters]
            if described:
                self.optimisers.append(eager(update)(described, lr=spec.lr, **({} if only_rate else options)))
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["base_lr"] = group["lr"]

    @staticmethod
    def _refuse_misfits(groups: list[ParameterGroup], spec: OptimSpec) -> None:
        names = [group.name for group in groups]
        for name in spec.groups:
            if name not in names:
                raise UserError(
                    f"optim.groups.{name}: the model has no such parameter group.{did_you_mean(name, names)} "
                    f"Its groups: {', '.join(names)}."
                )
        every = {"betas", "eps", "alpha", "momentum", "nesterov"}
        for option in sorted(every - _TAKES[spec.name]):
            value = getattr(spec, option)
            if value is not None and value is not False:  # 0 is a value, too
                raise UserError(
                    f"optim.{option}: {spec.name} has no such option; it takes {', '.join(sorted(_TAKES[spec.name]))}."
                )
        if spec.nesterov and not spec.momentum:
            raise UserError("optim.nesterov: Nesterov's method needs a `momentum` above 0.")

    @staticmethod
    def _describe(group: ParameterGroup, spec: OptimSpec, only_rate: bool) -> dict[str, Any]:
        own = spec.groups.get(group.name)
        described: dict[str, Any] = {"params": group.parameters, "lr": own.lr if own and own.lr else spec.lr}
        if only_rate:
            if own and (own.weight_decay or own.betas):
                raise UserError(f"optim.groups.{group.name}: the {group.rule} update takes only `lr`.")
            return described
        own_decay = own.weight_decay if own else None
        described["weight_decay"] = spec.weight_decay if own_decay is None else own_decay
        if own and own.betas:
            if spec.name != "adam":
                raise UserError(f"optim.groups.{group.name}.betas: {spec.name} has no such option.")
            described["betas"] = tuple(own.betas)
        return described

    def rate_factor(self, step: int, stalls: int = 0) -> float:
        """Return what every base rate is multiplied by at update `step` (from 0).

        Args:
            step: The update.
            stalls: Evaluations before it that were not the best of their time.
        """
        warm = min(1.0, (step + 1) / self._warmup) if self._warmup else 1.0
        drops = sum(step >= drop for drop in self._drops) + (stalls if self._drops_on_stall else 0)
        return warm * self._factor**drops

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def gradient_norm(self) -> Tensor:
        """Return the norm of the whole gradient, clipping it if the spec says so.

        Its squares are added in the gradient's own type, so that it is infinite where they pass that; such a gradient
        is left as it is, for `norm_of_large`. A step in a CUDA graph cannot wait to see which it is.
        """
        gradients = self._gradients()
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # pyright: ignore[reportPrivateImportUsage]
        if self._clip_norm is not None:
            if norm.device.type != "cpu" or norm.item() == math.inf:  # elsewhere asking would wait
                bound = norm.nan_to_num(nan=math.nan, posinf=0.0)  # one of 0 multiplies by 1
            else:
                bound = norm
            factor = (self._clip_norm / (bound + 1e-6)).clamp(max=1.0)  # as torch.nn.utils has it
            torch._foreach_mul_(gradients, factor)  # pyright: ignore[reportPrivateImportUsage]
        return norm

    def norm_of_large(self) -> float:
        """Return the norm of a gradient whose squares pass its type, clipping it if the spec says so.

        The largest entry is taken out first. Infinite where an entry is, or the norm itself passes float64.
        """
        gradients = [torch.view_as_real(g) if g.is_complex() else g for g in self._gradients()]
        largest = max(g.abs().max().item() for g in gradients if g.numel())
        if not math.isfinite(largest) or largest == 0:
            return largest
        share = math.sqrt(sum((g.double() / largest).square().sum().item() for g in gradients))
        if self._clip_norm is not None and self._clip_norm < share * largest < math.inf:
            for gradient in gradients:
                gradient.div_(largest).mul_(self._clip_norm / share)
        return share * largest

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self.parameters if p.grad is not None]

    @property
    def clips(self) -> bool:
        """Whether a gradient that is too large is made smaller."""
        return self._clip_norm is not None

    def update(self, step: int, stalls: int = 0) -> None:
        """Make update `step` (from 0), the rates as `rate_factor` says."""
        factor = self.rate_factor(step, stalls)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["base_lr"] * factor
            optimiser.step()

    def tensors(self) -> dict[str, Tensor]:
        """Return the optimisers' state by name: `<optimiser>.<parameter>.<key>`."""
        return {
            f"{i}.{index}.{key}": torch.as_tensor(value)
            for i, optimiser in enumerate(self.optimisers)
            for index, values in optimiser.state_dict()["state"].items()
            for key, value in values.items()
            if value is not None
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        for i, optimiser in enumerate(self.optimisers):
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                which, index, key = name.split(".", 2)
                if int(which) == i:
                    state.setdefault(int(index), {})[key] = value.clone()  # the optimiser writes into it
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
