"""coRNN's propositions as claims: closed forms against derivatives, where each holds, and where it does not."""

import math
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.models.base import State
from stablebench.models.claims.cornn import cornn_claims
from stablebench.models.claims.oscillator import (
    Oscillators,
    largest_gradient_entry,
    largest_one_step_norm,
    log10_product_norm,
)
from stablebench.models.network import Network
from stablebench.models.recurrent.cornn import CoRNN
from stablebench.probes.measurements import ChainMeasurements, ClaimVerdict, check_claims

ENERGY, PRINTED, FOR_EVER, APART, ONE_STEP, PRODUCT, APPROXIMATED, GRADIENT, LONG_TERM, HORIZON = range(10)


def measured(layer: CoRNN, steps: int = 40, inputs: Tensor | None = None) -> ChainMeasurements:
    network = Network([layer], 2, readout="last", input="values")
    x = torch.rand(3, steps, layer.in_features) if inputs is None else inputs
    return ChainMeasurements(network, Batch(x, torch.randn(len(x), 2)), "mse", 2)


def findings(layer: CoRNN, steps: int = 40, inputs: Tensor | None = None) -> list[ClaimVerdict]:
    return check_claims(measured(layer, steps, inputs))


def of_the_theory(dt: float = 0.02, **arguments: Any) -> CoRNN:
    return CoRNN(3, 6, dt=dt, gamma=1.0, epsilon=1.0, damping="implicit", **arguments)


def small(layer: CoRNN, factor: float) -> CoRNN:
    layer.W.data.mul_(factor)
    layer.W2.data.mul_(factor)
    return layer


def driven_out(dt: float) -> CoRNN:
    """One unit at rest, whose velocity grows at the largest rate that condition (8) leaves for r = 1/2."""
    layer = CoRNN(1, 1, dt=dt, gamma=1.0, epsilon=1.0, damping="implicit")
    for parameter in layer.parameters():
        parameter.data.zero_()
    layer.W2.data.fill_(math.sqrt(dt) * (1 + dt) / dt * (1 - 1e-9))
    return layer


def test_every_proposition_holds_for_small_weights_and_step() -> None:
    """Every proposition holds for small weights and a small step."""
    found = findings(small(of_the_theory(), 0.001))
    assert [f.verdict for f in found[:HORIZON]] == ["holds"] * 9


def test_the_experiments_settings_are_outside_most_hypotheses() -> None:
    found = findings(CoRNN(1, 128, dt=0.083, gamma=0.13, epsilon=4.1), 40)
    assert [f.verdict for f in found[: APART + 1]] == ["holds", "holds", "not applicable", "holds"]
    assert {f.verdict for f in found[ONE_STEP:]} == {"not applicable"}
    assert found[HORIZON].bound == math.inf and "is overdamped" in found[HORIZON].hypothesis
    assert "N dt = 3.32" in found[GRADIENT].hypothesis


def test_energies_need_a_small_step_and_a_bounded_activation() -> None:
    for layer in (CoRNN(3, 6, dt=0.5), small(CoRNN(3, 6, activation="identity"), 0.1)):
        assert {f.verdict for f in findings(layer)[: APART + 1]} == {"not applicable"}
    assert findings(CoRNN(3, 6), inputs=torch.rand(1, 40, 3))[APART].verdict == "not applicable"  # one sequence


def test_chain_pushed_too_hard_violates_every_energy_bound() -> None:
    """A chain that is pushed harder than phi can violates every energy bound."""

    class Pushed(CoRNN):
        def step(self, projected: Tensor, state: State, recurrent_weights: tuple[Tensor, ...]) -> State:
            y, z = super().step(projected, state, recurrent_weights)
            return y, z + 3 * projected.sign() * self.constants[0]

    layer = Pushed(3, 6, dt=0.02, gamma=1.0, epsilon=1.0, damping="implicit")
    x = torch.randn(3, 45, 3).mean(1, keepdim=True).expand(3, 45, 3)
    layer.V.data.mul_(100)
    assert [f.verdict for f in findings(layer, inputs=x)[: APART + 1]] == ["violated"] * 4


