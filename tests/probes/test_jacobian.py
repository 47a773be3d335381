import json
import math

import mpmath
import numpy
import pytest
import torch
from probe_networks import linear_network, stack, still_batch
from torch import Tensor

from stablebench.models.network import Network
from stablebench.probes.chain import Chain, frozen
from stablebench.probes.jacobian import GradedProduct, SingularValues, jacobian_singular_values
from stablebench.probes.powers import exponent, power_of_two


def extremes(network: Network, inputs: Tensor) -> SingularValues:
    chain = Chain(frozen(network), inputs)
    return jacobian_singular_values(chain, chain.states())


def power(W: Tensor, count: int) -> tuple[float, float]:
    """Natural logarithms of the extreme singular values of W^count."""
    found = extremes(linear_network(W), still_batch(1, count + 1).inputs)
    assert found.steps == count
    return found.log_largest.item(), found.log_smallest.item()


def test_nonnormal_product_grows_with_eigenvalues_below_one() -> None:
    """A nonnormal product grows although its eigenvalues are below one."""
    W = torch.tensor([[0.9, 10.0], [0.0, 0.8]])
    largest, smallest = power(W, 5)
    # W^5 = [[0.9^5, 10 (0.9^5 - 0.8^5) / 0.1], [0, 0.8^5]]: norm 26.3, although the spectral radius is 0.59
    assert math.exp(largest) == pytest.approx(26.2897, rel=1e-5)
    assert math.exp(smallest) == pytest.approx(0.9**5 * 0.8**5 / 26.289674, rel=1e-6)
    expected = numpy.linalg.svd(numpy.linalg.matrix_power(W.numpy(), 5), compute_uv=False)
    assert (math.exp(largest), math.exp(smallest)) == pytest.approx(tuple(expected), rel=1e-12)


def test_an_orthogonal_recurrence_gives_one_after_10000_steps() -> None:
    largest, smallest = power(torch.linalg.qr(torch.randn(6, 6)).Q, 10_000)
    assert largest == pytest.approx(0, abs=1e-10) and smallest == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("a", [0.5, 3.0, 1e-20, 1e20])
def test_a_scalar_gives_a_to_the_t_beyond_float64(a: float) -> None:
    assert power(torch.tensor([[a]]), 5000) == pytest.approx((5000 * math.log(a),) * 2, rel=1e-13)


@pytest.mark.parametrize("diagonal", [[1e-3, 1.0, 0.5], [1.0, 0.5, 1e-3], [0.5, 1e-3, 1.0]])
def test_graded_diagonal_product_of_condition_1e300_in_any_order(diagonal: list[float]) -> None:
    """A graded diagonal product of condition 1e300 in any order."""
    assert power(torch.diag(torch.tensor(diagonal)), 100) == pytest.approx((0, -300 * math.log(10)), abs=1e-10)


@pytest.mark.parametrize("lower", [True, False])
def test_triangular_product_with_blocks_decades_apart(lower: bool) -> None:
    """A triangular product whose blocks part by thousands of decades."""
    a, count = 1e-3, 2000
    W = torch.tensor([[a, 0.0], [1.0, 1.0]])
    # W^N = [[a^N, 0], [(1 - a^N) / (1 - a), 1]] with a^N = 10^-6000: sigma_max^2 = 1 + (1 - a)^-2, their product a^N
    largest = math.log(1 + (1 - a) ** -2) / 2
    expected = (largest, count * math.log(a) - largest)
    assert power(W if lower else W.T, count) == pytest.approx(expected, rel=1e-12)


def test_rotations_and_one_direction_that_shrinks() -> None:
    Q = torch.linalg.qr(torch.randn(5, 5)).Q
    W = Q @ torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0, 0.1])) @ Q.T
    assert power(W, 3000) == pytest.approx((0, -3000 * math.log(10)), rel=1e-10, abs=1e-9)


