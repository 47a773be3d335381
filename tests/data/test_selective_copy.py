import math

import pytest
import torch

from stablebench import registry
from stablebench.data.task import resolve_params
from stablebench.data.tasks import selective_copy


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_layout_is_symbols_among_noise_then_a_marker_for_each():
    batch = selective_copy.generate(200, length=4, S=3, alphabet=5, rng=rng())
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        assert len(inputs) == len(targets) == 10 and inputs[7:] == [6, 6, 6]
        shown = [token for token in inputs[:7] if token]
        assert len(shown) == 3 and set(shown) <= {1, 2, 3, 4, 5}
        assert targets == [0] * 7 + [token - 1 for token in shown]
    assert batch.mask is not None and batch.mask.tolist() == [[False] * 7 + [True] * 3] * 200


def test_spacing_differs_between_sequences():
    batch = selective_copy.generate(100, length=20, S=4, alphabet=3, rng=rng())
    places = {tuple(row.nonzero().flatten().tolist()) for row in batch.inputs[:, :24]}
    assert len(places) > 90  # of 10,626 choices


def test_paper_s_sequences_have_sixteen_tokens_and_4096_of_noise():
    """The paper's sequences have sixteen tokens and 4096 of noise."""
    card = registry.task_card("selective_copy")
    params = resolve_params(card, variant="t4096")
    sizes = selective_copy.sizes(**params)
    assert (sizes.inputs, sizes.outputs, sizes.steps) == (16, 14, 4096 + 32)
    inputs = selective_copy.generate(2, **params, rng=rng()).inputs
    assert (inputs == 0).sum(1).tolist() == [4096] * 2 and (inputs == 15).sum(1).tolist() == [16] * 2


def test_an_oracle_that_skips_noise_is_perfect():
    batch = selective_copy.generate(50, length=30, S=5, alphabet=9, rng=rng())
    assert batch.mask is not None
    for sequence, target, asked in zip(batch.inputs.tolist(), batch.targets, batch.mask, strict=True):
        memory = [token - 1 for token in sequence if 0 < token < 10]
        assert target[asked].tolist() == memory


def test_baselines_are_those_of_independent_uniform_symbols():
    card = registry.task_card("selective_copy")
    params = resolve_params(card)
    batch = selective_copy.generate(4000, **params, rng=rng(3))
    assert batch.mask is not None
    asked = batch.targets[batch.mask]
    p, n = 1 / params["alphabet"], asked.numel()
    shares = torch.bincount(asked, minlength=params["alphabet"]).double() / n
    assert (shares - p).abs().max().item() < 4.5 * math.sqrt(p * (1 - p) / n)  # 4.5 standard errors
    assert card.baseline("accuracy", params) == p and card.baseline("loss", params) == pytest.approx(-math.log(p))
