"""Measuring while training: the numbers are right, and the run does not notice."""

import math
from typing import Any

import pytest
import torch

from stablebench.data.task import Task
from stablebench.errors import UserError
from stablebench.models.build import build_network
from stablebench.specs.resolve import RunRequest, resolve
from stablebench.training.monitor import MEASURES, MonitorConfig, TrainingProbe, deviation, renamed_measures

EVERYTHING = MonitorConfig.parse("every=1,what=all,batch=4,samples=1")


@pytest.fixture(autouse=True)
def _as_training_has_it() -> None:
    torch.set_default_dtype(torch.float32)


def network_and_probe(
    model: str, task: str = "copy", watch: MonitorConfig = EVERYTHING, /, **settings: object
) -> tuple[Any, TrainingProbe]:
    options = {"model.hidden": 12} | ({"model.layers": 8} if task == "double_moon" else {})
    resolved = resolve(RunRequest(model, task, options=options, settings=settings, T=6 if task == "copy" else None))
    built = Task(resolved.card, resolved.spec.task.params)
    return build_network(resolved.spec, resolved.card, built.sizes), TrainingProbe(watch, built)


def numbers(model: str, task: str = "copy", /, **settings: object) -> dict[str, float]:
    network, probe = network_and_probe(model, task, **settings)
    found = probe.measure(network)
    assert "error" not in found, found["error"]
    return {name: float(value) for name, value in found.items()}


def test_word_of_version_0_1_is_accepted_and_new_one_named() -> None:
    """The word of version 0 1 is accepted and the new one named."""
    assert MonitorConfig.parse("every=2,what=watched,energy") == MonitorConfig(2, ("diagnostics", "energy"))
    assert renamed_measures("every=2,what=watched") == "--probe: `watched` is now called `diagnostics`"
    assert renamed_measures("every=2,what=diagnostics") is None


@pytest.mark.parametrize(
    ("text", "watch"),
    [
        ("every=50", MonitorConfig(50, ("diagnostics", "orthogonality", "parameters", "gradients", "energy"))),
        ("every=5,what=energy,gradients", MonitorConfig(5, ("energy", "gradients"))),
        ("what=energy|jacobian, every=5, batch=1", MonitorConfig(5, ("energy", "jacobian"), 1, 1)),
        ("every=2,what=all,batch=4,samples=3", MonitorConfig(2, tuple(MEASURES), 4, 3)),
    ],
)
def test_a_request_is_read_and_its_text_reads_the_same(text: str, watch: MonitorConfig) -> None:
    assert MonitorConfig.parse(text) == watch == MonitorConfig.parse(str(watch))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("what=energy", "every=N is missing"),
        ("every=0", "`every` must be a whole number >= 1, got '0'"),
        ("every=ten", "`every` must be a whole number >= 1, got 'ten'"),
        ("every=5,what=gradient", "no measure 'gradient'. Did you mean gradients?"),
        ("every=5,often=1", "'often=1' must be every=N, what=NAME"),
        ("every=5,every=6", "each once"),
        ("energy,every=5", "'energy' must be every=N"),
        ("every=5,batch=2,samples=3", "`samples` must be <= 2"),
    ],
)
def test_a_wrong_request_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        MonitorConfig.parse(text)


def test_more_examples_than_there_are_is_refused() -> None:
    with pytest.raises(UserError, match="`batch` must be <= .* the validation examples, got 10000000"):
        network_and_probe("rnn", "copy", MonitorConfig(1, ("energy",), batch=10_000_000))


def test_neither_the_network_nor_torch_s_global_state_is_touched() -> None:
    network, probe = network_and_probe("nnrnn")
    network.train()
    engine = network.engine = lambda *_: pytest.fail("the run's engine computes the run alone")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    probe.measure(network)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == torch.float32
    assert network.training and network.engine is engine
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_cornn_says_both_sides_of_condition_8() -> None:
    network, _ = network_and_probe("cornn")
    (layer,) = network.models
    dt = 0.042
    layer.constants[0] = dt
    with torch.no_grad():
        layer.W.fill_(0.5)
        layer.W[0] = -2.0  # the largest row sum of moduli: 12 * 2
        layer.W2.fill_(0.25)
        found = {name: float(value) for name, value in layer.diagnostics().items()}
    assert found == pytest.approx(
        {"eta_W": dt * 25 / (1 + dt), "eta_W2": dt * 3 / (1 + dt), "sqrt_dt": math.sqrt(dt)}, rel=1e-6
    )


