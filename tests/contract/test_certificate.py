"""The certificate sees every planted leak, in the mode that has it, and none in models that have none."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from stablebench.contract import certificate, cost_checks
from stablebench.contract.checked_model import CheckedModel
from stablebench.contract.result import Check, CheckResult
from stablebench.contract.run import run_checks
from stablebench.models import registry as model_registry

HEAD = """
import torch
from torch import nn
from stablebench.models.base import RecurrentModel


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


class Cell(nn.Module):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__()
        self.cell, self.kept, self.calls = nn.GRUCell(in_features, hidden), None, 0
        self.norm = nn.BatchNorm1d(in_features)

    def forward(self, x, h):
        return self.cell(x, h)


class Layer(nn.Module):
    both = False

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(in_features, hidden, batch_first=True, bidirectional=self.both)

    def forward(self, x, h=None):
        return self.rnn(x, h)


class Convolution(nn.Module):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(64, in_features))

    def forward(self, x, h=None):
        n = 2 * x.shape[1]
        product = torch.fft.rfft(x, n, 1) * torch.fft.rfft(self.kernel[: x.shape[1]], n, 0)
        return torch.fft.irfft(product, n, 1)[:, : x.shape[1]], None


"""
DRIVE = "    def input_projection(self, x):\n        "
STEP = "    def step(self, projected, state, recurrent_weights):\n        "
H = "torch.tanh(projected + self.W(state[0]))"
FORWARD = "    def forward(self, x, h):\n        "
BOTH = ["training", "evaluation"]
LEAKS = {
    "flip": ("Plain", f"{DRIVE}return self.V(x.flip(1))", "look-ahead", BOTH, True),
    "mean over time": ("Plain", f"{DRIVE}return self.V(x - x.mean(1, keepdim=True))", "look-ahead", BOTH, True),
    "detached": ("Plain", f"{DRIVE}return self.V(x) + x.flip(1)[..., :1].detach()", "look-ahead", BOTH, False),
    "argmax": ("Plain", f"{DRIVE}return self.V(x) + x[..., :1].argmax(1, keepdim=True)", "look-ahead", BOTH, False),
    "rounded": ("Plain", f"{DRIVE}return self.V(x) + x.mean((1, 2), keepdim=True).round()", "look-ahead", BOTH, False),
    "padding": (
        "Plain",
        f"{DRIVE}return self.V(x) * (x != 0).any(2).sum(1).view(-1, 1, 1)",
        "look-ahead",
        BOTH,
        False,
    ),
    "one step in training": (
        "Plain",
        f"{DRIVE}return self.V(x) + (1e-6 * x.roll(-1, 1) if self.training else 0 * x).sum(2, keepdim=True)",
        "look-ahead",
        ["training"],
        True,
    ),
    "a layer both ways": ("Layer", "    both = True", "look-ahead", BOTH, True),
    "batch mean": (
        "Plain",
        f"{STEP}return ({H.replace('projected', 'projected - projected.mean(0)')},)",
        None,
        BOTH,
        True,
    ),
    "batch maximum, detached": ("Plain", f"{STEP}return ({H} / projected.detach().abs().amax(),)", None, BOTH, False),
    "batch norm": ("Cell", f"{FORWARD}return self.cell(self.norm(x), h)", None, ["training"], True),
    "one decision for all": (
        "Cell",
        f"{FORWARD}h = self.cell(x, h)\n        return h if h.sum() > 0 else -h",
        None,
        BOTH,
        False,
    ),
}
"""Base, body, check, the modes with the leak, and whether its derivative is other than 0; None is of the batch."""
KEPT = {
    "a state": (
        f"{FORWARD}h = h + self.kept if self.kept is not None and len(self.kept) == len(h) else h\n"
        "        self.kept = self.cell(x, h).detach()\n        return self.kept + 0 * self.cell(x, h)",
        {"carries_inputs": BOTH, "changes_with_calls": []},
        "broken",
    ),
    "a running statistic": (
        f"{FORWARD}self.norm.train()\n        self.norm(x)\n        return self.cell(self.norm.eval()(x), h)",
        {"carries_inputs": BOTH, "changes_with_calls": []},
        "broken",
    ),
    "a count": (
        f"{FORWARD}self.calls += 1\n        return self.cell(x, h) / self.calls",
        {"carries_inputs": [], "changes_with_calls": BOTH},
        "broken",
    ),
    "a warm-up in training": (
        f"{FORWARD}self.calls += self.training\n"
        "        return self.cell(x, h) * (min(self.calls, 20) / 20 if self.training else 1)",
        {"carries_inputs": [], "changes_with_calls": ["training"]},
        "warning",
    ),
}
"""Bodies that keep something between calls, what is measured, and the verdict."""
HONEST = {
    "plain": ("Plain", "    pass"),
    "a masked sum": ("Plain", f"{DRIVE}return self.V(x.cumsum(1))"),
    "dropout": ("Plain", f"{STEP}return (nn.functional.dropout({H}, 0.5, self.training),)"),
    "layer norm": ("Plain", f"{STEP}return (nn.functional.layer_norm({H}, (self.hidden,)),)"),
    "a cell": ("Cell", "    pass"),
    "a layer": ("Layer", "    pass"),
    "batch norm in evaluation": ("Cell", f"{FORWARD}return self.cell(self.norm.eval()(x), h)"),
}
NAMES = ("look-ahead", "batch independence", "state between calls")


CERTIFICATE: tuple[Check, ...] = (certificate.batch_independence, certificate.look_ahead, certificate.calls_apart)


def checked(
    folder: Path, base: str, body: str, steps: int = 6, only: tuple[Check, ...] = CERTIFICATE
) -> dict[str, CheckResult]:
    """Return the results of some checks, by name; of all of them where `only` is empty."""
    (folder / "own.py").write_text(f"{HEAD}class Own({base}):\n{body}\n")
    entry = model_registry.model_entry(f"{folder / 'own.py'}:Own")
    with pytest.MonkeyPatch.context() as patch:
        if only:
            patch.setattr("stablebench.contract.run._WHOLE", only)
        return {result.check: result for result in run_checks(CheckedModel(entry, steps=steps))}


def looked_ahead(folder: Path, base: str, body: str, steps: int = 6) -> CheckResult:
    return checked(folder, base, body, steps, (certificate.look_ahead,))["look-ahead"]


def of_batch(folder: Path, base: str, body: str) -> CheckResult:
    return checked(folder, base, body, only=(certificate.batch_independence,))["batch independence"]


@pytest.mark.parametrize("leak", LEAKS)
def test_planted_leaks_are_seen_in_their_modes(tmp_path: Path, leak: str) -> None:
    base, body, check, modes, by_derivative = LEAKS[leak]
    results = checked(tmp_path, base, body)
    result = results[check or "batch independence"]
    assert result.verdict == "broken", result
    assert sorted(one["mode"] for one in result.measured["leaks"]) == sorted(modes)
    assert all(bool(one["derivative"]) == by_derivative for one in result.measured["leaks"]), result
    assert result.message.count("training") + result.message.count("evaluation") >= len(modes)
    assert "own.py:" in result.place
    others = {name for name in NAMES if results[name].verdict == "broken"} - {result.check}
    assert not others, results


@pytest.mark.parametrize("kept", KEPT)
def test_what_a_module_keeps_between_calls_is_seen(tmp_path: Path, kept: str) -> None:
    body, measured, verdict = KEPT[kept]
    result = checked(tmp_path, "Cell", body)["state between calls"]
    assert (result.measured, result.verdict) == (measured, verdict), result


@pytest.mark.parametrize("honest", HONEST)
def test_honest_models_have_none(tmp_path: Path, honest: str) -> None:
    results = checked(tmp_path, *HONEST[honest])
    assert {results[name].verdict for name in NAMES} == {"ok"}, results
    assert results["look-ahead"].measured == {"causal": True, "dtype": "float64", "leaks": []}
    assert results["batch independence"].measured == {"independent": True, "dtype": "float64", "leaks": []}


@pytest.mark.parametrize(("ahead", "pair"), [(1, (1, 2)), (3, (1, 4))])
def test_the_first_pair_of_steps_is_named(tmp_path: Path, ahead: int, pair: tuple[int, int]) -> None:
    """The first output that looks ahead and the first input that it depends on, from 1, by derivative or change."""
    shifted = f"nn.functional.pad(x, (0, 0, 0, {ahead}))[:, {ahead}:].sum(2, keepdim=True)"
    for taken in (shifted, f"{shifted}.round()"):
        result = looked_ahead(tmp_path, "Plain", f"{DRIVE}return self.V(x) + {taken}")
        assert {(one["output"], one["input"]) for one in result.measured["leaks"]} == {pair}, result
        assert f"x_{pair[1]}" in result.message
    whole = looked_ahead(tmp_path, "Plain", f"{DRIVE}return self.V(x.flip(1).cumsum(1).flip(1))")
    assert {(one["output"], one["input"]) for one in whole.measured["leaks"]} == {(1, 2)}, whole


def test_the_derivative_is_that_of_the_model(tmp_path: Path) -> None:
    """Of y_t = ... + 0.25 x_{t+1}, with the weights that the check draws: v * 0.25, at its largest."""
    body = f"{DRIVE}return nn.functional.pad(0.25 * x[:, 1:], (0, 5, 0, 1))\n\n{STEP}return (projected,)"
    (one, other) = looked_ahead(tmp_path, "Plain", body).measured["leaks"]
    assert one["derivative"] == other["derivative"] and one["relative"] == 1.0
    weights = torch.randn(4, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert one["derivative"] == pytest.approx(0.25 * float(weights[:, :3].abs().max()), rel=1e-12)


def test_what_is_of_the_size_of_rounding_is_a_warning(tmp_path: Path) -> None:
    """A causal convolution by FFT has derivatives of 1e-17 by later inputs, which is no leak and is said."""
    result = looked_ahead(tmp_path, "Convolution", "    pass")
    assert result.verdict == "warning" and "the size of rounding" in result.message
    assert all(0 < one["relative"] < 1e-14 for one in result.measured["leaks"])


def test_a_leak_behind_rounding_is_seen(tmp_path: Path) -> None:
    """The first dependence of the size of rounding does not hide a large one at a later step."""
    body = (
        "    def forward(self, x, h=None):\n        out, h = super().forward(x, h)\n"
        "        late = torch.zeros_like(x)\n        late[:, 4:5] = x[:, 5:6]{}\n        return out + late, h"
    )
    for taken in ("", ".detach()"):
        result = looked_ahead(tmp_path, "Convolution", body.format(taken))
        assert result.verdict == "broken", result
        assert {(one["output"], one["input"]) for one in result.measured["leaks"]} == {(5, 6)}, result
        assert all(bool(one["derivative"]) is (not taken) for one in result.measured["leaks"])


def test_long_chains_are_looked_at_in_places(tmp_path: Path) -> None:
    """Of 100 steps the outputs of 64 are looked at, the first and the last but one among them."""
    result = looked_ahead(tmp_path, "Layer", "    pass", 100)
    assert result.verdict == "ok" and "64 of 99 steps" in result.message
    last = "    def forward(self, x, h=None):\n        out, h = super().forward(x, h)\n"
    last += "        return torch.cat([out[:, :-2], out[:, -2:] + x[:, -1:, :1]], 1), h"
    (one, _) = looked_ahead(tmp_path, "Layer", last, 100).measured["leaks"]
    assert (one["output"], one["input"]) == (99, 100)


def test_bn_lstm_depends_on_its_batch_in_training_only() -> None:
    entry = model_registry.model_entry("bn_lstm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stablebench.contract.run._WHOLE", CERTIFICATE)
        results = {r.check: r for r in run_checks(CheckedModel(entry, params=entry.resolve({})))}
    result = results["batch independence"]
    assert result.verdict == "ok" and "in training, an example's output depends on the others" in result.message
    assert [one["mode"] for one in result.measured["leaks"]] == ["training"] and not result.measured["independent"]
    assert results["look-ahead"].measured["causal"]


def test_a_declared_dependence_in_evaluation_is_a_warning(tmp_path: Path) -> None:
    body = f"    batch_dependent = True\n\n{FORWARD}return self.cell(x - x.mean(0), h)"
    result = of_batch(tmp_path, "Cell", body)
    assert result.verdict == "warning" and "`batch_dependent` declares it" in result.message
    result = of_batch(tmp_path, "Cell", body.replace("x.mean(0)", "x.mean(0) * self.training"))
    assert result.verdict == "ok" and "in evaluation on none" in result.message


def test_an_example_alone_has_the_outputs_that_it_has_in_a_batch(tmp_path: Path) -> None:
    result = of_batch(tmp_path, "Plain", f"{STEP}return ({H} / len(projected),)")
    assert result.verdict == "broken" and "an example alone" in result.message and result.measured["alone"] > 0.1


def test_time_first_layers_are_taken_as_they_say(tmp_path: Path) -> None:
    """A layer of (time, batch, in) mixes examples unless it says `batch_first = False`."""
    body = "    both = False\n\n    def forward(self, x, h=None):\n"
    body += "        out, h = super().forward(x.transpose(0, 1), h)\n        return out.transpose(0, 1), h"
    result = of_batch(tmp_path, "Layer", body)
    assert result.verdict == "broken" and "`batch_first = False`" in result.message
    results = checked(tmp_path, "Layer", body.replace("both = False", "batch_first = False"))
    assert {results[name].verdict for name in NAMES} == {"ok"}, results


def test_a_layer_that_is_no_layer_is_refused_as_a_cell(tmp_path: Path) -> None:
    results = checked(tmp_path, "Layer", "    def forward(self, x, h=None):\n        return x.sum(-1)")
    assert list(results) == ["constructor and forward", "structure"]
    assert results["structure"].verdict == "broken" and "a step of it fails" in results["structure"].message


BYTES = [
    ("Plain", "    pass", 32),
    ("Cell", f"{FORWARD}return self.cell.weight_hh[:2].sum() + x, self.cell(x, h)", 32),
    ("Layer", "    both = True", 64),
    ("Plain", "    state_sizes = property(lambda self: (8, 3))\n\n" + STEP + "return (state[0], state[1])", 44),
]


@pytest.mark.parametrize(("base", "body", "count"), BYTES)
def test_bytes_of_state(tmp_path: Path, base: str, body: str, count: int) -> None:
    """Of width 8 in float32; an output that is no state is not counted."""
    result = checked(tmp_path, base, body, only=(cost_checks.state_bytes,))["state bytes"]
    assert result.measured["bytes"] == count == sum(4 * part["size"] for part in result.measured["parts"])
    assert result.message.startswith(f"{count} an example")


def test_latency_is_the_median_of_single_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0, 7000)
    monkeypatch.setattr("stablebench.contract.cost_checks.time.perf_counter_ns", lambda: next(clock))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        result = checked(tmp_path, "Plain", "    pass", only=(cost_checks.step_latency,))["step latency"]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert result.measured["latency_us"] == 7.0 and result.measured["repeats"] >= 50
    assert result.message.startswith("7 us a step") and "as measured here: batch 1" in result.message


EXPORTS: list[tuple[str, str, bool]] = [
    ("Plain", "    pass", True),
    ("Cell", "    pass", True),
    ("Layer", "    pass", True),
    ("Cell", f"{FORWARD}return self.cell(x, h) * (1 if float(h.sum()) > 1e9 else 2)", False),
    ("Cell", f"{FORWARD}return self.cell(x, h) + torch.from_numpy(x.detach().numpy()).sum(1, keepdim=True)", False),
]


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
@pytest.mark.parametrize(("base", "body", "exported"), EXPORTS)
def test_export(tmp_path: Path, capfd: pytest.CaptureFixture[str], base: str, body: str, exported: bool) -> None:
    result = checked(tmp_path, base, body, only=(cost_checks.exportable,))["torch.export"]
    assert result.measured["export"] is exported, result
    assert result.message.startswith("yes: a step" if exported else "no: ")
    assert exported or ("\n" not in result.message and result.verdict == "warning")
    assert capfd.readouterr() == ("", "")


def test_documents_are_json(tmp_path: Path) -> None:
    def plain(value: Any) -> bool:
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(item) for key, item in value.items())
        return all(map(plain, value)) if isinstance(value, list) else isinstance(value, bool | int | float | str | None)

    for base, body in (HONEST["plain"], ("Layer", "    both = True")):
        documents = [result.document() for result in checked(tmp_path, base, body, only=()).values()]
        assert len(documents) > 12 and all(plain(one) for one in documents)
