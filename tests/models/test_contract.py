"""Each check of a model finds what it is for, in a small cell that has just this fault; registered models have none."""

from pathlib import Path

import numpy
import pytest
import torch

from stablebench.contract.checked_model import CheckedModel
from stablebench.contract.result import CheckResult
from stablebench.contract.run import run_checks
from stablebench.errors import ContractError
from stablebench.models import registry as model_registry
from stablebench.specs.resolve import RunRequest, resolve
from stablebench.training.model_check import check_before_run

HEAD = """
import random
import numpy
import torch
from torch import nn
from stablebench.models.base import DeepModel, LayerGroup, RecurrentModel


class Plain(RecurrentModel):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.V, self.W = nn.Linear(in_features, hidden), nn.Linear(hidden, hidden)
        self.begin()

    def begin(self):
        pass

    def input_projection(self, x):
        return self.V(x)

    def step(self, projected, state, recurrent_weights):
        return (torch.tanh(projected + self.W(state[0])),)


class Layers(DeepModel):
    def __init__(self, in_features: int, hidden: int, *, layers: int) -> None:
        super().__init__(in_features, hidden)
        self.V, self.W = nn.Linear(in_features, hidden), nn.Parameter(torch.randn(layers - 2, hidden, hidden))

    def embed_input(self, x):
        return (self.V(x),)

    def layer_groups(self):
        return [LayerGroup((self.W,))]

    def step(self, layer, state, shared):
        return (torch.tanh(state[0] @ layer[0].T),)


"""
STEP = "    def step(self, projected, state, recurrent_weights):\n        "
BEGIN = "    def begin(self):\n        "
H = "torch.tanh(projected + self.W(state[0]))"
BAD = {
    "a tensor": (f"{STEP}return {H}", "structure", "broken"),
    "an error": (f"{STEP}return (projected @ projected,)", "structure", "broken"),
    "in-place state": (
        f"{STEP}h = {H}\n        state[0].add_(h.detach())\n        return (h,)",
        "in-place operations",
        "broken",
    ),
    "in-place transition": (
        "    def recurrent_weights(self):\n        return torch.zeros(2)\n"
        f"{STEP}recurrent_weights += 1\n        return ({H},)",
        "in-place operations",
        "broken",
    ),
    "no gradient": (f"{BEGIN}self.b = nn.Parameter(torch.zeros(2))", "gradients", "warning"),
    "zero gradient": (
        f"{BEGIN}self.b = nn.Parameter(torch.zeros(self.hidden))\n{STEP}return ({H} + 0 * self.b,)",
        "gradients",
        "warning",
    ),
    "a list of modules": (f"{BEGIN}self.m = [nn.Linear(2, 2)]", "registered parts", "broken"),
    "a dict of parameters": (f"{BEGIN}self.m = {{'a': [nn.Parameter(torch.zeros(2))]}}", "registered parts", "broken"),
    "other examples": (
        f"{STEP}return (torch.tanh(projected - projected.mean(0) + self.W(state[0])),)",
        "batch independence",
        "broken",
    ),
    "a drive that looks ahead": (
        "    def input_projection(self, x):\n        return self.V(x.flip(1))",
        "look-ahead",
        "broken",
    ),
    "an emit that looks around": (
        "    def layer_output(self, output, x):\n        return output - output.mean(1, keepdim=True)",
        "layer_output",
        "broken",
    ),
    "float32 alone": (
        f"{BEGIN}self.U = nn.Parameter(torch.ones(8, dtype=torch.float32))\n{STEP}return ({H} * self.U,)",
        "types",
        "broken",
    ),
    "a count": (f"{BEGIN}self.n = 0\n{STEP}self.n += 1\n        return ({H},)", "changes by a pass", "warning"),
    "a buffer in evaluation": (
        f"{BEGIN}self.register_buffer('n', torch.zeros(()))\n{STEP}self.n += 1\n        return ({H},)",
        "changes by a pass",
        "warning",
    ),
    "no finite value": (f"{STEP}return ({H} / 0,)", "finite values", "warning"),
    "an unseeded start": (
        f"{BEGIN}self.V.weight.data += numpy.random.default_rng().normal()",
        "same seed, same numbers",
        "warning",
    ),
    "an unseeded step": (
        f"{STEP}return ({H} + numpy.random.default_rng().normal(),)",
        "same seed, same numbers",
        "warning",
    ),
    "numpy's draws": (f"{STEP}return ({H} + numpy.random.randn(),)", "random numbers", "warning"),
    "Python's draws": (f"{STEP}return ({H} + random.random(),)", "random numbers", "warning"),
    "what no state_dict has": (
        f"{BEGIN}self.c = float(torch.rand(()))\n{STEP}return ({H} * self.c,)",
        "copies",
        "warning",
    ),
    "what is not pickled": (f"{BEGIN}self.f = lambda h: h", "copies", "warning"),
}
"""Bodies, the check that must find them, and its verdict."""
SAMPLE = ("rnn", "lstm", "roarnn", "cornn", "resnet_mlp", "bn_lstm", "skip_gru")