def whole_jacobian(layer: CoRNN, x: Tensor, before: Tensor) -> Tensor:
    """dX_n/dX_0 of one sequence x (steps, in)."""

    def chain(joined: Tensor) -> Tensor:
        state: State = (joined[None, : layer.hidden], joined[None, layer.hidden :])
        for u in layer.input_projection(x):
            state = layer.step(u[None], state, layer.recurrent_weights())
        return torch.cat(state, dim=1)[0]

    found = torch.autograd.functional.jacobian(chain, before)
    assert isinstance(found, Tensor)
    return found


@pytest.mark.parametrize("damping", ["explicit", "implicit"])
@pytest.mark.parametrize("activation", ["tanh", "identity", "cubic"])
def test_norms_of_jacobians_are_those_of_autograd(damping: Any, activation: Any) -> None:
    layer = CoRNN(3, 5, dt=0.3, gamma=1.7, epsilon=2.1, damping=damping, activation=activation)
    evidence, c = measured(layer, 7), layer.oscillators()
    slopes = c.slopes(evidence)
    x, states = evidence.inputs, evidence.states
    single = max(
        whole_jacobian(layer, x[i, t : t + 1], states[t, i]).abs().sum(1).max().item()
        for t in range(1, 7)
        for i in range(3)
    )
    assert largest_one_step_norm(c, slopes[1:]) == pytest.approx(single, rel=1e-12)
    product = whole_jacobian(layer, x[0, 1:], states[1, 0]).abs().sum(1).max().item()
    assert log10_product_norm(c, slopes[1:, 0]) == pytest.approx(math.log10(product), abs=1e-12)


def test_the_product_has_no_largest_number() -> None:
    layer = driven_out(0.01)
    layer.W2.data.fill_(1e6)
    c = layer.oscillators()
    one = log10_product_norm(c, torch.ones(60, 1)) - log10_product_norm(c, torch.ones(59, 1))
    assert log10_product_norm(c, torch.ones(160, 1)) == pytest.approx(160 * one, rel=1e-3)
    assert 160 * one > 400


def test_bounds_on_jacobians_are_violated_by_a_larger_step() -> None:
    """Bounds on jacobians are violated by a step larger than said."""

    class Understated(Oscillators):
        @property
        def step_power(self) -> float:
            return super().step_power / 100

    layer = of_the_theory()
    evidence, whole = measured(layer), layer.oscillators()
    claims = cornn_claims(Understated(**{field.name: getattr(whole, field.name) for field in fields(Oscillators)}))
    outcomes = [claim.check(evidence) for claim in claims[ONE_STEP : APPROXIMATED + 1]]
    assert all(outcome.applies and not outcome.holds for outcome in outcomes)


def test_what_14_leaves_out_is_not_small() -> None:
    """What 14 leaves out is not small and proposition 3 2 falls with it."""
    found = findings(driven_out(0.01), 100, inputs=torch.zeros(2, 100, 1))
    assert [found[i].verdict for i in (ONE_STEP, PRODUCT)] == ["holds", "vacuous"]
    assert [found[i].verdict for i in (APPROXIMATED, GRADIENT)] == ["violated", "violated"]
    assert found[APPROXIMATED].measured == pytest.approx(3.713, abs=1e-3)
    assert found[APPROXIMATED].bound == pytest.approx(math.log10(1 + 3 * 99 * 0.1), rel=1e-6)
    assert found[GRADIENT].measured == pytest.approx(8.375, abs=1e-3) and found[GRADIENT].bound == 3


def test_the_gradient_is_the_largest_entry_of_all_parameters() -> None:
    layer = of_the_theory()
    x = torch.rand(2, 9, 3)
    y = layer(x)[0]
    (y - torch.where(y < 0, 1.0, -1.0)).square().sum(2).mean().div(2).backward()
    entries = [p.grad.abs().max().item() for p in layer.parameters() if p.grad is not None]
    assert len(entries) == 4 and largest_gradient_entry(layer.oscillators(), x) == pytest.approx(max(entries))


