import mpmath
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov

from stablebench.errors import StablebenchError
from stablebench.probes.fisher_memory import (
    delay_line_bound,
    feedforward_matrix,
    fisher_memory,
    linear_memory_capacity,
    noise_root,
    transients,
)

N = 20
FIRST = torch.eye(N)[0]


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def test_the_example_matrix_is_the_papers() -> None:
    expected = torch.tensor([[0.2, 0, 0, 0], [2, 0.2, 0, 0], [3, 2, 0.2, 0], [3, 3, 2, 0.2]])
    assert torch.equal(feedforward_matrix(4, 2, 3, 0.2), expected)


@pytest.mark.parametrize("alpha", [0.9, 1.0, 1.1])
def test_delay_line_has_ganguli_s_curve(alpha: float) -> None:
    """A delay line has ganguli's curve and forgets all after its length."""
    curve = fisher_memory(feedforward_matrix(N, alpha**0.5), FIRST, N + 3).curve
    k = torch.arange(N)
    expected = 1 / (k + 1) if alpha == 1 else alpha**k * (alpha - 1) / (alpha ** (k + 1) - 1)
    torch.testing.assert_close(curve[:N], expected, rtol=1e-12, atol=0)
    assert torch.equal(curve[N:], torch.zeros(4))


def test_a_scaled_rotation_forgets_geometrically() -> None:
    # Theta = a Q: C = I / (1 - a^2), J(k) = (1 - a^2) a^(2k), area 1 for unit v (a normal network remembers no more)
    a, v = 0.9, torch.nn.functional.normalize(torch.randn(N), dim=0)
    found = fisher_memory(a * torch.linalg.qr(torch.randn(N, N)).Q, v, 300)
    torch.testing.assert_close(found.curve, (1 - a**2) * a ** (2 * torch.arange(301)), rtol=1e-11, atol=1e-15)
    assert found.area == pytest.approx(1, rel=1e-12)


def test_an_orthogonal_network_needs_a_number_of_steps() -> None:
    Q = torch.linalg.qr(torch.randn(N, N)).Q
    with pytest.raises(StablebenchError, match="spectral radius 1.*needs a number of steps"):
        fisher_memory(Q, FIRST, 3)
    torch.testing.assert_close(fisher_memory(Q, FIRST, 3, horizon=50).curve, torch.full((4,), 1 / 50))


def test_the_noise_solves_its_lyapunov_equation() -> None:
    theta = 0.3 * torch.randn(N, N).tril() * 0.5
    expected = torch.from_numpy(solve_discrete_lyapunov(theta.numpy(), torch.eye(N).numpy()))
    for root in (noise_root(theta), noise_root(theta, 2000)):
        torch.testing.assert_close(root @ root.T, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("beta", [0.0, 0.005, 0.1])
def test_proposition_1_bounds_a_triangular_matrixs_curve(beta: float) -> None:
    """Proposition 1 bounds the curve of a strictly triangular matrix."""
    theta = feedforward_matrix(N, 1.05, beta)
    curve, bound = fisher_memory(theta, FIRST, N - 1).curve, delay_line_bound(theta, N - 1)
    assert (bound <= curve * (1 + 1e-12)).all()
    if not beta:
        torch.testing.assert_close(bound, curve, rtol=1e-11, atol=0)


def test_diagonal_extends_memory_past_length_of_line() -> None:
    """A diagonal extends the memory past the length of the line."""
    with_diagonal = fisher_memory(feedforward_matrix(N, 0.95, d=0.2), FIRST, 3 * N).curve
    assert with_diagonal[N:].sum() > 0.05


@pytest.mark.parametrize(("beta", "d"), [(0.05, 0.0), (0.0, 0.4), (0.05, 0.4)])
def test_curve_behind_strong_transients_against_200_digits(beta: float, d: float) -> None:
    """A curve behind strong transients against arithmetic of 200 digits."""
    n, lags = 12, 20
    theta = feedforward_matrix(n, 6.0, beta, d)
    with mpmath.workdps(200):
        A = mpmath.matrix(theta.tolist())
        C, power = mpmath.eye(n), mpmath.eye(n)
        for _ in range(100):  # 0.4^100 is 1e-40
            power = A * power
            C += power * power.T
        signal, expected = mpmath.matrix([1] + [0] * (n - 1)), []
        for _ in range(lags + 1):
            expected.append(float((signal.T * mpmath.lu_solve(C, signal))[0]))
            signal = A * signal
    found = fisher_memory(theta, torch.eye(n)[0], lags).curve
    assert found.tolist() == pytest.approx(expected, rel=1e-6, abs=1e-20)


@pytest.mark.parametrize("alpha", [0.95, 1.0, 1.05])
def test_areas_of_figure_1c_order_as_the_paper_says(alpha: float) -> None:
    n = 100
    first = torch.eye(n)[0]

    def area(beta: float, d: float, lags: int = 3 * n) -> float:
        return fisher_memory(feedforward_matrix(n, alpha, beta, d), first, lags).area

    k, a = torch.arange(n), alpha**2
    line = 1 / (k + 1) if alpha == 1 else a**k * (a - 1) / (a ** (k + 1) - 1)
    assert area(0.0, 0.0) == pytest.approx(line.sum().item(), rel=1e-10)
    for beta in (0.0, 0.005):  # beta costs little, a diagonal extends the memory
        assert area(beta, 0.2) > 1.5 * area(beta, 0.0) and area(beta, 0.0) > 0.95 * area(0.0, 0.0)
    beyond = fisher_memory(feedforward_matrix(n, alpha, 0.0, 0.2), first, 3 * n).curve[n:].sum().item()
    assert beyond > 0 and fisher_memory(feedforward_matrix(n, alpha), first, 3 * n).curve[n:].sum() == 0


def test_linear_capacity_is_the_rank() -> None:
    line = linear_memory_capacity(feedforward_matrix(N, 0.5), FIRST, 2 * N)
    torch.testing.assert_close(line, torch.cat([torch.ones(N), torch.zeros(N + 1)]))
    generic = linear_memory_capacity(0.9 * torch.linalg.qr(torch.randn(4, 4)).Q, torch.randn(4), 200)
    assert generic.sum().item() == pytest.approx(4)


def test_transients_swell_and_die_at_the_length_of_the_line() -> None:
    deviations, norms = transients(feedforward_matrix(N, 1.05), N, starts=50)
    assert deviations.shape == norms.shape == (N + 1, 50)
    torch.testing.assert_close(norms[0], torch.ones(50))
    assert torch.equal(norms[N], torch.zeros(50)) and norms.max() > 1
    start = transients(feedforward_matrix(N, 1.05), 0, starts=1)[1]
    assert start.shape == (1, 1)
