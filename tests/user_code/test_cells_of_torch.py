"""A cell that was written for torch alone is trained, scored and resumed like a model of stablebench's contract."""

import copy
import json
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from own_models import SMALL, as_in_a_new_process, cli, write
from torch import Tensor, nn

import stablebench as sb
from stablebench.errors import UserError
from stablebench.models import registry as model_registry
from stablebench.models.own_cell import own_cell
from stablebench.models.recurrent_model import run_steps
from stablebench.models.user_code import origins
from stablebench.runs.progress import Progress, Silent

CELLS = '''
import torch
from torch import nn


class Plain(nn.Module):
    """It has no width of its own, and takes no None."""

    def __init__(self, inputs, width, gain=0.9, act=torch.tanh):
        super().__init__()
        self.gain, self.act = gain, act
        self.V, self.W = nn.Linear(inputs, width), nn.Linear(width, width)

    def forward(self, x, h):
        return self.act(self.V(x) + self.gain * self.W(h))


class Dropped(nn.Module):
    """The output is no state, and the state a tuple."""

    def __init__(self, hidden, in_features):
        super().__init__()
        self.V, self.out = nn.Linear(in_features + hidden, hidden), nn.Linear(hidden, 3)

    def forward(self, x, state):
        h, c = state
        c = 0.5 * c + nn.functional.dropout(self.V(torch.cat([x, h], dim=1)), 0.1, self.training)
        return self.out(c), (torch.tanh(c), c)


def small_gru(in_features, hidden, *, bias: bool = False):
    return nn.GRUCell(in_features, hidden, bias=bias)


class NoCell(nn.Linear):
    pass


class Turned(Plain):
    def __init__(self, width, inputs):
        super().__init__(inputs, width)


class Deeper(Plain):
    def __init__(self, inputs, width, depth):
        super().__init__(inputs, width)


class Begins(Plain):
    def __init__(self, inputs, width):
        super().__init__(inputs, width)
        self.h0 = nn.Parameter(torch.ones(width))

    def forward(self, x, h=None):
        return super().forward(x, self.h0.expand(len(x), -1) if h is None else h)


class BeginsAtZero(Begins):
    def __init__(self, inputs, width):
        super().__init__(inputs, width)
        nn.init.zeros_(self.h0)


class BothBegin(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.inner = nn.LSTMCell(inputs, width)
        self.first, self.second = (nn.Parameter(torch.randn(1, width)) for _ in range(2))

    def forward(self, x, state=None):
        h, c = self.inner(x, [p.expand(len(x), -1) for p in (self.first, self.second)] if state is None else state)
        return h, (h, c)


class Given(Plain):
    """It must be given a state, and says which."""

    def __init__(self, inputs, width):
        super().__init__(inputs, width)
        self.start = nn.Parameter(torch.ones(width))

    def initial_state(self, batch):
        return self.start.tanh().expand(batch, -1)


class Elsewhere(Plain):
    def forward(self, x, h=None):
        return super().forward(x, torch.full((len(x), self.W.in_features), 0.5).to(x) if h is None else h)


def number(in_features, hidden):
    return 5
'''
SIZES: dict[str, Any] = {"T": 5, "hidden": 6, "steps": 6, "batch_size": 4, "lr": 0.01, "threads": 1}


@pytest.fixture(autouse=True)
def _cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_in_a_new_process()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path, {"cells.py": CELLS})


def _built(reference: str, in_features: int = 3, hidden: int = 4, **params: Any) -> Any:
    entry = model_registry.model_entry(reference)
    return entry.build(in_features, hidden, entry.resolve(params), horizon=5)


def _by_hand(cell: Any, x: Tensor, state: Any) -> Tensor:
    outputs = []
    for x_t in x.unbind(1):
        result = cell(x_t, state)
        out, state = result if isinstance(result, tuple) and isinstance(result[1], tuple) else (result, result)
        outputs.append(out[0] if isinstance(out, tuple) else out)
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize(
    ("reference", "start"),
    [
        ("torch.nn:GRUCell", 1),
        ("torch.nn:RNNCell", 1),
        ("torch.nn:LSTMCell", 2),
        ("cells.py:Plain", 1),
        ("cells.py:Dropped", 2),
        ("cells.py:small_gru", 1),
    ],
)
def test_it_computes_what_the_loop_over_the_cell_does(reference: str, start: int) -> None:
    model = _built(reference).eval()
    inner = model.cell
    cell = inner.module if hasattr(inner, "module") else inner.one.owner
    x, zeros = torch.randn(2, 5, 3), torch.zeros(2, 4)
    expected = _by_hand(cell, x, zeros if start == 1 else (zeros, zeros))
    for one in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        outputs = one.layer_output(run_steps(one, x)[0], x)
        torch.testing.assert_close(outputs, expected)
    assert model.out_features == expected.shape[2] and model.training is False


