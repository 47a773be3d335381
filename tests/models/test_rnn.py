"""The Elman network's presets start as their papers say; tests/models/test_torch_parity.py holds its equation."""

import pytest
import torch

from stablebench.models.recurrent.rnn import Rnn
from stablebench.models.registry import model_entry


def preset(name: str, in_features: int = 3, hidden: int = 64) -> Rnn:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    model = model_entry(name).cls(in_features, hidden, **model_entry(name).resolve({}))
    assert isinstance(model, Rnn)
    return model


def test_irnn_copies_its_state_and_adds_little() -> None:
    model = preset("irnn", in_features=50)
    assert torch.equal(model.W, torch.eye(64)) and not model.b.any()
    assert model.V.std().item() == pytest.approx(1e-3, rel=0.05)
    start = torch.rand(2, 64)
    _, (end,) = model(torch.zeros(2, 30, 50), (start,))
    assert torch.equal(end, start)  # section 3 of Le et al.


def test_irnn_cuts_negative_states() -> None:
    model = preset("irnn")
    _, (end,) = model(torch.zeros(1, 1, 3), (-torch.ones(1, 64),))
    assert not end.any()


def test_rnn_orth_starts_orthogonal_and_the_rest_as_rnn() -> None:
    model, plain = preset("rnn_orth"), preset("rnn")
    torch.testing.assert_close(model.W @ model.W.T, torch.eye(64), rtol=0, atol=1e-14)
    assert torch.equal(model.V, plain.V) and torch.equal(model.b, plain.b)
    assert (model.activation, plain.activation) == ("relu", "tanh")
