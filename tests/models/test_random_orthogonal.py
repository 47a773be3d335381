"""Fixed random matrices that keep lengths, square ones and rectangular ones."""

import pytest
import torch
from torch import Tensor

from stablebench.models.base import frozen_generator
from stablebench.models.blocks.random_orthogonal import (
    random_orthogonal,
    random_semi_orthogonal,
    random_semi_permutation,
)
from stablebench.models.deep.roafnn import RoaFNN
from stablebench.models.recurrent.roarnn import RoaRNN

SHAPES = [(1, 1), (2, 2), (7, 7), (9, 4), (4, 9), (1, 5), (5, 1)]


@pytest.fixture(autouse=True)
def _float64() -> None:
    torch.manual_seed(0)
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
def test_generator_alone_decides_and_both_precisions_get_same(draw) -> None:
    """The generator alone decides and both precisions get the same."""
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = draw(4, 3, 5, rng(7))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, draw(4, 3, 5, rng(7))) and not torch.equal(first, draw(4, 3, 5, rng(8)))
    torch.set_default_dtype(torch.float32)
    assert torch.equal(draw(4, 3, 5, rng(7)), first.float())


def test_random_orthogonal_matrix_is_orthogonal():
    """The random orthogonal matrix is orthogonal and depends on its generator alone."""
    O = random_orthogonal(50, frozen_generator("O"))  # noqa: E741
    assert (O.T @ O - torch.eye(50)).abs().max() < 1e-13
    torch.rand(3)
    assert torch.equal(O, random_orthogonal(50, frozen_generator("O")))
    torch.manual_seed(1)
    assert not torch.equal(O, random_orthogonal(50, frozen_generator("O")))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 17, 64, 127, 128])
def test_what_every_seed_gives_the_orthogonal_factor(n: int) -> None:
    for seed in range(40 if n < 64 else 5):
        O = random_orthogonal(n, torch.Generator().manual_seed(seed))  # noqa: E741 - the paper's name
        values = torch.linalg.eigvals(O)
        assert torch.linalg.det(O).item() == pytest.approx((-1) ** (n - 1), abs=1e-12)
        assert O[0, 0].item() < 0
        assert (values - 1).abs().min().item() < 1e-13 * n
        assert n % 2 or (values + 1).abs().min().item() < 1e-13 * n


def test_no_layer_of_roarnn_or_roafnn_turns_at_even_width() -> None:
    """So no layer of roarnn or roafnn turns the state at an even width."""
    for seed in range(8):
        torch.manual_seed(seed)
        assert torch.linalg.det(RoaRNN(3, 16, horizon=10).O).item() == pytest.approx(-1)
        filters = list(RoaFNN(2, 2, layers=12).orthogonal_matrices().values())
        assert filters and all(torch.linalg.det(layer).allclose(-torch.ones(len(layer))) for layer in filters)