def test_a_generic_power_against_its_inverse() -> None:
    W = torch.randn(7, 7)
    expected = (
        math.log(numpy.linalg.norm(numpy.linalg.matrix_power(W.numpy(), 40), 2)),
        -math.log(numpy.linalg.norm(numpy.linalg.matrix_power(numpy.linalg.inv(W.numpy()), 40), 2)),
    )
    assert power(W, 40) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", ["rnn", "lstm", "cornn", "roarnn", "gru"])
def test_each_sample_of_a_nonlinear_chain_against_autograd(name: str, layers: int) -> None:
    """Each sample of a nonlinear chain against the product of autograds jacobians."""
    network = frozen(stack(name, layers, 4))
    tokens = torch.randint(5, (3, 4))
    found = extremes(network, tokens)
    for i in range(3):
        _, first = network(tokens[i : i + 1, :1])
        widths = [part.shape[1] for state in first for part in state]

        def end(flat: Tensor, i: int = i, widths: list[int] = widths) -> Tensor:
            parts, states = list(flat.split(widths)), []
            for layer in network.recurrent_layers:
                states.append(tuple(parts.pop(0)[None] for _ in layer.state_sizes))
            after = network(tokens[i : i + 1, 1:], states)[1]
            return torch.cat([part[0] for state in after for part in state])

        start = torch.cat([part[0] for state in first for part in state])
        values = torch.linalg.svdvals(torch.autograd.functional.jacobian(end, start))
        assert isinstance(values, Tensor)
        assert found.log_largest[i].exp().item() == pytest.approx(values[0].item(), rel=1e-10)
        # the dense product has an absolute error of eps * sigma_max; ours is relative to each one-step Jacobian
        assert found.log_smallest[i].exp().item() == pytest.approx(
            values[-1].item(), rel=1e-6, abs=values[0].item() * 1e-14
        )


def test_dead_unit_makes_smallest_value_zero_and_leaves_largest() -> None:
    """A dead unit makes the smallest value zero and leaves the largest."""
    W = torch.diag(torch.tensor([0.5, 2.0, 0.0]))
    found = extremes(linear_network(W), still_batch(2, 3001).inputs)
    assert found.log_largest.tolist() == pytest.approx([3000 * math.log(2)] * 2)
    assert found.log_smallest.isneginf().all()
    document = found.document()
    assert document["singular"] == 2
    assert document["sigma_min"] == {"value": [0.0, 0.0], "log10": [None, None]}
    assert document["sigma_max"]["value"] == [None, None]  # 2^3000 is beyond float64
    assert document["sigma_max"]["log10"] == pytest.approx([3000 * math.log10(2)] * 2)
    json.dumps(document, allow_nan=False)


def test_a_dense_singular_matrix_is_found_singular() -> None:
    Q = torch.linalg.qr(torch.randn(20, 20)).Q
    W = Q @ torch.diag(torch.tensor([1.0] * 19 + [0.0])) @ Q.T
    largest, smallest = power(W, 200)
    assert largest == pytest.approx(0, abs=1e-10) and smallest == -math.inf


def test_condition_and_distance_from_isometry() -> None:
    found = extremes(linear_network(torch.diag(torch.tensor([2.0, 1.0, 0.5]))), still_batch(2, 11).inputs)
    ten = 10 * math.log(2)
    assert found.log_condition.tolist() == pytest.approx([2 * ten] * 2)
    assert found.isometry_distance.tolist() == pytest.approx([math.sqrt(2 / 3) * ten] * 2)
    document = found.document()
    assert document["log10_sigma"][1] == pytest.approx([10 * math.log10(2), 0, -10 * math.log10(2)], abs=1e-12)
    one_dead = extremes(linear_network(torch.diag(torch.tensor([2.0, 0.5, 0.0]))), still_batch(2, 11).inputs)
    assert one_dead.isometry_distance.tolist() == pytest.approx([ten] * 2)  # of the two that live
    assert one_dead.dead.tolist() == one_dead.document()["dead_directions"] == [1, 1]
    singular = extremes(linear_network(torch.zeros(2, 2)), still_batch(1, 3).inputs).document()
    assert singular["log10_condition"] == [None] and singular["isometry_distance"] == [None]
    Q = torch.linalg.qr(torch.randn(6, 6)).Q
    assert extremes(linear_network(Q), still_batch(1, 10_001).inputs).logs.abs().max() < 1e-10


