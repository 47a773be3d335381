"""Refuses, while a step is traced, what the trace would not contain.

A trace sees the operations of the forward pass. What else a step does (a derivative of its own, gradients that
are switched off, hooks, values that are read, attributes that are set) would be lost or frozen silently, so it is
refused at the line where it happens.
"""

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import fx, nn
from torch.nn.modules import module as torch_modules
from torch.overrides import TorchFunctionMode

from stablebench.engines.fused.step_graph import UnsupportedStep

RANDOM = frozenset(
    {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "bernoulli", "bernoulli_"}
    | {"multinomial", "normal", "normal_", "uniform_", "exponential_", "poisson", "dropout", "alpha_dropout"}
    | {"random_", "geometric_", "cauchy_", "log_normal_", "rrelu", "rrelu_", "native_dropout", "feature_dropout"}
)
"""torch's operations that draw random numbers."""
_VALUES = frozenset({"item", "tolist", "numpy", "__array__", "__float__", "__int__", "__bool__", "__index__"})
"""What turns a tensor into numbers that a trace would contain for ever."""
_DERIVATIVE = "it has a derivative of its own (`{}`, a torch.autograd.Function)"
_OF_GRADIENTS = frozenset({"register_hook", "register_post_accumulate_grad_hook", "retain_grad"})
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_GLOBAL_HOOKS = tuple(f"_global{name}" for name in _HOOKS)


def surroundings() -> dict[str, Any]:
    """Return what a step can switch around its operations, in words."""
    saved = getattr(getattr(torch._C, "_autograd", None), "_top_saved_tensors_default_hooks", lambda _: None)
    return {
        "it switches gradients off or on": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "it has hooks on the tensors that are saved for the gradient (checkpointing does)": saved(False),
        "it switches autocast": tuple(torch.is_autocast_enabled(device) for device in ("cpu", "cuda")),
    }


def refuse_changed(before: dict[str, Any]) -> None:
    """Refuse an operation whose surroundings are not those that the step began with.

    Raises:
        UnsupportedStep: They are not.
    """
    for what, value in surroundings().items():
        if value != before[what]:
            raise UnsupportedStep(_own_derivative() or what)


def _own_derivative() -> str | None:
    """Return what is said of a `torch.autograd.Function` whose forward pass is under way: it switches gradients off.

    Where torch's `apply` is compiled (from 2.14 on) one that was taken from its class beforehand is met only here.
    """
    for frame, _ in traceback.walk_stack(None):
        first = frame.f_locals.get(next(iter(frame.f_code.co_varnames), ""))
        if isinstance(first, torch.autograd.function.FunctionCtx):
            return _DERIVATIVE.format(type(first).__name__.removesuffix("Backward"))
    return None


def refuse_hooks(module: nn.Module, name: str) -> None:
    """Refuse a part of a model whose call runs hooks: those of the backward pass would not be run, others once.

    Raises:
        UnsupportedStep: It has hooks, or there are some for all modules.
    """
    if any(getattr(module, hooks, None) for hooks in _HOOKS):
        raise UnsupportedStep(f"its part `{name}` has hooks")
    if any(getattr(torch_modules, hooks, None) for hooks in _GLOBAL_HOOKS):
        raise UnsupportedStep("there are hooks for all modules")


def hooks_of(model: nn.Module) -> tuple[int, ...]:
    """Return how many hooks there are on each part of a model, and for all modules."""
    everywhere = sum(len(getattr(torch_modules, hooks, ())) for hooks in _GLOBAL_HOOKS)
    return (everywhere, *(sum(len(getattr(part, hooks, ())) for hooks in _HOOKS) for part in model.modules()))


@contextmanager
def own_derivatives_refused() -> Iterator[None]:
    """Context in which `torch.autograd.Function.apply` is refused: only its forward pass would be traced."""
    function: Any = torch.autograd.Function
    bases = function, function.__mro__[1]  # in torch 2.13 one that was taken beforehand asks the second for its own
    own = [vars(base).get("apply") for base in bases]

    def apply(cls: type, *_: Any, **__: Any) -> NoReturn:
        raise UnsupportedStep(_DERIVATIVE.format(cls.__name__))

    for base in bases:
        base.apply = classmethod(apply)
    try:
        yield
    finally:
        for base, had in zip(bases, own, strict=True):
            if had is None:
                del base.apply
            else:
                base.apply = had


@contextmanager
def assignments_refused(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Context in which setting an attribute of one of the modules is refused: it would be set only once."""
    watched = {id(module) for module in modules}
    before = nn.Module.__setattr__

    def refuse(self: nn.Module, name: str, value: Any) -> None:
        if id(self) in watched:
            raise UnsupportedStep(f"it changes the attribute `{name}` of the model")
        before(self, name, value)

    nn.Module.__setattr__ = refuse
    try:
        yield
    finally:
        nn.Module.__setattr__ = before


class ValuesRefused(TorchFunctionMode):
    """Mode in which tensors that are no part of the trace give no numbers, and none are drawn."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func` unless it is refused."""
        name = getattr(func, "__name__", "")
        if name in RANDOM:
            raise UnsupportedStep(f"it draws random numbers (`{name}`)")
        if name in _VALUES and not any(isinstance(arg, fx.Proxy) for arg in args):
            raise UnsupportedStep(f"it needs a value while it is traced (`{name}`)")
        return func(*args, **(kwargs or {}))


class HooksRefused(TorchFunctionMode):
    """Mode in which no hook is laid on a gradient."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func` unless it is refused."""
        if (name := getattr(func, "__name__", "")) in _OF_GRADIENTS:
            raise UnsupportedStep(f"it lays a hook on a gradient (`{name}`)")
        return func(*args, **(kwargs or {}))