def checked(folder: Path, body: str, base: str = "Plain") -> dict[str, CheckResult]:
    path = folder / "own.py"
    path.write_text(f"{HEAD}class Own({base}):\n{body}\n")
    return {result.check: result for result in run_checks(CheckedModel(model_registry.model_entry(f"{path}:Own")))}


@pytest.mark.parametrize("fault", BAD)
def test_the_check_that_is_for_it_finds_it(tmp_path: Path, fault: str) -> None:
    body, check, verdict = BAD[fault]
    found = checked(tmp_path, body)
    assert found[check].verdict == verdict, found
    assert found[check].message
    if check in ("in-place operations", "layer_output"):  # which break the gradient, or look ahead, as well
        return
    others = {f.check for f in found.values() if f.verdict == "broken"} - {check}
    assert not others, found


@pytest.mark.parametrize("base", ["Plain", "Layers"])
def test_a_sound_model_of_a_user_passes_all(tmp_path: Path, base: str) -> None:
    found = checked(tmp_path, "    pass", base)
    assert not {f.line() for f in found.values() if f.verdict in ("warning", "broken")}
    assert len(found) == 19 and found["engine"].message


def test_faults_of_deep_models_are_found(tmp_path: Path) -> None:
    step = "    def step(self, layer, state, shared):\n        "
    found = checked(tmp_path, f"{step}return (torch.tanh((state[0] - state[0].mean(0)) @ layer[0].T),)", "Layers")
    assert found["batch independence"].verdict == "broken" and found["look-ahead"].verdict == "not applicable"
    found = checked(tmp_path, f"{step}state[0].mul_(2)\n        return (state[0] @ layer[0].T,)", "Layers")
    assert found["in-place operations"].verdict == "broken"


def test_a_model_may_declare_that_it_depends_on_its_batch(tmp_path: Path) -> None:
    body, check, _ = BAD["other examples"]
    body = body.replace("projected.mean(0)", "projected.mean(0) * self.training")
    assert checked(tmp_path, f"    batch_dependent = True\n{body}")[check].verdict == "ok"


def assert_sound(name: str) -> None:
    entry = model_registry.model_entry(name)
    found = run_checks(CheckedModel(entry, params=entry.resolve({})))
    assert not [finding.line() for finding in found if finding.verdict in ("warning", "broken")]


@pytest.mark.parametrize("name", SAMPLE)
def test_registered_models_pass(name: str) -> None:
    assert_sound(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(model_registry.model_names()) - set(SAMPLE)))
def test_all_other_registered_models_pass(name: str) -> None:
    assert_sound(name)


def test_checks_leave_random_states(tmp_path: Path) -> None:
    """Checks leave random states and a files globals as they were."""
    path = tmp_path / "own.py"
    body = f"RNG = numpy.random.default_rng(0)\nCALLS = []\n\n\nclass Own(Plain):\n{STEP}CALLS.append(1)\n        "
    path.write_text(f"{HEAD}{body}return ({H} + RNG.normal(),)\n")
    model = f"{path}:Own"
    entry = model_registry.model_entry(model)
    spec = resolve(RunRequest(model, "copy", T=5, options={"model.hidden": 4})).spec
    names = entry.cls.step.__globals__
    before = torch.get_rng_state(), numpy.random.get_state()[1].tolist(), names["RNG"].bit_generator.state  # noqa: NPY002 # pyright: ignore
    said: list[str] = []
    check_before_run(spec, said.append)
    assert torch.equal(before[0], torch.get_rng_state())
    entry.build(3, 4, {}, horizon=3)  # draws its weights, and leaves what `step` draws from
    after = torch.get_rng_state(), numpy.random.get_state()[1].tolist(), names["RNG"].bit_generator.state  # noqa: NPY002 # pyright: ignore
    assert names["CALLS"] == [] and before[1:] == after[1:]
    assert torch.get_default_dtype() == torch.float32


def test_a_width_that_the_small_instance_cannot_have_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(f"{HEAD}class Own(Plain):\n{BEGIN}assert self.hidden == 12\n")
    said: list[str] = []
    check_before_run(resolve(RunRequest(f"{path}:Own", "copy", T=5, options={"model.hidden": 12})).spec, said.append)
    assert said == []


def test_before_a_run_what_is_broken_is_an_error(tmp_path: Path) -> None:
    """Before a run what is broken is an error and the rest a line."""
    path = tmp_path / "own.py"
    path.write_text(
        f"{HEAD}class Own(Plain):\n{BAD['a list of modules'][0]}\n\n\nclass Warned(Plain):\n{BAD['no gradient'][0]}\n"
    )
    said: list[str] = []
    with pytest.raises(ContractError, match="registered parts: `m`"):
        check_before_run(resolve(RunRequest(f"{path}:Own", "copy", T=5)).spec, said.append)
    check_before_run(resolve(RunRequest(f"{path}:Warned", "copy", T=5)).spec, said.append)
    assert len(said) == 1 and "no gradient reaches `b`" in said[0]
