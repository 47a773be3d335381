"""Rectangular matrices that keep lengths, drawn many at once."""

import pytest
import torch
from torch import Tensor

from stablebench.models.blocks.semi_orthogonal import random_semi_orthogonal, random_semi_permutation

SHAPES = [(1, 1), (2, 2), (7, 7), (9, 4), (4, 9), (1, 5), (5, 1)]


@pytest.fixture(autouse=True)
def _float64() -> None:
    torch.set_default_dtype(torch.float64)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
@pytest.mark.parametrize("draw", [random_semi_orthogonal, random_semi_permutation])
def test_definition_2_2_holds(draw, rows: int, columns: int) -> None:
    A: Tensor = draw(20, rows, columns, rng())
    assert A.shape == (20, rows, columns) and A.is_contiguous()
    gram = A.mT @ A if columns < rows else A @ A.mT
    assert (gram - torch.eye(min(rows, columns))).abs().max() < 1e-13
    x = torch.randn(20, min(rows, columns), 1)
    kept = A @ x if columns < rows else A.mT @ x
    torch.testing.assert_close(kept.norm(dim=1), x.norm(dim=1), rtol=1e-13, atol=0)  # remark 2.2


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_semi_permutations_hold_different_unit_vectors(rows: int, columns: int) -> None:
    P = random_semi_permutation(50, rows, columns, rng())
    assert set(P.flatten().tolist()) <= {0.0, 1.0}
    along, across = (1, 2) if rows >= columns else (2, 1)
    assert (P.sum(along) == 1).all() and (P.sum(across) <= 1).all()


def test_all_permutations_come_equally_often() -> None:
    P = random_semi_permutation(6000, 3, 3, rng())
    codes, counts = (P * torch.arange(9).view(3, 3).exp2()).sum((1, 2)).unique(return_counts=True)
    assert len(codes) == 6
    assert (counts - 1000).abs().max() < 5 * (1000 * 5 / 6) ** 0.5  # five standard deviations of a count


def test_dense_ones_are_the_factor_of_uniform_entries() -> None:
    A = random_semi_orthogonal(3, 5, 2, rng())
    D = torch.rand(3, 5, 2, generator=rng()) * 2 - 1
    R = A.mT @ D
    torch.testing.assert_close(A @ R, D, rtol=1e-12, atol=1e-12)
    assert (R[:, 1, 0]).abs().max() < 1e-12  # upper triangular


@pytest.mark.parametrize("draw", [random_semi_orthogonal, random_semi_permutation])
def test_the_generator_alone_decides_and_both_precisions_get_the_same(draw) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = draw(4, 3, 5, rng(7))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, draw(4, 3, 5, rng(7))) and not torch.equal(first, draw(4, 3, 5, rng(8)))
    torch.set_default_dtype(torch.float32)
    assert torch.equal(draw(4, 3, 5, rng(7)), first.float())
