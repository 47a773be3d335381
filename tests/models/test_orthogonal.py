import itertools
import math
from collections import Counter

import pytest
import scipy.linalg
import scipy.stats
import torch

from stablebench.errors import UserError
from stablebench.models.base import frozen_generator
from stablebench.models.blocks import orthogonal
from stablebench.models.blocks.orthogonal import (
    BlockInit,
    PackedRotations,
    SkewExponential,
    block_angles,
    random_orthogonal,
    round_robin,
    skew_exponential,
)
from stablebench.models.deep.roafnn import RoaFNN
from stablebench.models.recurrent.roarnn import RoaRNN


@pytest.fixture(autouse=True)
def _float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # small matrices: on a busy machine threads wait for each other a hundred times longer
    yield
    torch.set_default_dtype(torch.float32)


def givens(n: int, a: int, b: int, theta: float) -> torch.Tensor:
    """R_ab(theta) of DizzyRNN, section 4.1."""
    R = torch.eye(n)
    R[a, a] = R[b, b] = math.cos(theta)
    R[a, b], R[b, a] = math.sin(theta), -math.sin(theta)
    return R


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 17, 128])
def test_all_rounds_pair_every_two_coordinates_exactly_once(n):
    rounds = n - 1 if n % 2 == 0 else n
    pairs = round_robin(n, rounds)
    assert pairs.shape == (rounds, n // 2, 2)
    met = Counter(tuple(pair) for pair in pairs.view(-1, 2).tolist())
    assert met == Counter(itertools.combinations(range(n), 2))  # which also says a < b
    assert all(len(set(r.flatten().tolist())) == 2 * (n // 2) for r in pairs), "pairs of a round are disjoint"


def test_the_order_of_the_rounds_is_the_circle_methods():
    """Saved angles belong to their pairs by this order alone."""
    assert round_robin(6, 2).tolist() == [[[0, 5], [1, 4], [2, 3]], [[0, 4], [3, 5], [1, 2]]]
    assert round_robin(5, 2).tolist() == [[[1, 4], [2, 3]], [[0, 4], [1, 2]]]


@pytest.mark.parametrize(("n", "rotations"), [(2, 1), (3, 3), (5, 2), (8, 7), (17, 17), (128, 10), (128, None)])
def test_packed_rotations_are_orthogonal(n, rotations):
    Q = PackedRotations(n, rotations)()
    assert (Q.T @ Q - torch.eye(n)).abs().max() < 1e-12  # at most 127 products, each exact to rounding


@pytest.mark.parametrize(("n", "rotations"), [(2, 1), (3, 2), (3, 3), (8, 5), (9, 9)])
def test_packed_rotations_are_the_product_of_givens_rotations(n, rotations):
    rotation = PackedRotations(n, rotations)
    Q = torch.eye(n)
    for packed, angles in zip(round_robin(n, rotations).tolist(), rotation.angles.tolist(), strict=True):
        for (a, b), theta in zip(packed, angles, strict=True):
            Q = Q @ givens(n, a, b, theta)  # P_1 P_2 ... P_r: later rounds on the right
    assert torch.allclose(rotation(), Q, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("n", "rotations"), [(2, 1), (5, 5), (6, 3)])
def test_packed_rotations_have_the_right_gradient(n, rotations):
    rotation = PackedRotations(n, rotations)
    inputs = (rotation.first, rotation.second, rotation.partner)
    from stablebench.models.blocks.orthogonal import _RotationProduct

    assert torch.autograd.gradcheck(
        lambda a: _RotationProduct.apply(a, *inputs), rotation.angles.detach().requires_grad_()
    )


def test_the_gradient_of_many_rotations_is_that_of_autograd():
    rotation, weight = PackedRotations(33), torch.randn(33, 33)
    (rotation() * weight).sum().backward()
    angles = rotation.angles.detach().requires_grad_()
    Q = torch.eye(33)
    for k in reversed(range(33)):
        a, b = rotation.first[k], rotation.second[k]
        cos, sin = angles[k].cos()[:, None], angles[k].sin()[:, None]
        Q = Q.index_copy(0, torch.cat([a, b]), torch.cat([cos * Q[a] + sin * Q[b], cos * Q[b] - sin * Q[a]]))
    (Q * weight).sum().backward()
    assert rotation.angles.grad is not None and angles.grad is not None
    assert torch.allclose(rotation.angles.grad, angles.grad, rtol=0, atol=1e-11)


def test_angles_start_in_their_range():
    angles = PackedRotations(128, angle_range=0.5).angles
    assert angles.abs().max() <= 0.5
    assert scipy.stats.kstest(angles.detach().flatten().numpy(), "uniform", args=(-0.5, 1.0)).pvalue > 1e-3
    assert torch.equal(PackedRotations(7, angle_range=0.0)(), torch.eye(7))


@pytest.mark.parametrize(
    ("n", "rotations", "message"), [(8, 8, "1 ... 7"), (7, 8, "1 ... 7"), (1, 1, "`hidden` must be")]
)
def test_too_many_rotations_are_refused(n, rotations, message):
    with pytest.raises(UserError, match=message):
        PackedRotations(n, rotations)


def test_the_random_orthogonal_matrix_is_orthogonal_and_depends_on_its_generator_alone():
    O = random_orthogonal(50, frozen_generator("O"))  # noqa: E741
    assert (O.T @ O - torch.eye(50)).abs().max() < 1e-13
    torch.rand(3)
    assert torch.equal(O, random_orthogonal(50, frozen_generator("O")))
    torch.manual_seed(1)
    assert not torch.equal(O, random_orthogonal(50, frozen_generator("O")))


def test_the_skew_exponential_is_the_matrix_exponential():
    exponential = SkewExponential(9, torch.zeros(4))
    exponential.upper.data.normal_()
    A = exponential.skew().detach()
    assert torch.equal(A, -A.T)
    assert exponential.upper.numel() == 36
    W = exponential().detach()
    assert torch.allclose(W, torch.from_numpy(scipy.linalg.expm(A.numpy())), rtol=0, atol=1e-13)
    assert (W.T @ W - torch.eye(9)).abs().max() < 1e-13


def skew(n: int, norm: float) -> torch.Tensor:
    A = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    return (A - A.T) * norm / torch.linalg.matrix_norm(A - A.T, 2)


@pytest.mark.parametrize("norm", [0.0, 1e-3, 0.8, 0.9, 3.0, 50.0])
@pytest.mark.parametrize("n", [2, 7, 40])
def test_the_exponential_and_its_gradient_are_torchs(n: int, norm: float) -> None:
    A = (skew(n, norm) if norm else torch.zeros(n, n, dtype=torch.float64)).requires_grad_()
    G = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    found, expected = skew_exponential(A), torch.matrix_exp(A)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13 * (1 + norm))
    gradients = [torch.autograd.grad((Q * G).sum(), A)[0] for Q in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-11 * (1 + norm))


@pytest.mark.parametrize("norm", [0.5, 3.0, 20.0])
def test_the_exponential_in_float32_is_orthogonal_and_as_exact_as_torchs(norm: float) -> None:
    A = skew(64, norm)
    exact, ours, theirs = torch.matrix_exp(A), skew_exponential(A.float()), torch.matrix_exp(A.float())
    assert (ours @ ours.T - torch.eye(64, dtype=torch.float32)).abs().max() < 1e-5 * (1 + norm)
    assert (ours - exact).abs().max() <= 2 * (theirs - exact).abs().max() + 1e-6


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_exponential_of_what_is_not_finite_is_not_finite(value: float) -> None:
    A = skew(3, 1.0)
    A[0, 1], A[1, 0] = value, -value
    assert skew_exponential(A).isnan().any()


@pytest.mark.parametrize("n", [2, 5, 8])
def test_the_skew_exponential_starts_as_rotations_of_pairs(n):
    angles = torch.linspace(-3, 3, n // 2)
    expected = torch.block_diag(*(givens(2, 0, 1, t) for t in angles.tolist()), torch.eye(n % 2))[:n, :n]
    assert torch.allclose(SkewExponential(n, angles)(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("init", "to_uniform"),
    [("henaff", lambda s: (s + math.pi) / (2 * math.pi)), ("cayley", lambda s: 2 * torch.atan(s) / (math.pi / 2))],
)
def test_block_angles_follow_their_distribution(init: BlockInit, to_uniform):
    draws = to_uniform(block_angles(init, 20_000))
    assert scipy.stats.kstest(draws.numpy(), "uniform").pvalue > 1e-3  # the seed is fixed: no flaky failures


@pytest.mark.parametrize("n", [3, 4, 5, 8, 17, 128])
def test_ring_angles_make_one_cycle_through_all_coordinates(n: int) -> None:
    matrix = PackedRotations(n, 2, angle_range=0.0, ring=True)().detach().abs().round(decimals=5)
    assert torch.equal(matrix.sum(0), torch.ones(n)) and torch.equal(matrix.sum(1), torch.ones(n))
    order = matrix.argmax(0).tolist()
    place, seen = 0, []
    while place not in seen:
        seen.append(place)
        place = order[place]
    assert len(seen) == n


def test_a_ring_needs_two_rounds() -> None:
    with pytest.raises(UserError, match="needs at least 2 `rotations`"):
        PackedRotations(8, 1, ring=True)


@pytest.mark.parametrize(("n", "rotations"), [(2, None), (3, None), (8, 3), (17, None), (40, None)])
def test_compiled_rotations_and_torchs_agree(n: int, rotations: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = PackedRotations(n, rotations)
    weights = torch.randn(n, n)
    found = []
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr(orthogonal, "_native_rotations", lambda dtype: None)
        assert (orthogonal._native_rotations(torch.float64) is not None) == compiled
        product = packed()
        found.append((product.detach(), *torch.autograd.grad((product * weights).sum(), [packed.angles])))
        assert torch.autograd.gradcheck(lambda _: packed(), packed.angles)
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 17, 64, 127, 128])
def test_what_every_seed_gives_the_orthogonal_factor(n: int) -> None:
    for seed in range(40 if n < 64 else 5):
        O = random_orthogonal(n, torch.Generator().manual_seed(seed))  # noqa: E741 - the paper's name
        values = torch.linalg.eigvals(O)
        assert torch.linalg.det(O).item() == pytest.approx((-1) ** (n - 1), abs=1e-12)
        assert O[0, 0].item() < 0
        assert (values - 1).abs().min().item() < 1e-13 * n
        assert n % 2 or (values + 1).abs().min().item() < 1e-13 * n


def test_so_no_layer_of_roarnn_or_roafnn_turns_the_state_at_an_even_width() -> None:
    for seed in range(8):
        torch.manual_seed(seed)
        assert torch.linalg.det(RoaRNN(3, 16, horizon=10).O).item() == pytest.approx(-1)
        filters = list(RoaFNN(2, 2, layers=12).orthogonal_matrices().values())
        assert filters and all(torch.linalg.det(layer).allclose(-torch.ones(len(layer))) for layer in filters)