def test_a_jacobian_of_zero_has_no_logarithm() -> None:
    assert power(torch.zeros(2, 2), 3) == (-math.inf, -math.inf)


def test_one_step_has_the_identity() -> None:
    assert power(torch.randn(3, 3), 0) == (0.0, 0.0)


def test_rows_shrunk_by_3000_decades_beside_one_that_has_not() -> None:
    """Rows that have shrunk by 3000 decades beside one that has not."""
    product = GradedProduct(1, 2)
    for _ in range(1000):
        product.multiply(torch.diag(torch.tensor([1.0, 1e-3]))[None])
    product.multiply(torch.tensor([[[1.0, 1.0], [0.0, 1.0]]]))
    # [[1, 1e-3000], [0, 1e-3000]]
    assert product.log_singular_values()[0].tolist() == pytest.approx([0, -3000 * math.log(10)], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("count", [3, 300])
def test_all_values_of_a_power_against_a_thousand_digits(count: int) -> None:
    """All values of a power against arithmetic of a thousand digits."""
    W = torch.randn(5, 5)
    found = extremes(linear_network(W), still_batch(2, count + 1).inputs).logs
    with mpmath.workdps(1000):
        product = mpmath.matrix(W.tolist()) ** count
        values = mpmath.svd_r(product, compute_uv=False)
        expected = sorted((float(mpmath.log(v)) for v in values), reverse=True)
    assert found.tolist() == [pytest.approx(expected, rel=1e-12, abs=1e-9)] * 2


def test_all_values_of_near_and_far_apart_ones_are_found() -> None:
    Q, P = torch.linalg.qr(torch.randn(40, 40)).Q, torch.linalg.qr(torch.randn(40, 40)).Q
    logs = torch.linspace(0, -30, 40)  # from 1 to 1e-13
    found = extremes(linear_network(Q @ torch.diag(logs.exp()) @ P), still_batch(1, 2).inputs).logs[0]
    torch.testing.assert_close(found[:20], logs[:20], rtol=0, atol=1e-10)
    # the matrix itself, rounded, has its small singular values no better than eps of the largest
    torch.testing.assert_close(found, logs, rtol=0, atol=5e-2)


def _graded(n: int, decades: float) -> Tensor:
    """A random upper triangle whose rows end `decades` below the first."""
    return torch.randn(n, n).triu() * torch.logspace(0, -decades, n)[:, None]


@pytest.mark.parametrize("decades", [0, 5, 300])
def test_a_wide_product_is_that_of_plain_matrices(decades: float) -> None:
    """A product of more rows than a strip has, beside the product of all rows at once, each in its own scale."""
    n, product = 150, GradedProduct(2, 150)
    S, r = torch.eye(n).repeat(2, 1, 1), torch.zeros(2, n, dtype=torch.long)
    for _ in range(6):
        factor = torch.stack([_graded(n, decades), _graded(n, decades / 2)]) / 8
        product.multiply(factor)
        S = (factor * power_of_two(r[:, None, :] - r[:, :, None]).triu()) @ S
        k = exponent(S.abs().amax(2))
        r, S = r + k, S * power_of_two(-k)[:, :, None]
    ours = product.S * power_of_two(product.r - r)[:, :, None]
    torch.testing.assert_close(ours, S, rtol=0, atol=1e-14)


def test_a_row_far_below_counts_where_there_is_little_else() -> None:
    """A product leaves out rows that add nothing, and only those: here the first row's own entry is smaller still."""
    product, n = GradedProduct(1, 100), 100
    product.multiply(torch.diag(torch.tensor([1.0] * 99 + [2.0**-300]))[None])
    factor = torch.eye(n)
    factor[0, 0], factor[0, 99] = 2.0**-310, 1.0
    product.multiply(factor[None])
    row = product.S[0, 0, [0, 99]] * power_of_two(product.r[0, 0])
    assert row.tolist() == [2.0**-310, 2.0**-300]
