"""The small model that checks run: how it is built, and the results of a pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from stablebench.contract.layer_model import LayerModel
from stablebench.errors import ContractError
from stablebench.models import deep_model, recurrent_model
from stablebench.models.adapted_cell import AdaptedCell
from stablebench.models.attention_model import AttentionModel, run_attention
from stablebench.models.attention_network import AttentionNetwork
from stablebench.models.base import ChainModel, DeepModel, RecurrentModel, real_like
from stablebench.models.contract import place_of
from stablebench.models.deep_network import DeepNetwork
from stablebench.models.network import AnyNetwork, Network
from stablebench.models.recompute import isolated
from stablebench.models.registry import ModelEntry
from stablebench.models.restore import restored
from stablebench.models.structure import surroundings
from stablebench.process import python_random
from stablebench.schema.strict import unwrapped

Checkable = ChainModel | LayerModel
"""What is checked."""


@dataclass(frozen=True)
class Pass:
    """The results of a pass.

    Args:
        outputs: (batch, time, out), of a deep model (batch, out).
        states: Those after the last step or layer, (batch, size); none of an attention model or a user's layer.
        gradients: Gradient of `loss` by parameter name; None for those that it does not reach. Empty unless asked for.
        of_inputs: Gradient of the first example's outputs with respect to all inputs; None unless it was asked for.
    """

    outputs: Tensor
    states: tuple[Tensor, ...]
    gradients: dict[str, Tensor | None] = field(default_factory=dict)
    of_inputs: Tensor | None = None

    def loss(self) -> Tensor:
        """Return a scalar in which every output and state has a weight of its own."""
        total = weighted_sum(self.outputs)
        for part in self.states:
            total = total + weighted_sum(part)
        return total


@dataclass(frozen=True)
class CheckedModel:
    """A model with the sizes that it is built with for the checks.

    Args:
        entry: The model.
        hidden: Width.
        steps: Time steps, or layers of a deep model.
        params: Arguments of its constructor, defaults filled in.
        in_features: Width of the input.
        batch: Examples.
        dtype: Of what it is built in.
        layer: Whether it is a layer of the user's that runs all time steps itself.
    """

    entry: ModelEntry
    hidden: int = 8
    steps: int = 6
    params: dict[str, Any] = field(default_factory=dict)
    in_features: int = 3
    batch: int = 4
    dtype: torch.dtype = torch.float32
    layer: bool = False

    @property
    def deep(self) -> bool:
        """Whether its chain runs over layers."""
        return self.entry.family == "deep"

    @property
    def equation(self) -> str:
        """The method with the model's equation."""
        return "forward" if self.layer or self.entry.family == "attention" else "step"

    def build(self, seed: int = 0, dtype: torch.dtype | None = None) -> Checkable:
        """Return the model built from a seed; random states and torch's default type are as before afterwards."""
        before = torch.get_default_dtype()
        with torch.random.fork_rng(devices=[]), python_random.seeded(seed):
            torch.manual_seed(seed)
            torch.set_default_dtype(dtype or self.dtype)
            try:
                return self.build_here()
            finally:
                torch.set_default_dtype(before)

    def build_here(self) -> Checkable:
        """Return the model built with the random states and torch's default type as they are."""
        if self.layer:
            return LayerModel(
                self.entry.cls.made(self.in_features, self.hidden, **self.params), self.in_features, self.hidden
            )
        if self.deep:
            return self.entry.build_deep(self.in_features, self.hidden, self.params, layers=max(3, self.steps))
        if self.entry.family == "attention":
            return self.entry.build_attention(self.in_features, self.hidden, self.params)
        return self.entry.build(self.in_features, self.hidden, self.params, horizon=self.steps)

    def inputs(self, model: Checkable, seed: int = 1) -> Tensor:
        """Return standard normal inputs, (batch, time, in), or (batch, in) for a deep model."""
        shape = (self.batch, self.in_features) if self.deep else (self.batch, self.steps, self.in_features)
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(real_like(model))

    def place(self, method: str) -> str:
        """Return the line where the class's method is written, as `name.py:12`."""
        written = unwrapped(self.entry.cls)  # of an adapted cell, what makes it
        return place_of(getattr(written, method, written))


