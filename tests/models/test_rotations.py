"""Products of packed Givens rotations, and the pairings that they follow."""

import itertools
import math
from collections import Counter

import pytest
import scipy.linalg
import scipy.stats
import torch
from torch import Tensor
from torch.autograd import forward_ad

from stablebench.errors import UserError
from stablebench.models.blocks import rotations as packed_rotations
from stablebench.models.blocks.pairing import round_robin
from stablebench.models.blocks.rotations import PackedRotations, _RotationProduct
from stablebench.probes.forward_rules import load_forward_rules


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
    angles = rotation.angles.detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda a: _RotationProduct.apply(a, *inputs), angles)
    assert torch.autograd.gradgradcheck(lambda a: _RotationProduct.apply(a, *inputs), angles)


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
    results = []
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr(packed_rotations, "native_rotations", lambda dtype: None)
        assert (packed_rotations.native_rotations(torch.float64) is not None) == compiled
        product = packed()
        results.append((product.detach(), *torch.autograd.grad((product * weights).sum(), [packed.angles])))
        assert torch.autograd.gradcheck(lambda _: packed(), packed.angles)
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n", "rotations"), [(5, 3), (6, 5), (2, 1)])
def test_the_derivative_along_a_direction_is_exact(n: int, rotations: int) -> None:
    """Forward mode agrees with a central difference."""
    torch.manual_seed(n)
    packed = PackedRotations(n, rotations).double()
    direction = torch.randn_like(packed.angles)

    def moved(t: Tensor) -> Tensor:
        return torch.func.functional_call(packed, {"angles": packed.angles.detach() + t * direction})

    load_forward_rules()
    step = 1e-6
    numeric = (moved(torch.tensor(step).double()) - moved(torch.tensor(-step).double())) / (2 * step)
    with forward_ad.dual_level():
        angles = forward_ad.make_dual(packed.angles.detach(), direction)
        tangent = forward_ad.unpack_dual(torch.func.functional_call(packed, {"angles": angles})).tangent
    assert tangent is not None and (tangent - numeric).abs().max() < 1e-9
    assert tangent.abs().max() > 0.1
