"""Which engine runs a deep model's chain of layers: the loop over `step`, or the fused engine's compiled one."""

from functools import partial

import torch

from stablebench.engines import trial
from stablebench.engines.choice import Choice
from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.step_graph import UnsupportedStep
from stablebench.errors import UserError
from stablebench.models import deep_model
from stablebench.models.base import DeepModel, real_like
from stablebench.models.deep_network import DeepNetwork


def choose_for_layers(name: str, network: DeepNetwork, device: torch.device) -> Choice:
    """Return the engine that runs the layers of `network` on `device`; see `stablebench.engines.choose`.

    Args:
        name: `reference`, `fused`, or `auto` for fused on a CPU with a C compiler that works, where it can run every
            layer, else reference.
        network: Its model, already on `device`.
        device: Where it runs.

    Raises:
        UserError: The engine is `scan`, or `fused` cannot run a layer.
    """
    if name == "scan":
        raise UserError("--engine scan is for linear recurrences over time. Take --engine fused, reference, or auto.")
    if name == "reference":
        return Choice(deep_model.run_layers, "reference")
    reason = why_not_fused(network.model, device)
    if reason is not None and name == "fused":
        raise UserError(f"--engine fused cannot run this model: {reason}. Take --engine reference, or auto.")
    reason = reason or torch_calls_reason(device, network.dtype) or trial.why_layers_not_compiled(network.model, device)
    if reason is None:
        return Choice(fused.run_layers, "fused", backend="native C")
    if name == "fused":
        run = partial(fused.run_layers, torch_calls="always")
        return Choice(run, "fused-torch", f"the fused engine makes torch calls: {reason}", "torch calls")
    return Choice(deep_model.run_layers, "reference", f"the reference engine runs this model: {reason}")


@torch.no_grad()
def why_not_fused(model: DeepModel, device: torch.device) -> str | None:
    """Return why a model's layers cannot be fused, or None if they can. Single layers that change a width never are.

    Args:
        model: The model, on `device`.
        device: Where it runs.
    """
    state = model.embed_input(torch.zeros(2, model.in_features, dtype=real_like(model).dtype, device=device))
    for group in model.layer_groups():
        if len(group) == 1:
            _, state = deep_model.run_layers(model, group, state)
            continue
        planned = fused.plan_layers(model, group, state)
        if isinstance(planned, UnsupportedStep):
            return planned.reason
    return None


def torch_calls_reason(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why the fused engine makes torch calls for layers, or None if it does not."""
    if device.type == "cuda":
        return "no kernel has parameters of its own at every step yet"
    return fused.torch_calls_reason(device, dtype)
