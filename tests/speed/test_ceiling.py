"""The ceiling is what large products reach here, and what fused reaches of it is counted from its products."""

import pytest
import torch

from stablebench.speed import ceiling as ceilings
from stablebench.speed.comparison import SpeedComparison
from stablebench.speed.floor import BareProduct
from stablebench.speed.workload import Size, Workload


def test_the_ceiling_is_no_lower_than_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "SIZE", 256)
    highest = ceilings.ceiling("cpu")
    a, b = torch.randn(256, 256), torch.randn(256, 256)
    single = 2 * 256**3 / ceilings._seconds(lambda: a @ b, "cpu")
    assert highest > 0.3 * single > 1e7  # the machine may be busy


def test_both_libraries_compute_the_product() -> None:
    a, b = torch.randn(8, 8), torch.randn(8, 8)
    in_onednn = ceilings._product_of_onednn(a, b)
    assert in_onednn is not None
    torch.testing.assert_close(in_onednn().to_dense(), a @ b.T)
    assert ceilings._product_of_onednn(a.double(), b.double()) is None


def test_the_share_is_that_of_all_products() -> None:
    work = Workload("rnn", Size(batch=2, hidden=4, steps=5))
    product = BareProduct(2, 5, 4, 4, recurrent=True, left_gradient=True, matrix_gradient=True)
    found = SpeedComparison(work, {"fused": [1.0, 2.0, 3.0]}, {}, {}, [product])
    assert found.flops == 3 * 2 * 2 * 5 * 4 * 4
    assert found.share(1e3) == pytest.approx(found.flops / 2 / 1e3)
    assert SpeedComparison(work, {}, {"fused": "no"}, {}, [product]).share(1.0) is None
    assert SpeedComparison(work, {"fused": [1.0]}, {}, {}, []).share(1.0) is None
