"""Users' models of several files, written into a folder."""

from pathlib import Path

from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.models import registry as model_registry
from stablebench.models.user_code import loading

CELL = '''
import torch
from torch import nn
from stablebench.models.base import RecurrentModel
{imports}

class Leaky(RecurrentModel):
    """h_t = act(V x_t + GAIN h_(t-1))."""

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.V = nn.Linear(in_features, hidden)

    def input_projection(self, x):
        return self.V(x)

    def step(self, projected, state, recurrent_weights):
        {lazy}
        return (act(projected + GAIN * state[0]),)
'''
HELPER = "import torch\nGAIN = {gain}\ndef act(x):\n    return torch.tanh(x)\n"
SMALL = ["--task", "copy", "--T", "5", "--hidden", "6", "--set", "train.steps=6", "--set", "train.batch_size=4"]
SMALL += ["--set", "train.eval_every=6", "--set", "optim.lr=0.01", "--engine", "reference"]


def cell(imports: str = "", lazy: str = "pass") -> str:
    """Return a cell's text that imports `act` and `GAIN` at its head, or as it steps."""
    return CELL.format(imports=imports, lazy=lazy)


def helper(gain: float = 0.9) -> str:
    """Return a helper's text."""
    return HELPER.format(gain=gain)


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def cli(*words: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(words))


def digest(reference: str) -> str:
    """Return the digest of a model's code as a new process reads it."""
    as_in_a_new_process()
    code = model_registry.model_entry(reference).code
    assert code is not None
    return code.digest


def as_in_a_new_process() -> None:
    """Forget what was loaded."""
    model_registry._loaded_code.clear()
    loading._loaded.clear()
