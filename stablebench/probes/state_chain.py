"""A chain of states s_0 ... s_T, whatever it runs over: what every probe is computed from."""

import abc
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stablebench.errors import StablebenchError


class Traced(NamedTuple):
    """One step with the graph of everything that enters it.

    Args:
        after: s_t, (batch, size).
        before: s_{t-1}, (batch, size).
        x: x_t, (batch, in); None where the chain has its input as s_0.
        used: The trained parameters in the form in which the step uses them: what `recurrent_weights` built of them
            (the matrix, not the angles behind it), or a deep model's layer, and those that the input projection takes
            as they are.
    """

    after: Tensor
    before: Tensor
    x: Tensor | None
    used: list[Tensor]


def batched_vjp(outputs: Tensor, inputs: Sequence[Tensor], cotangents: Tensor) -> tuple[Tensor, ...]:
    """Return the products of many cotangents with the derivatives of one graph, and keep the graph.

    By `torch.vmap`: `is_grads_batched` of `torch.autograd.grad` has no rule for the derivatives of tanh and others, and
    takes them one cotangent at a time.

    Args:
        outputs: What is differentiated.
        inputs: In what; the derivative in one that the graph does not use is 0.
        cotangents: (count, *outputs.shape).

    Raises:
        RuntimeError: Some derivative in the graph cannot be taken for many cotangents at once.
    """

    def one(cotangent: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(outputs, inputs, cotangent, retain_graph=True, materialize_grads=True)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop because we have not yet implemented")
        return torch.vmap(one)(cotangents)


class StateChain(abc.ABC):
    """A chain of states, whatever it runs over.

    Subclasses set `batch`, the number of samples; `steps`, which is T; `size`, the width of a state; and `inputs`, x_1
    ... x_T, (T, batch, in), or None where s_0 is the input.
    """

    batch: int
    steps: int
    size: int
    inputs: Tensor | None = None
    own_units: Tensor | None = None
    """Which units of s_1 ... s_T are a model's own states; None for all of them.

    The others are outputs of a user's cell that are carried along: no step reads them.
    """
    moved: Callable[[int, int], None] | None = None
    """Called with (t, T) before each vector-Jacobian product through step t."""
    _one_by_one = False
    """Whether some derivative in the step cannot be taken for many cotangents at once."""

    @property
    def inner_size(self) -> int:
        """The width that holds s_1 ... s_T; s_0 may be wider."""
        return self.size

    @property
    def own_size(self) -> int:
        """How many units are a model's own states."""
        return self.inner_size if self.own_units is None else len(self.own_units)

    @abc.abstractmethod
    def initial(self) -> Tensor:
        """Return s_0, (batch, size)."""

    @abc.abstractmethod
    def step(self, t: int, state: Tensor) -> Tensor:
        """Return s_t.

        Args:
            t: 1 ... T.
            state: s_{t-1}, (copies * batch, size): any number of copies of the batch, one after the other.
        """

    @abc.abstractmethod
    def trace(self, t: int, state: Tensor) -> Traced:
        """Return step t with its graph.

        Args:
            t: 1 ... T.
            state: s_{t-1}, (batch, size).
        """

    @abc.abstractmethod
    def outputs(self, states: Tensor, first: int = 1, inputs: Tensor | None = None) -> Tensor:
        """Return what the top layer gives out at steps that follow each other.

        Args:
            states: Their states, (steps, batch, size).
            first: The first of these steps, 1 ... T.
            inputs: What stands for their x_t, (steps, batch, in); by default the chain's.

        Returns:
            (steps, batch, out).
        """

    def input_vjp(self, states: Tensor, cotangents: Tensor) -> Tensor:
        """Return the products of cotangents with ds_t/dx_t, t = 1 ... E, of each sample.

        Args:
            states: s_0 ... s_{E-1}, (E, batch, size).
            cotangents: Derivatives in s_1 ... s_E, (E, batch, size).

        Returns:
            Derivatives in x_1 ... x_E, (E, batch, in).

        Raises:
            NotImplementedError: The input is s_0, so there is no x_t.
        """
        raise NotImplementedError("This chain has its input as s_0.")

    @torch.no_grad()
    def states(self) -> Tensor:
        """Return s_0 ... s_T, (T + 1, batch, size).

        Raises:
            StablebenchError: A state is not finite.
        """
        sequence = [self.initial()]
        for t in range(1, self.steps + 1):
            sequence.append(self.step(t, sequence[-1]))
        states = torch.stack(sequence)
        finite = states.isfinite().flatten(1).all(1)
        if not finite.all():
            first = int(finite.int().argmin())
            raise StablebenchError(
                f"The state grows beyond float64 at step {first} of {self.steps}; there is no gradient."
            )
        return states

    def own_vjp(self, t: int, state: Tensor, cotangents: Tensor) -> Tensor:
        """Return what `vjp` does of the model's own states alone; cotangents (count, batch, own size)."""
        if self.own_units is None:
            return self.vjp(t, state, cotangents)
        whole = cotangents.new_zeros(*cotangents.shape[:2], self.size)
        whole[:, :, self.own_units] = cotangents
        return self.vjp(t, state, whole)[:, :, self.own_units]

    def vjp(self, t: int, state: Tensor, cotangents: Tensor) -> Tensor:
        """Return the products of cotangents with the Jacobian ds_t/ds_{t-1} of each sample.

        Args:
            t: 1 ... T.
            state: s_{t-1}, (batch, size).
            cotangents: Derivatives in s_t, (count, batch, size).

        Returns:
            Derivatives in s_{t-1}, (count, batch, size).
        """
        if self.moved is not None:
            self.moved(t, self.steps)
        count = len(cotangents)
        if count > 1 and not self._one_by_one:
            with torch.enable_grad():
                before = state.detach().requires_grad_()
                after = self.step(t, before)
            if not after.requires_grad:
                return torch.zeros_like(cotangents)
            try:
                return batched_vjp(after, [before], cotangents)[0]
            except RuntimeError:
                self._one_by_one = True
        with torch.enable_grad():
            before = state.repeat(count, 1).requires_grad_()
            after = self.step(t, before)
        if not after.requires_grad:
            return torch.zeros_like(cotangents)
        (pulled,) = torch.autograd.grad(after, before, cotangents.reshape(after.shape))
        return pulled.view(cotangents.shape)