def as_layer(subject: CheckedModel) -> CheckedModel | None:
    """Return the subject as a layer, where the user's module is no cell `(x_t, h) -> h` and is a layer; or None.

    Args:
        subject: The model, as a cell.
    """
    if not issubclass(subject.entry.cls, AdaptedCell):
        return None
    with restored(surroundings(subject.entry.cls)):
        try:
            subject.build()
        except ContractError:
            layer = replace(subject, layer=True)
            try:
                layer.build()
            except Exception:  # of the user's code; what it is no cell for is what is said
                return None
            return layer
        except Exception:  # the check of its structure says it
            return None
    return None


def network_of(model: ChainModel, outputs: int = 2) -> AnyNetwork:
    """Return a model under a readout of its last output."""
    if isinstance(model, DeepModel):
        return DeepNetwork(model, outputs)
    if isinstance(model, AttentionModel):
        return AttentionNetwork([model], outputs, readout="last", input="values")
    assert isinstance(model, RecurrentModel)
    return Network([model], outputs, readout="last", input="values")


def run(model: Checkable, x: Tensor) -> Pass:
    """Run a pass as the reference engine does."""
    if isinstance(model, RecurrentModel):
        outputs, states = recurrent_model.run_steps(model, x)
        return Pass(model.layer_output(outputs, x), tuple(states))
    if isinstance(model, AttentionModel):
        return Pass(run_attention(model, x), ())
    if isinstance(model, LayerModel):
        return Pass(model(x)[0], ())
    assert isinstance(model, DeepModel)
    states = model.embed_input(x)
    for group in model.layer_groups():
        _, states = deep_model.run_layers(model, group, states)
    return Pass(states[model.output_state], tuple(states))


def run_from(model: Checkable, x: Tensor, seed: int = 0, *, training: bool = True, gradients: bool = False) -> Pass:
    """Run a pass from random states of a seed, which leaves the model and the random states as they were.

    Args:
        model: The model.
        x: Inputs.
        seed: Of torch's, Python's and numpy's generators.
        training: The model's mode.
        gradients: Whether to return gradients, too.
    """
    with unchanged(model, seed, training=training), torch.set_grad_enabled(gradients):
        return _with_gradients(model, x) if gradients else run(model, x)


@contextmanager
def unchanged(model: nn.Module, seed: int = 0, *, training: bool = True) -> Iterator[None]:
    """Context in which random generators start from a seed; afterwards they, the model and its file are as before.

    Args:
        model: The model.
        seed: Of torch's, Python's and numpy's generators.
        training: The model's mode inside the context.
    """
    with isolated(model, seed), restored(surroundings(_class_of(model))):
        model.train(training)
        yield


def _class_of(model: nn.Module) -> type[Any]:
    """Return the class whose file a model's code is in."""
    return type(model.layer if isinstance(model, LayerModel) else model)


def _with_gradients(model: Checkable, x: Tensor) -> Pass:
    x = x.clone().requires_grad_()
    one = run(model, x)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    first = weighted_sum(one.outputs[0])
    loss = one.loss()
    of_inputs, of_parameters = None, [None] * len(named)
    if first.requires_grad:
        of_inputs = torch.autograd.grad(first, x, retain_graph=True, allow_unused=True)[0]
    if loss.requires_grad and named:
        of_parameters = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    gradients = dict(zip(named, of_parameters, strict=True))
    return Pass(one.outputs.detach(), tuple(part.detach() for part in one.states), gradients, of_inputs)


def weighted_sum(values: Tensor) -> Tensor:
    """Return a sum of all values, (), each with a random weight of its own."""
    values = torch.view_as_real(values) if values.is_complex() else values
    generator = torch.Generator().manual_seed(2)
    weights = torch.randn(values.shape, generator=generator, dtype=torch.float64).to(values)
    return (values * weights).sum()


def close(a: Tensor, b: Tensor, tolerance: float = 1e-4) -> bool:
    """Return whether two tensors are equal up to rounding, relative to their largest entry."""
    if a.shape != b.shape:
        return False
    if not a.numel():
        return True
    a, b = a.detach(), b.detach()
    largest = max(float(t.abs().nan_to_num(0, 0, 0).max()) for t in (a, b))
    return torch.allclose(a, b, rtol=0, atol=tolerance * largest + 1e-30, equal_nan=True)