def test_its_weights_are_those_that_the_cell_draws_by_itself() -> None:
    torch.manual_seed(3)
    plain = nn.LSTMCell(3, 4)
    after = torch.rand(1)
    torch.manual_seed(3)
    model = _built("torch.nn:LSTMCell")
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters(), strict=True))
    assert torch.equal(torch.rand(1), after)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("Begins", lambda cell: [cell.h0]),
        ("BeginsAtZero", lambda cell: [cell.h0]),
        ("BothBegin", lambda cell: [cell.first, cell.second]),
        ("Given", lambda cell: [cell.start]),
    ],
)
def test_a_learned_start_is_the_model_s_and_is_trained(name: str, start: Any) -> None:
    """A parameter that the cell begins from, or what its `initial_state` returns."""
    model = _built(f"cells.py:{name}")
    leaves = start(model.cell.one.owner)
    with torch.no_grad():
        for leaf in leaves:
            leaf.normal_()
    x = torch.randn(2, 5, 3)
    state = tuple((leaf.tanh() if name == "Given" else leaf).expand(2, 4) for leaf in map(torch.flatten, leaves))
    expected = _by_hand(model.cell.one.owner, x, state[0] if len(state) == 1 else state)
    for one in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(one.layer_output(run_steps(one, x)[0], x), expected)
    compiled = sb.compile_cell(model.cell.one.owner, engine="reference")
    torch.testing.assert_close(compiled(x)[0], expected)
    gradients = torch.autograd.grad(compiled(x)[0].sum(), leaves)
    assert all(gradient.abs().min() > 0 for gradient in gradients)
    run = sb.train(f"cells.py:{name}", "copy", **SIZES)
    assert run.status == "finished"
    assert sb.probe(run, T=20, what="jacobian").verdict == "VANISHES"


