"""Steps as users write them that do more than their operations show, for tests of what the fused engine keeps."""

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from stablebench.models.base import RecurrentModel, State


class Plain(RecurrentModel):
    """h_t = act(W h_{t-1} + V x_t + b, h_{t-1}), with act = tanh."""

    def __init__(self, in_features: int = 4, hidden: int = 5) -> None:
        super().__init__(in_features, hidden)
        self.V = nn.Linear(in_features, hidden)
        self.W = nn.Parameter(nn.init.orthogonal_(torch.empty(hidden, hidden)))
        self.part = nn.Linear(hidden, hidden)
        self.prepare()

    def prepare(self) -> None:
        """Add parts."""

    def input_projection(self, x: Tensor) -> Tensor:
        return self.V(x)

    def recurrent_weights(self) -> Tensor:
        return self.W.T

    def step(self, projected: Tensor, state: State, recurrent_weights: Tensor) -> State:
        (h,) = state
        return (self.act(projected + h @ recurrent_weights, h),)

    def act(self, n: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(n)


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        return torch.sign(v)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class HalfTanh(torch.autograd.Function):
    """tanh with half of its derivative, in the style that torch.func takes."""

    generate_vmap_rule = True

    @staticmethod
    def forward(v: Tensor) -> Tensor:
        return torch.tanh(v)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return 0.5 * gradients[0] * (1 - y * y)


taken_beforehand: Callable[..., Any] = StraightThrough.apply


class HalfTanhLayer(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return HalfTanh.apply(x)


class Doubled(nn.Parameter):
    """A parameter that multiplies twice."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
            return 2 * result if func is torch.Tensor.mul else result


class _Held:
    count = 0


COUNTED = {"calls": 0}


def _no_grad(f: Callable[..., Any], context: Any = torch.no_grad) -> Callable[..., Any]:
    def gate(self: Any, n: Tensor, h: Tensor) -> Tensor:
        with context():
            k = f(self, h)
        return torch.tanh(n) * k

    return gate


def _switched(self: Any, n: Tensor, h: Tensor) -> Tensor:
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    k = torch.sigmoid(h)
    torch.set_grad_enabled(before)
    return torch.tanh(n) * k


def _halved_saves(self: Any, n: Tensor, h: Tensor) -> Tensor:
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: 0.5 * t):
        return torch.tanh(n)


def _hooked_unless_traced(self: Any, n: Tensor, h: Tensor) -> Tensor:
    y = torch.tanh(n)
    if isinstance(y, Tensor) and y.requires_grad:
        y.register_hook(lambda g: 0.5 * g)
    return y


def _counting(where: Callable[[Any], Any], key: Any) -> Callable[..., Any]:
    def act(self: Any, n: Tensor, h: Tensor) -> Tensor:
        held = where(self)
        if isinstance(key, str) and not isinstance(held, dict):
            setattr(held, key, getattr(held, key) + 1)
            return torch.tanh(n) * (1 + 0.1 * float(getattr(held, key)))
        held[key] += 1
        return torch.tanh(n) * (1 + 0.1 * held[key])

    return act


def _with_a_buffer(self: Any) -> None:
    self.register_buffer("calls", torch.zeros((), dtype=torch.int64))


def _counts_in_a_buffer(self: Any, n: Tensor, h: Tensor) -> Tensor:
    self.calls += 1
    return torch.tanh(n)


def _appends(self: Any, n: Tensor, h: Tensor) -> Tensor:
    self.seen.append(len(self.seen))
    return torch.tanh(n)


def _reads_batch(self: Any, n: Tensor, h: Tensor) -> Tensor:
    return torch.tanh(n) / self.rows


def _keeps_batch(self: Any, x: Tensor) -> Tensor:
    self.rows = len(x)
    return self.V(x)


def _in_place_state(self: Any, projected: Tensor, state: State, recurrent_weights: Tensor) -> State:
    (h,) = state
    h += projected
    return (torch.tanh(h @ recurrent_weights),)


def _hook(name: str, function: Callable[..., Any]) -> Callable[..., None]:
    def prepare(self: Any) -> None:
        getattr(self.part, name)(function)

    return prepare


def _after_part(self: Any, n: Tensor, h: Tensor) -> Tensor:
    return torch.tanh(self.part(n) + h)


def _quartered(parameter: Tensor) -> None:
    assert parameter.grad is not None
    parameter.grad.mul_(0.25)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "straight through": ({"act": lambda s, n, h: StraightThrough.apply(torch.tanh(n))}, "`StraightThrough`"),
    "taken beforehand": ({"act": lambda s, n, h: taken_beforehand(torch.tanh(n))}, "`StraightThrough`"),
    "half tanh": ({"act": lambda s, n, h: HalfTanh.apply(n)}, "`HalfTanh`, a torch.autograd.Function"),
    "in a submodule": (
        {"prepare": lambda s: setattr(s, "sub", nn.Sequential(HalfTanhLayer())), "act": lambda s, n, h: s.sub(n)},
        "`HalfTanh`",
    ),
    "in a parametrization": (
        {"prepare": lambda s: parametrize.register_parametrization(s.part, "weight", HalfTanhLayer())}
        | {"act": _after_part},
        "`HalfTanh`",
    ),
    "of a parameter": ({"act": lambda s, n, h: torch.tanh(n * HalfTanh.apply(s.part.bias))}, "`HalfTanh`"),
    "no_grad": ({"act": _no_grad(lambda s, h: torch.sigmoid(h))}, "switches gradients"),
    "no_grad of a parameter": ({"act": _no_grad(lambda s, h: torch.sigmoid(s.part.bias))}, "switches gradients"),
    "no_grad decorator": ({"act": torch.no_grad()(lambda s, n, h: torch.tanh(n))}, "switches gradients"),
    "set_grad_enabled": ({"act": _switched}, "switches gradients"),
    "inference_mode": ({"act": _no_grad(lambda s, h: torch.sigmoid(h), torch.inference_mode)}, "switches gradients"),
    "asks for the mode": (
        {"act": lambda s, n, h: torch.tanh(n) if torch.is_grad_enabled() else torch.sigmoid(n)},
        "other values where no gradient",
    ),
    "checkpoint": (
        {"act": lambda s, n, h: checkpoint(torch.tanh, n, use_reentrant=False)},
        "saved for the gradient|derivative of its own .`_NoopSaveInputs`",  # the latter up to torch 2.11
    ),
    "saved halves": ({"act": _halved_saves}, "saved for the gradient"),
    "tensor hook": ({"act": _hooked_unless_traced}, r"`register_hook`"),
    "not when traced": (
        {"act": lambda s, n, h: torch.tanh(n) if isinstance(n, Tensor) else torch.sigmoid(n)},
        "other values when it is called again",
    ),
    "derivative not when traced": (
        {"act": lambda s, n, h: StraightThrough.apply(n) if isinstance(n, Tensor) else torch.sign(n)},
        "another derivative than its trace",
    ),
    "backward hook": (
        {"prepare": _hook("register_full_backward_hook", lambda m, i, o: None), "act": _after_part},
        "`part` has hooks",
    ),
    "backward pre-hook": (
        {"prepare": _hook("register_full_backward_pre_hook", lambda m, o: (0.5 * o[0],)), "act": _after_part},
        "`part` has hooks",
    ),
    "forward hook": (
        {"prepare": _hook("register_forward_hook", lambda m, i, o: 0.5 * o), "act": _after_part},
        "`part` has hooks",
    ),
    "a parameter's class": (
        {"prepare": lambda s: setattr(s, "k", Doubled(torch.rand(5))), "act": lambda s, n, h: torch.tanh(n) * s.k},
        "`k` is a Doubled",
    ),
    "autocast": (
        {"act": lambda s, n, h: torch.autocast("cpu", dtype=torch.bfloat16)(lambda: n + h @ s.W.to(n.dtype))()},
        "switches autocast",
    ),
    "torch number": ({"act": lambda s, n, h: torch.tanh(n) * torch.rand(1).item()}, r"random numbers \(`rand`\)"),
    "own generator of torch": (
        {"prepare": lambda s: setattr(s, "g", torch.Generator().manual_seed(0))}
        | {"act": lambda s, n, h: torch.tanh(n) * torch.rand(1, generator=s.g).item()},
        "random numbers",
    ),
    "own generator of numpy": (
        {"prepare": lambda s: setattr(s, "g", numpy.random.default_rng(0))}
        | {"act": lambda s, n, h: torch.tanh(n) * s.g.random()},
        "when it is called again",
    ),
    "own generator of python": (
        {"prepare": lambda s: setattr(s, "g", random.Random(0))}
        | {"act": lambda s, n, h: torch.tanh(n) * s.g.random()},
        "when it is called again",
    ),
    "list": (
        {"prepare": lambda s: setattr(s, "calls", [0]), "act": _counting(lambda s: s.calls, 0)},
        "when it is called again",
    ),
    "object": (
        {"prepare": lambda s: setattr(s, "held", _Held()), "act": _counting(lambda s: s.held, "count")},
        "when it is called again",
    ),
    "global": ({"act": _counting(lambda s: COUNTED, "calls")}, "when it is called again"),
    "buffer": ({"prepare": _with_a_buffer, "act": _counts_in_a_buffer}, "changes the attribute `calls`"),
    "grows": ({"prepare": lambda s: setattr(s, "seen", []), "act": _appends}, "changes the attribute `seen`"),
    "drive keeps": ({"input_projection": _keeps_batch, "act": _reads_batch}, "changes the attribute `rows`"),
    "state in place": ({"step": _in_place_state}, "in-place operation"),
}
"""Name -> (what replaces the methods of `Plain`, what the reason says)."""

KEPT: dict[str, dict[str, Any]] = {
    "plain": {},
    "detach": {"act": lambda s, n, h: torch.tanh(n + 0.3 * h.detach()) * s.part.bias.detach()},
    "data of a parameter": {"act": lambda s, n, h: torch.tanh(n) * torch.sigmoid(s.part.bias.data)},
    "hook on a parameter": {
        "prepare": lambda s: s.W.register_hook(lambda g: 0.5 * g),
        "act": lambda s, n, h: torch.tanh(n + h @ s.W),
    },
    "hook behind a gradient": {
        "prepare": lambda s: s.W.register_post_accumulate_grad_hook(_quartered),
    },
    "training": {"act": lambda s, n, h: torch.tanh(n) if s.training else torch.sigmoid(n)},
    "own derivative in the transition": {"recurrent_weights": lambda s: HalfTanh.apply(s.W)},
    "own derivative in the drive": {"input_projection": lambda s, x: HalfTanh.apply(s.V(x))},
}
"""What the fused engine keeps: name -> what replaces the methods of `Plain`."""


def model_of(methods: dict[str, Any]) -> Plain:
    """Return a `Plain` of a fixed start with some methods replaced."""
    COUNTED["calls"] = 0
    torch.manual_seed(0)
    return type("Users", (Plain,), methods)()


def everything(run: Callable[..., Any], model: RecurrentModel) -> Iterator[Tensor]:
    """Yield outputs and gradients of two batches of different size, and the outputs of an evaluation after each."""
    generator = torch.Generator().manual_seed(1)
    for rows in (2, 5):
        x = torch.randn(rows, 4, 4, generator=generator)
        model.zero_grad()
        y, (last,) = run(model, x)
        if y.requires_grad:
            (y.square().sum() + last.sum()).backward()
        yield y.detach()
        for parameter in model.parameters():
            yield torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        model.eval()
        with torch.no_grad():
            evaluated, _ = run(model, x)
        model.train()
        yield evaluated


def all_close(found: Iterator[Tensor], expected: Iterator[Tensor]) -> bool:
    """Return whether they are equal up to rounding, one by one."""
    pairs = itertools.zip_longest(found, expected)
    return all(a is not None and b is not None and torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in pairs)
