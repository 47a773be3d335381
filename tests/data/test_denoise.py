import math
from collections import Counter
from itertools import combinations

import pytest
import torch

from stablebench import registry
from stablebench.data.task import resolve_params
from stablebench.data.tasks import denoise
from stablebench.data.tasks.scattered import scattered
from stablebench.errors import UserError


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_layout_is_noise_with_symbols_then_marker_then_recall():
    """Layout is noise with symbols then a marker then the recall."""
    batch = denoise.generate(200, length=6, S=2, alphabet=3, rng=rng())
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        assert len(inputs) == len(targets) == 9 and inputs[6:] == [4, 0, 0]
        shown = [token for token in inputs[:6] if token]
        assert len(shown) == 2 and set(shown) <= {1, 2, 3} and targets == [0] * 7 + shown
    assert batch.scored is not None and batch.mask is None
    assert batch.scored.tolist() == [[False] * 7 + [True] * 2] * 200


def test_every_choice_of_steps_is_equally_likely():
    n, length, count = 30_000, 5, 2
    symbols = torch.ones(n, count, dtype=torch.long)
    shown = scattered(symbols, length, rng(1))
    found = Counter(tuple(row.nonzero().flatten().tolist()) for row in shown)
    assert set(found) == set(combinations(range(length), count))
    expected = n / math.comb(length, count)
    assert all(abs(times - expected) < 5 * math.sqrt(expected) for times in found.values())  # five standard deviations


def test_symbols_may_fill_the_noisy_part_but_no_more():
    batch = denoise.generate(3, length=4, S=4, alphabet=2, rng=rng())
    assert (batch.inputs[:, :4] > 0).all()
    with pytest.raises(UserError, match=r"`length` must be >= S = 4 .* got 3"):
        denoise.sizes(length=3, S=4, alphabet=2)


@pytest.mark.parametrize("recall_only", [False, True])
def test_an_oracle_that_skips_noise_is_perfect(recall_only: bool):
    batch = denoise.generate(50, length=30, S=5, alphabet=9, recall_only=recall_only, rng=rng())
    answers = torch.zeros_like(batch.targets)
    for i, sequence in enumerate(batch.inputs.tolist()):
        marker = sequence.index(10)
        answers[i, marker + 1 :] = torch.tensor([token for token in sequence if 0 < token < 10])
    assert torch.equal(answers, batch.targets)


def test_gorus_code_has_as_many_steps_and_this_baseline():
    """Goru's code has as many steps and the baseline that it prints."""
    card = registry.task_card("denoise")
    params = resolve_params(card, variant="goru")
    sizes = denoise.sizes(**{name: params[name] for name in ("length", "S", "alphabet")})
    assert (sizes.steps, sizes.inputs, sizes.outputs) == (220, 11, 10)
    assert card.baseline("loss", params) == pytest.approx(math.log(9) * 10 / (200 + 20), rel=1e-12)
    entry = next(e for e in card.published if e.key == "goru_constant_guess_baseline_code")
    assert entry.value == pytest.approx(card.baseline("loss", params), abs=5e-5)


@pytest.mark.parametrize("variant", [None, "goru", "nru"])
def test_baseline_is_the_loss_of_knowing_all_but_the_symbols(variant: str | None):
    card = registry.task_card("denoise")
    params = resolve_params(card, variant=variant)
    batch = denoise.generate(20, **params, rng=rng())
    alphabet, S = params["alphabet"], params["S"]
    probability = torch.zeros(*batch.targets.shape, alphabet + 1, dtype=torch.float64)
    probability[:, :-S, 0] = 1.0
    probability[:, -S:, 1:] = 1 / alphabet
    cost = -probability.gather(2, batch.targets.unsqueeze(2)).squeeze(2).log()
    counted = cost if batch.mask is None else cost[batch.mask]
    assert (batch.mask is None) == (variant != "nru")
    # no spread: every symbol costs the same
    assert card.baseline("loss", params) == pytest.approx(counted.mean().item(), rel=1e-12)
    assert card.baseline("accuracy", params) == 1 / alphabet
