"""Which classes are taken for models, and how their constructors are called."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.errors import ContractError
from stablebench.models import base
from stablebench.models import registry as model_registry
from stablebench.models.base import DeepModel, RecurrentModel

HEAD = """
from __future__ import annotations
from typing import TYPE_CHECKING
import torch
from torch import nn
from stablebench.models.base import DeepModel, RecurrentModel
if TYPE_CHECKING:
    from collections.abc import Callable


class Plain(RecurrentModel):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.V, self.W = nn.Linear(in_features, hidden), nn.Linear(hidden, hidden)

    def input_projection(self, x):
        return self.V(x)

    def step(self, projected, state, recurrent_weights):
        return (torch.tanh(projected + self.W(state[0])),)


"""


def entry_of(folder: Path, text: str, name: str = "Own") -> model_registry.ModelEntry:
    path = folder / "own.py"
    path.write_text(HEAD + text)
    return model_registry.model_entry(f"{path}:{name}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "class Own(Plain):\n    def forward(self, x, state=None): return x, state",
            "`forward` is overridden; engines",
        ),
        (
            "class Base(Plain):\n    def forward(self, x): return x\n\nclass Own(Base):\n    pass",
            "`forward` is overrid",
        ),
        ("class Own(Plain):\n    def __call__(self, x): return x", "`__call__` is overridden"),
        (
            "class Own(DeepModel):\n    def layer_groups(self): return []\n"
            "    def step(self, layer, state, shared): return state\n    def forward(self, x): return x",
            "engines call embed_input, layer_groups, step",
        ),
        (
            "class Own(RecurrentModel):\n"
            "    def step(self, projected, state, recurrent_weights): raise NotImplementedError\n"
            "    def forward(self, x, state=None): return x, state",
            "engines call input_projection, recurrent_weights, step, layer_output",
        ),
        (
            "class Own(Plain):\n    def __init__(self, size, width): pass",
            "must take `in_features` and `hidden` by these",
        ),
        ("class Own(Plain):\n    def __init__(self, in_features, hidden, /): pass", "must take `in_features` and `hid"),
        ("class Own(Plain):\n    def __init__(self, *args, **kw): pass", "it takes *args, **kw"),
        ("class Own(Plain):\n    def __init__(self, in_features, hidden, **kw): pass", "`**kw` cannot be set by name"),
        ("class Own(Plain):\n    def __init__(self, in_features, hidden, *a): pass", "`*a` cannot be set by name"),
        ("class Own(Plain):\n    def __init__(self, in_features, hidden, leak): pass", "`leak` needs a default"),
        ("class Own(Plain):\n    def __init__(self, in_features, hidden, *, leak): pass", "`leak` needs a type annot"),
        ("class Own(Plain):\n    def __init__(self, in_features, hidden, *, leak=None): pass", "`leak` needs a type a"),
        (
            "class Own(Plain):\n    def __init__(self, in_features, hidden, *, act: Callable = torch.tanh): pass",
            "`act` has an annotation that cannot be read (name 'Callable' is not defined",
        ),
        (
            "class Own(Plain):\n    def __init__(self, in_features, hidden, *, act: nn.Module = nn.Tanh()): pass",
            "`act` has the type Module, which cannot be given",
        ),
        (
            "class Own(Plain):\n    def __init__(self, in_features, hidden, *, k: list = [torch.zeros(1)]): pass",
            "it becomes part of the run's spec",
        ),
    ],
)
def test_class_not_run_as_written_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    """A class that would not be run as written is refused with its line."""
    with pytest.raises(ContractError) as refused:
        entry_of(tmp_path, text)
    assert said in str(refused.value) and "(own.py:" in str(refused.value) and "\n" not in str(refused.value)


def test_sizes_go_by_name(tmp_path: Path) -> None:
    own = (
        "class Own(Plain):\n    def __init__(self, hidden, in_features):\n        super().__init__(in_features, hidden)"
    )
    entry = entry_of(tmp_path, own)
    model = entry.build(3, 5, entry.resolve({}), horizon=4)
    assert (model.in_features, model.hidden) == (3, 5)


@pytest.mark.parametrize("star", ["*, ", ""])
def test_an_argument_takes_the_type_of_its_default(tmp_path: Path, star: str) -> None:
    own = f"class Own(Plain):\n    def __init__(self, in_features, hidden, {star}leak=0.1, act: Callable = 'tanh'):\n"
    entry = entry_of(tmp_path, own + "        super().__init__(in_features, hidden)\n        self.leak = leak")
    assert entry.resolve({}) == {"leak": 0.1, "act": "tanh"}
    assert entry.build(3, 5, entry.resolve({"leak": 0.7}), horizon=4).leak == 0.7


def test_the_line_of_a_constructor_that_fails_is_named(tmp_path: Path) -> None:
    own = "class Own(Plain):\n    def __init__(self, in_features, hidden):\n        [].pop()"
    entry = entry_of(tmp_path, own)
    line = (HEAD + own).splitlines().index("        [].pop()") + 1
    with pytest.raises(ContractError, match=f"IndexError: pop from empty list .own.py:{line}."):
        entry.build(3, 5, {}, horizon=4)


@pytest.mark.parametrize("name", model_registry.model_names())
def test_registered_models_are_such_classes(name: str) -> None:
    from stablebench.models.contract import check_class

    check_class(model_registry.model_entry(name).cls, name, ("in_features", "hidden", "horizon", "layer", "layers"))


@pytest.mark.parametrize("first", ["torch.exp(1j * torch.rand(4))", "torch.arange(4)"])
def test_values_have_the_type_of_the_first_real_parameter(tmp_path: Path, first: str) -> None:
    own = (
        "class Own(Plain):\n    def __init__(self, in_features, hidden):\n"
        "        super().__init__(in_features, hidden)\n"
        f"        self.first = nn.Parameter({first}, requires_grad=False)\n"
    )
    (tmp_path / "own.py").write_text(HEAD + own)
    command = ["train", "--model", f"{tmp_path / 'own.py'}:Own", "--task", "copy", "--T", "5", "--hidden", "8", "-q"]
    command += ["--steps", "2", "--runs-dir", str(tmp_path / "runs"), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and json.loads(done.stdout)["status"] == "finished"


def test_class_that_is_refused_ends_every_command_that_takes_it(tmp_path: Path) -> None:
    """A class that is refused ends every command that takes it."""
    (tmp_path / "own.py").write_text(HEAD + "class Own(Plain):\n    def forward(self, x, state=None): return x, state")
    own = f"{tmp_path / 'own.py'}:Own"
    task = ["--task", "copy", "--T", "5"]
    for command in (
        ["train", "--model", own, *task],
        ["train", "--model", own, *task, "--dry-run"],
        ["probe-gradients", "--model", own, *task],
        ["sweep", "--model", own, *task, "--trials", "1"],
        ["speed", "--models", own],
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2 and "`forward` is overridden" in done.stderr, (command, done.output)


def test_the_bases_are_not_overridden() -> None:
    assert RecurrentModel.forward is not DeepModel.forward
    assert torch.nn.Module.__call__ is RecurrentModel.__call__


def test_names_of_version_0_1_still_work_and_name_the_new_word() -> None:
    with pytest.warns(FutureWarning, match="`Stretch` is now called `LayerGroup`"):
        assert base.Stretch is base.LayerGroup
    with pytest.warns(FutureWarning, match="Earlier: `drive` is now called `input_projection`"):

        class Earlier(base.RecurrentModel):
            def drive(self, x: Tensor) -> Tensor:
                return 2 * x

            def step(self, projected: Any, state: base.State, recurrent_weights: Any) -> base.State:
                return (projected,)

    model, x = Earlier(3, 3), torch.ones(1, 2, 3)
    assert torch.equal(model(x)[0], 2 * x) and torch.equal(model.drive(x), 2 * x)


def test_the_package_is_a_table_of_contents_and_imports_no_torch() -> None:
    text = (
        "import sys, stablebench, stablebench.models as models\n"
        "assert 'torch' not in sys.modules and set(stablebench.__all__) <= set(dir(stablebench))\n"
        "for package in (stablebench, models):\n"
        "    for name in package.__all__:\n"
        "        assert getattr(package, name) is not None\n"
        "assert stablebench.RecurrentModel is models.RecurrentModel\n"
        "assert not hasattr(stablebench, 'Recurrent') and not hasattr(models, 'Recurrent')\n"
    )
    subprocess.run([sys.executable, "-c", text], check=True)