def test_proposition_f_2_is_about_the_explicit_form() -> None:
    found = findings(CoRNN(3, 6, dt=0.02, gamma=1.3, epsilon=2.0))[GRADIENT]
    assert found.verdict == "holds" and isinstance(found.bound, float) and found.bound < 10
    other = findings(CoRNN(3, 6, dt=0.02, gamma=1.3, epsilon=2.0, damping="implicit"))[GRADIENT]
    assert other.verdict == "not applicable"


def test_the_share_of_long_ago_is_that_of_autograd() -> None:
    layer = small(of_the_theory(), 0.01)
    evidence = measured(layer, 20)
    (found,) = [f for f in check_claims(evidence) if "3.3" in f.claim]
    k, n, dt = 2, 20, 0.02  # n/20 <= k <= n/10 leaves 1 and 2, and y_0 cancels in the outer product of the first
    Ws = [layer.W.detach().clone().requires_grad_() for _ in range(n)]
    state = layer.initial_state(1)
    for W, projected in zip(Ws, layer.input_projection(evidence.inputs[:1]).unbind(1), strict=True):
        _, *others = layer.recurrent_weights()
        state = layer.step(projected, state, (W.T, *others))
    (state[0].square().sum() / 2).backward()
    gradient = Ws[k - 1].grad
    assert gradient is not None
    order = 1 / 1.02 * dt * n * dt / math.cosh(math.sqrt(k * dt) * 1.02) ** 2
    y_k, y_n = (evidence.states[t, 0, :6].abs().max().item() for t in (k - 1, n))
    expected = math.log10(gradient.abs().max().item() / (order * y_k * y_n))
    assert isinstance(found.measured, tuple)
    assert min(abs(end - expected) for end in found.measured) < 1e-9


def test_proposition_3_3_is_about_small_weights() -> None:
    assert findings(of_the_theory())[LONG_TERM].verdict == "not applicable"
    still = findings(driven_out(0.01), 100, inputs=torch.zeros(1, 100, 1))[LONG_TERM]
    assert still.verdict == "not applicable"


def test_chain_that_forgets_velocities_violates_proposition_3_3() -> None:
    """A chain that forgets its velocities violates proposition 3 3."""

    class Forgetting(Oscillators):
        @property
        def kept(self) -> float:
            return 1e-6

    layer = small(of_the_theory(0.002), 1e-4)
    evidence, whole = measured(layer, 400), layer.oscillators()
    c = Forgetting(**{field.name: getattr(whole, field.name) for field in fields(Oscillators)})
    for oscillators, holds in ((whole, True), (c, False)):
        outcome = cornn_claims(oscillators)[LONG_TERM].check(evidence)
        assert outcome.applies and outcome.holds == holds


def damped(damping: Any = "explicit") -> CoRNN:
    """Oscillators with the constants of the paper's adding problem."""
    return CoRNN(2, 6, dt=0.016, gamma=94.5, epsilon=9.5, damping=damping).double()


@pytest.mark.parametrize(("damping", "kept"), [("explicit", 1 - 9.5 * 0.016), ("implicit", 1 / (1 + 9.5 * 0.016))])
def test_oscillators_alone_remember_for_the_horizon(damping: Any, kept: float) -> None:
    found = findings(small(damped(damping), 0), 300)[HORIZON]
    assert found.verdict == "holds" and isinstance(found.bound, float) and isinstance(found.measured, float)
    rate = -math.log(kept) / 2
    axes = found.bound * rate - math.log(1000)  # ln of their ratio, by which the horizon can lie below or above
    assert 0 < axes < math.log(94.5**0.5 * 2) and math.log(1000) - axes <= found.measured * rate + rate
    assert "(2 / epsilon) ln(1 / 0.001) is 90.89 steps" in found.hypothesis


def test_oscillators_that_feed_each_other_remember_longer() -> None:
    layer = damped()
    layer.W2.data.add_(5 * torch.eye(6))
    assert findings(layer, 300)[HORIZON].verdict == "violated"
    short = findings(layer, 80)[HORIZON]
    assert short.verdict == "not applicable" and isinstance(short.bound, float) and 90 < short.bound < 120
