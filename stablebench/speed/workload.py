"""What is timed: a model, inputs of a size, and the gradient of every output."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stablebench.models import registry as model_registry
from stablebench.models.attention_model import AttentionModel
from stablebench.models.base import RecurrentModel


@dataclass(frozen=True)
class Size:
    """How much is computed.

    Args:
        batch: Sequences, >= 1.
        hidden: Width of the hidden state, >= 1.
        steps: Steps of a sequence, >= 1.
    """

    batch: int
    hidden: int
    steps: int

    def __str__(self) -> str:
        return f"B {self.batch}, H {self.hidden}, T {self.steps}"


@dataclass(frozen=True)
class Sequences:
    """A model and what it is run on; only parameters need a gradient.

    Args:
        model: The recurrence, or an attention model.
        x: Inputs (batch, time, in).
        d_outputs: The loss's gradient with respect to every output, (batch, time, out).
    """

    model: Any
    x: Tensor
    d_outputs: Tensor

    def first(self, steps: int) -> "Sequences":
        """Return the first steps of the sequences."""
        return Sequences(self.model, self.x[:, :steps], self.d_outputs[:, :steps])


@dataclass(frozen=True)
class Workload:
    """What to build, in words, so that another process can build the same.

    Args:
        model: As on the command line: a name, `file.py:Class` or `package.module:Class`.
        size: The size.
        inputs: Width of x_t, >= 1.
        seed: Decides parameters, inputs and gradients, >= 0.
        device: `cpu` or `cuda`.
    """

    model: str
    size: Size
    inputs: int = 1
    seed: int = 0
    device: str = "cpu"

    def build_model(self) -> RecurrentModel | AttentionModel:
        """Return the model in torch's default precision; torch's global generator is as before afterwards.

        Raises:
            UserError: There is no such model, or it refuses the size.
        """
        entry = model_registry.model_entry(self.model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = entry.build(self.inputs, self.size.hidden, entry.resolve({}), horizon=self.size.steps)
            return model.to(self.device)

    def build(self) -> Sequences:
        """Return the model with normal inputs and output gradients.

        Raises:
            UserError: As for `build_model`.
        """
        model = self.build_model()
        rng = torch.Generator().manual_seed(self.seed)
        rows = self.size.batch, self.size.steps
        x = torch.randn(*rows, self.inputs, generator=rng).to(self.device)
        return Sequences(model, x, torch.randn(*rows, model.out_features, generator=rng).to(self.device))