def test_nnrnn_says_gamma_s_mean_and_energy_of_lower_triangle() -> None:
    """Nnrnn says gamma's mean and the energy of its lower triangle."""
    network, probe = network_and_probe("nnrnn", "copy", MonitorConfig(1, ("diagnostics",)))
    (layer,) = network.models
    with torch.no_grad():
        layer.gamma.copy_(torch.tensor([1.0, 0.5, 0.75] * 2))
        layer.T.fill_(0.5)  # 66 entries below the diagonal, 6 of them in blocks
    found = probe.measure(network)
    assert found["diagnostics.layers.0.mean_gamma"] == 0.75
    assert found["diagnostics.layers.0.lower_energy"] == pytest.approx(60 * 0.25)
    of_blocks = 2 * 2 * (1 + 0.25 + 0.5625)
    assert found["diagnostics.layers.0.lower_share"] == pytest.approx(15 / (15 + of_blocks))


@pytest.mark.parametrize(("model", "task"), [("roarnn", "copy"), ("roafnn", "double_moon")])
def test_sigma_is_the_spectral_norm_of_W(model: str, task: str) -> None:
    network, probe = network_and_probe(model, task, MonitorConfig(1, ("diagnostics",)))
    (layer,) = network.models
    matrices = [layer.W] if model == "roarnn" else [W for group in layer.W for W in group]
    sigma = max(torch.linalg.svdvals(W.detach().double())[0].item() for W in matrices)
    name = "layers.0" if model == "roarnn" else "model"
    found = probe.measure(network)
    assert found[f"diagnostics.{name}.sigma"] == pytest.approx(sigma, rel=1e-12)
    assert found[f"diagnostics.{name}.alpha_1_plus_sigma"] == pytest.approx(layer.alpha * (1 + sigma), rel=1e-12)


ORTHOGONAL = ["dizzy", "dtriv", "eunn", "exprnn", "fcurnn", "nnrnn", "ornn", "roarnn", "scornn", "ugru", "urnn"]


@pytest.mark.parametrize("model", [*ORTHOGONAL, "urnn_arjovsky"])
def test_constrained_matrices_are_orthogonal(model: str) -> None:
    found = numbers(model)
    deviations = [value for name, value in found.items() if name.startswith("orthogonality.")]
    assert deviations and max(deviations) < 1e-5  # some are stored in float32


def test_deviation_is_a_spectral_norm_of_any_matrix() -> None:
    """A deviation is a spectral norm of wide tall complex and several matrices."""
    tall = torch.eye(4, 2, dtype=torch.float64) * torch.tensor([1.0, math.sqrt(1.5)], dtype=torch.float64)
    assert deviation(tall) == pytest.approx(0.5)
    assert deviation(tall.T) == pytest.approx(0.5)
    assert deviation(torch.stack([torch.eye(4, 2, dtype=torch.float64), tall])) == pytest.approx(0.5)
    assert deviation(torch.eye(3, dtype=torch.complex128) * 1j) == 0


def test_gradient_norms_are_those_of_loss_on_same_examples() -> None:
    """Gradient norms are those of the loss on the same examples."""
    network, probe = network_and_probe("lstm", "adding", MonitorConfig(1, ("gradients", "parameters"), batch=5))
    found = probe.measure(network)
    examples = probe._examples
    network.double().zero_grad()
    output, _ = network(examples.inputs)
    (output - examples.targets).square().mean().backward()
    norms = {name: p.grad.norm().item() for name, p in network.named_parameters() if p.grad is not None}
    for name, norm in norms.items():
        assert found[f"gradient.{name}"] == pytest.approx(norm, rel=1e-9), name
    assert found["gradient.whole"] == pytest.approx(math.sqrt(sum(v * v for v in norms.values())), rel=1e-9)
    for name, p in network.named_parameters():
        assert found[f"norm.{name}"] == pytest.approx(p.norm().item(), rel=1e-12)


def test_both_ends_of_the_gradient_agree_with_its_growth() -> None:
    """Both ends of the gradient agree with its growth in an orthogonal chain."""
    found = numbers("urnn", **{"model.activation": "identity"})
    assert found["flow.log10_first"] == pytest.approx(found["flow.log10_last"], abs=1e-5)
    assert found["flow.growth_rate"] == pytest.approx(0, abs=1e-6)
    assert found["jacobian.log10_sigma_max"] == pytest.approx(0, abs=1e-5)
    assert found["jacobian.lyapunov"] == pytest.approx(0, abs=1e-6)


def test_what_is_not_finite_is_left_out() -> None:
    """What is not finite is left out and what cannot be measured is said."""
    network, probe = network_and_probe(
        "rnn", "copy", MonitorConfig.parse("every=1,what=all"), **{"model.activation": "relu"}
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    found = probe.measure(network)
    assert found["energy.largest"] == 0
    assert "flow.log10_first" not in found  # a gradient of exactly 0
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1e30)
    found = probe.measure(network)
    assert "beyond float64" in str(found["error"])
    assert found["norm.layers.0.b"] == pytest.approx(1e30 * math.sqrt(12), rel=1e-6)


def test_names_in_a_stack_say_which_layer() -> None:
    found = numbers("roarnn", **{"model.layers": 2})
    assert {"diagnostics.layers.0.sigma", "diagnostics.layers.1.sigma", "orthogonality.layers.1.O"} <= set(found)
