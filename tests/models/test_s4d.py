"""S4D: the equation, its convolution, its initialisations, and a stability that training keeps."""

import math
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from stablebench.engines import scan
from stablebench.errors import UserError
from stablebench.models.blocks.linear import moduli
from stablebench.models.recurrent.s4d import S4D, DiagonalInit, frequencies_of

Discretisation = Literal["zoh", "bilinear"]
DISCRETISATIONS: list[Discretisation] = ["zoh", "bilinear"]
INITS: list[DiagonalInit] = ["lin", "inv", "legs"]


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def bare(in_features: int, hidden: int, **arguments: Any) -> S4D:
    return S4D(in_features, hidden, norm="none", mix="none", skip=False, **arguments)


def discrete(model: S4D) -> tuple[Tensor, Tensor]:
    """Return Abar and Bbar, complex, (N / 2, hidden), as the paper writes them."""
    A, dt = -torch.exp(model.log_A_real) + 1j * model.A_imag, torch.exp(model.log_dt)
    if model.discretisation == "zoh":
        return torch.exp(dt * A), (torch.exp(dt * A) - 1) / A
    return (1 + dt * A / 2) / (1 - dt * A / 2), dt / (1 - dt * A / 2)


@pytest.mark.parametrize("discretisation", DISCRETISATIONS)
def test_it_is_the_equation_channel_by_channel(discretisation: Discretisation) -> None:
    model = bare(2, 3, state=4, discretisation=discretisation)
    (A, B), C = discrete(model), torch.complex(*model.C)
    x = torch.randn(1, 6, 2)
    outputs, _ = model(x)
    h = torch.zeros(3, 2, dtype=torch.complex128)
    for t in range(6):
        v = model.block.encoder(x[0, t])
        for channel in range(3):
            h[channel] = A[:, channel] * h[channel] + B[:, channel] * v[channel]
            y = 2 * (C[:, channel] @ h[channel]).real + model.D[channel] * v[channel]
            torch.testing.assert_close(outputs[0, t, channel], y, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("discretisation", DISCRETISATIONS)
def test_recurrence_is_convolution_with_vandermonde_kernel(discretisation: Discretisation, init: DiagonalInit) -> None:
    """The recurrence is the convolution with the vandermonde kernel."""
    steps = 200
    model = bare(2, 3, discretisation=discretisation, init=init)
    (A, B), C = discrete(model), torch.complex(*model.C)
    vandermonde = A[..., None] ** torch.arange(steps)  # (N / 2, hidden, steps)
    kernel = 2 * torch.einsum("nc,nct->tc", C * B, vandermonde).real
    torch.testing.assert_close(model.kernel(steps), kernel, rtol=1e-10, atol=1e-12)
    x = torch.randn(1, steps, 2)
    v = model.block.encoder(x)[0]
    spectra = torch.fft.rfft(v, 2 * steps, dim=0) * torch.fft.rfft(kernel, 2 * steps, dim=0)
    expected = torch.fft.irfft(spectra, dim=0)[:steps] + model.D * v
    torch.testing.assert_close(model(x)[0][0], expected, rtol=1e-10, atol=1e-11)
    scanned, _ = scan.run(model, x)
    torch.testing.assert_close(model.layer_output(scanned, x)[0], expected, rtol=1e-10, atol=1e-11)


def test_bilinear_and_zero_order_hold_agree_to_second_order() -> None:
    """Bilinear and zero order hold agree to second order in the step."""
    differences = []
    for dt in (0.002, 0.001):
        moved = []
        for discretisation in DISCRETISATIONS:
            model = bare(1, 1, state=4, dt_min=dt, dt_max=dt, discretisation=discretisation)
            moved.append(model.recurrent_weights()[0])
        differences.append((moved[0] - moved[1]).abs().max().item())
    # (1 + z / 2) / (1 - z / 2) - exp(z) = z^3 / 12 + ..., so an eighth for half the step
    assert differences[0] / differences[1] == pytest.approx(8, rel=0.01)


def test_inputs_matrix_is_exact_for_small_steps() -> None:
    """The inputs matrix is exact for small steps in single precision."""
    model = bare(1, 3, dt_min=1e-5, dt_max=1e-4)
    exact = discrete(model)[1]
    _, found = model.float().recurrent_weights()
    half = found.double().view(2, 8, 3)
    assert ((torch.complex(*half) - exact).abs() / exact.abs()).max() < 1e-6  # exp(x) - 1 would lose four digits


def test_the_first_frequencies_are_those_of_the_paper() -> None:
    torch.testing.assert_close(frequencies_of("lin", 8), math.pi * torch.tensor([0.0, 1, 2, 3]))
    inverse = torch.tensor([7.0, 8 / 3 - 1, 8 / 5 - 1, 8 / 7 - 1]) * 8 / math.pi
    torch.testing.assert_close(frequencies_of("inv", 8), inverse)


def test_legs_frequencies_are_those_of_normal_part_of_hippo() -> None:
    """The legs frequencies are those of the normal part of hippo."""
    N = 16
    A = torch.empty(N, N)
    for n in range(N):
        for k in range(N):
            A[n, k] = -math.sqrt((2 * n + 1) * (2 * k + 1)) if n > k else (-(n + 1) if n == k else 0)
    P = torch.tensor([math.sqrt(n + 0.5) for n in range(N)])
    normal = A + torch.outer(P, P)
    torch.testing.assert_close(normal @ normal.T, normal.T @ normal, rtol=1e-12, atol=1e-10)
    found = torch.linalg.eigvals(normal)
    torch.testing.assert_close(found.real, torch.full((N,), -0.5), rtol=1e-10, atol=1e-10)
    positive = found.imag[found.imag > 0].sort().values
    torch.testing.assert_close(frequencies_of("legs", N), positive, rtol=1e-10, atol=1e-10)


def test_the_largest_legs_frequency_approaches_that_of_inv() -> None:
    for N in (64, 128, 256):  # both grow like N^2 / pi
        ratio = (frequencies_of("legs", N)[-1] / frequencies_of("inv", N)[0]).item()
        assert ratio == pytest.approx(1, abs=1.1 / N)


@pytest.mark.parametrize("discretisation", DISCRETISATIONS)
def test_the_spectrum_stays_stable_while_training_pushes_it_out(discretisation: Discretisation) -> None:
    model = S4D(1, 6, discretisation=discretisation)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    before = moduli(model.recurrent_weights()[0]).mean().item()
    for _ in range(50):
        optimiser.zero_grad()
        (-moduli(model.recurrent_weights()[0]).sum()).backward()
        optimiser.step()
    modulus = moduli(model.recurrent_weights()[0])
    assert before < modulus.mean().item() and modulus.max().item() < 1
    assert (-torch.exp(model.log_A_real)).max().item() < 0


def test_step_sizes_start_within_bounds_uniform_in_logarithm() -> None:
    """Step sizes start within their bounds uniform in the logarithm."""
    model = S4D(1, 20_000, state=2, mix="none")
    position = (model.log_dt - math.log(1e-3)) / math.log(100)
    assert position.min() >= 0 and position.max() <= 1
    assert position.mean().item() == pytest.approx(0.5, abs=5 * math.sqrt(1 / 12 / 20_000))
    assert model.C.square().sum(0).mean().item() == pytest.approx(1, abs=5 / math.sqrt(20_000))  # E|C|^2


def test_every_channel_sees_itself_alone_in_the_recurrence() -> None:
    model = bare(4, 4, layer=1)  # no encoder
    x = torch.randn(1, 7, 4)
    jacobian = torch.autograd.functional.jacobian(lambda x: model(x)[0][0, -1], x)
    assert isinstance(jacobian, Tensor)
    reached = jacobian[:, 0].abs().amax(1) > 0  # (output channel, input channel)
    assert torch.equal(reached, torch.eye(4, dtype=torch.bool))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"state": 5}, "`state` must be even"), ({"dt_min": 0.2, "dt_max": 0.1}, "`dt_min` must be <= `dt_max`")],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        S4D(1, 2, **arguments)
