"""torch's optimisers without its compiler, which they import (0.8 s) to tell it that they are not compiled."""

import functools
import inspect
from typing import Any

import torch

_METHODS = ("add_param_group", "state_dict", "load_state_dict")


@functools.cache
def eager(optimiser: type[torch.optim.Optimizer]) -> Any:
    """Return a subclass that computes the same and never imports `torch._dynamo`.

    Args:
        optimiser: A class whose `step` needs no gradients. Hooks of steps are not called; `zero_grad` still imports it.
    """
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(optimiser, name)) for name in _METHODS}
    methods["step"] = torch.no_grad()(inspect.unwrap(optimiser.step))
    methods["_patch_step_function"] = lambda self: None  # would wrap `step` for the profiler
    return type(optimiser.__name__, (optimiser,), methods)