def test_buffers_and_zeros_of_a_method_are_no_learned_start() -> None:
    class Zeros(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.GRUCell(3, 4)

        def init_hidden(self, batch: int) -> Tensor:
            return torch.zeros(batch, 4)

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return self.inner(x, h)

    cell = own_cell(Zeros().double(), torch.randn(3, 2, 3, dtype=torch.float64), None, to_run=True, width=4)
    assert not cell.begins_from_its_own
    assert [part.dtype for part in cell.initial_state(5)] == [torch.float64]


def test_its_layout_is_always_pickled_to_the_same_bytes() -> None:
    """Or a run would record that it changes while it is trained, and cannot be resumed."""
    cell = own_cell(nn.LSTMCell(3, 4), torch.randn(2, 2, 3), None, width=4)
    pickled, kept = [], []
    for size in (1, 4, 4, 16):
        pickled.append(pickle.dumps(cell._layout))
        kept += [torch.zeros(1, size) for _ in range(9)]  # what is made next lies elsewhere
    assert len(set(pickled)) == 1
    again = pickle.loads(pickled[0])
    assert again == cell._layout and again.sizes == (4, 4)


def _stop(reporter: Silent, progress: Progress) -> bool:
    if progress.step == 3:
        signal.raise_signal(signal.SIGTERM)
    return True


@pytest.mark.parametrize("reference", ["cells.py:Plain", "cells.py:Dropped", "torch.nn:LSTMCell"])
def test_it_is_trained_stopped_resumed_and_evaluated(reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train", "--model", reference, *SMALL, "--json", "-q"]
    whole = cli(*words, "--runs-dir", "whole")
    assert whole.exit_code == 0, whole.output
    with monkeypatch.context() as patch:
        patch.setattr(Silent, "update", _stop)
        assert cli(*words, "--runs-dir", "cut").exit_code == 143
    (folder,) = Path("cut").glob("copy/*/*-s0")
    assert json.loads((folder / "record.json").read_text())["step"] == 3
    as_in_a_new_process()
    resumed = cli("train", "--resume", str(folder), "--json", "-q")
    assert resumed.exit_code == 0, resumed.output
    one, other = json.loads(whole.stdout), json.loads(resumed.stdout)
    assert one["result"]["test"] == other["result"]["test"] and one["spec_hash"] == other["spec_hash"]
    assert one["environment"]["irreproducible"] is other["environment"]["irreproducible"] is None
    as_in_a_new_process()
    scored = cli("evaluate", str(folder), "--json")
    assert scored.exit_code == 0, scored.output


def test_a_class_of_an_installed_package_is_its_version() -> None:
    run = sb.train(nn.GRUCell, "copy", **SIZES, set={"model.bias": False})
    manifest = json.loads((run.folder / "code" / "manifest.json").read_text())
    version = torch.__version__.partition("+")[0]
    assert manifest["packages"] == [f"torch=={version}"] and manifest["files"] == {}
    assert [p.name for p in (run.folder / "code").iterdir()] == ["manifest.json"]
    assert (run.record.spec.model.name, run.record.spec.model.params) == ("torch.nn:GRUCell", {"bias": False})
    deeper = model_registry.model_entry("torch.nn.modules.rnn:GRUCell")
    assert deeper.source == run.record.spec.model.source == manifest["digest"]


def test_another_version_is_another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    run = sb.train(nn.GRUCell, "copy", **SIZES)
    as_in_a_new_process()
    monkeypatch.setattr(origins, "_installed_version", lambda name: "1.0")
    assert model_registry.model_entry("torch.nn:GRUCell").source != run.record.spec.model.source
    for named in ([], ["--model", "torch.nn:GRUCell"]):
        as_in_a_new_process()
        refused = cli("train", "--resume", str(run.folder), "--rerun", *named)
        assert refused.exit_code == 2 and "then, 1.0 now" in refused.output, refused.output
        scored = cli("evaluate", str(run.folder), *named)
        assert scored.exit_code == 0 and "then, 1.0 now" in scored.output, scored.output


def test_it_is_named_where_it_was_not_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = sb.train(nn.GRUCell, "copy", **SIZES)
    as_in_a_new_process()
    monkeypatch.setenv("STABLEBENCH_STATE", str(tmp_path / "elsewhere"))
    refused = cli("evaluate", str(run.folder))
    assert refused.exit_code == 2 and "add --model torch.nn.modules.rnn:GRUCell, of torch==" in refused.output
    assert cli("evaluate", str(run.folder), "--model", "torch.nn.modules.rnn:GRUCell").exit_code == 0


def test_from_python_a_class_and_a_function_of_a_file() -> None:
    import cells  # pyright: ignore[reportMissingImports]

    for made in (cells.Plain, cells.small_gru):
        run = sb.train(made, "copy", **SIZES)
        assert run.status == "finished" and run.record.spec.model.name == f"cells.py:{made.__name__}"
        assert sb.probe(made, task="copy", T=20, hidden=6, what="jacobian").verdict == "VANISHES"
        assert sb.probe(run, T=20, what="jacobian").verdict == "VANISHES"
    assert sb.train(cells.Plain, "copy", **SIZES, set={"model.gain": 0.5}).record.spec.model.params == {"gain": 0.5}


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("cells.py:NoCell", "This is no cell"),
        ("cells.py:Turned", r"Turned\(3, 4\): \(in_features, hidden\)"),
        ("cells.py:Deeper", r"Deeper\(in_features, hidden\); it takes \(inputs, width, depth\)"),
        ("cells.py:Elsewhere", "begins from a state of its own.*parameter `h0`.*method `initial_state"),
        ("cells.py:number", "must make a torch.nn.Module, got int"),
        ("cells.py:Plane", r"it has .*Plain, Turned\. Did you mean Plain\?"),
        ("torch.nn:GRU", "torch.nn:GRUCell"),
        ("torch.nn:GRUCel", "Did you mean GRUCell"),
        ("torch.nn.nothing:GRUCell", "importing torch.nn.nothing failed"),
    ],
)
def test_what_is_no_cell_is_refused(reference: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        _built(reference)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.GRUCell(2, 3), "give the class, GRUCell"),
        (lambda a, b: nn.GRUCell(a, b), "at the top of a file"),
        (5, "must be a name or a class, got 5"),
    ],
)
def test_what_a_run_cannot_name_is_refused(model: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        sb.train(model, "copy", **SIZES)
