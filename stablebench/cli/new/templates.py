"""What `new` writes. STEM is the file's name without its ending, CLASS the name of a model's class."""

_MODEL = '''"""A recurrent model of your own.

stablebench check STEM.py:CLASS                                    # does it keep the contract?
stablebench train --model STEM.py:CLASS --task copy/t100
stablebench probe-gradients --model STEM.py:CLASS --task copy/t100
stablebench compare --model STEM.py:CLASS,lstm --task copy/t100 --seeds 3
"""

import torch
from torch import nn

from stablebench import RecurrentModel


class CLASS(RecurrentModel):
    """h_t = (1 - leak) h_{t-1} + leak tanh(W h_{t-1} + V x_t + b)."""

    # Arguments after `hidden` are the model's own: `--set model.leak=0.5` sets one, and it counts in the run's hash.
    def __init__(self, in_features: int, hidden: int, *, leak: float = 0.2) -> None:
        super().__init__(in_features, hidden)
        self.leak = leak
        self.V = nn.Linear(in_features, hidden)
        self.W = nn.Parameter(nn.init.orthogonal_(torch.empty(hidden, hidden)))

    def input_projection(self, x):  # once per sequence: what depends on the input alone
        return self.V(x)

    def recurrent_weights(self):  # once per forward pass: the recurrent matrices
        return self.W.T

    def step(self, projected, state, recurrent_weights):  # once per time step: the equation, a tuple of states
        (h,) = state
        return ((1 - self.leak) * h + self.leak * torch.tanh(projected + h @ recurrent_weights),)
'''

_CARD = """\
# A task of your own. What is left out follows from the examples: input, readout, loss, metric, baseline.
# It is named by this file: stablebench train --model gru --task STEM.yaml
generator: STEM.py:generate     # draws the examples; for data of your own: `data: file.npz`, with arrays x and y
length: length                  # the argument of `generate` that --T sets
variants: {t50: {length: 50}}   # STEM.yaml/t50
protocol:                       # what a run has that says nothing else
  steps: 300
  batch_size: 32
  hidden: 32
  optim: {lr: 0.01}
target: 0.01                    # the score at which it counts as solved
"""

_GENERATOR = '''"""The examples of the task STEM: the first of a sequence of numbers is to be said at its end."""

import torch


def generate(n: int, *, length: int = 20, rng: torch.Generator):
    """Draw n examples, from `rng` alone: the same generator gives the same examples.

    Inputs are numbers (n, time) or (n, time, features), or tokens (n, time) as whole numbers; then the card says
    `alphabet: N`. Targets are numbers (n,) or (n, out), or classes (n,) as whole numbers; then it says `classes: N`.
    With (n, time) or (n, time, out) there is one for every step. A third value, (n,): the lengths of padded sequences.
    """
    inputs = torch.rand(n, length, generator=rng)
    return inputs, inputs[:, 0]
'''

_SUITE = """\
# A suite of your own: tasks x models x seeds. What is run is kept, so the same command goes on.
summary: two models on a short memory, three seeds
tasks:
  - first_recall/t20            # a task, task/variant, or my_task.yaml
  - {task: adding, T: 50}       # a length of your own
models: [rnn, gru]              # names, or my_cell.py:MyCell
seeds: 3                        # seeds 0, 1, 2; or a list of them
equal: [updates, batch, units]  # what all models on a task share
overrides: {train.steps: 200, train.eval_every: 20, model.hidden: 32}
# model_overrides: {gru: {optim.lr: 0.01}}
"""

TEMPLATES = {
    "model": {".py": _MODEL},
    "task": {".yaml": _CARD, ".py": _GENERATOR},
    "suite": {".yaml": _SUITE},
}
"""By kind, the texts by the endings of their files."""
