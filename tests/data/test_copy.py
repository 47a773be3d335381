import math

import pytest
import torch

from stablebench.data.batch import Batch
from stablebench.data.tasks import copy, copy_masked
from stablebench.errors import UserError


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(layout: copy.Layout) -> tuple[list[int], list[int], list[int]]:
    """Return the symbols, inputs and targets of a sequence with S 3, length 4 and 5 symbols (marker 6)."""
    batch = copy.generate(1, length=4, S=3, alphabet=5, layout=layout, rng=rng(1))
    assert batch.scored is not None and batch.mask is None
    assert batch.scored.tolist() == [[False] * 7 + [True] * 3]
    return batch.inputs[0, :3].tolist(), batch.inputs[0].tolist(), batch.targets[0].tolist()


def test_at_marker_recall_starts_on_the_marker():
    (a, b, c), inputs, targets = small("at_marker")
    assert inputs == [a, b, c, 0, 0, 0, 0, 6, 0, 0]
    assert targets == [0, 0, 0, 0, 0, 0, 0, a, b, c]


def test_after_marker_recall_starts_a_step_after_the_marker():
    (a, b, c), inputs, targets = small("after_marker")
    assert inputs == [a, b, c, 0, 0, 0, 6, 0, 0, 0]
    assert targets == [0, 0, 0, 0, 0, 0, 0, a, b, c]


def test_repeated_marker_stands_at_every_recalled_step():
    (a, b, c), inputs, targets = small("repeated_marker")
    assert inputs == [a, b, c, 0, 0, 0, 0, 6, 6, 6]
    assert targets == [0, 0, 0, 0, 0, 0, 0, a, b, c]


def test_all_symbols_occur_and_neither_blank_nor_marker_is_drawn():
    symbols = copy.generate(1000, length=1, S=10, alphabet=8, rng=rng()).inputs[:, :10]
    assert symbols.unique().tolist() == list(range(1, 9))


@pytest.mark.parametrize("layout", ["at_marker", "after_marker", "repeated_marker"])
def test_an_oracle_with_a_memory_of_the_symbols_is_perfect(layout: copy.Layout):
    batch = copy.generate(50, length=20, S=4, alphabet=8, layout=layout, rng=rng())
    marker = 9
    answers = torch.zeros_like(batch.targets)
    for i, sequence in enumerate(batch.inputs.tolist()):
        start = sequence.index(marker) + (layout == "after_marker")  # reads the sequence, not the generator's sizes
        answers[i, start : start + 4] = torch.tensor([token for token in sequence if 0 < token < marker])
    assert torch.equal(answers, batch.targets)


def test_baseline_is_the_loss_of_knowing_all_but_the_symbols():
    batch = copy.generate(2000, length=20, S=5, alphabet=8, rng=rng())
    probability = torch.zeros(*batch.targets.shape, 9, dtype=torch.float64)
    probability[:, :-5, 0] = 1.0
    probability[:, -5:, 1:] = 1 / 8
    chosen = probability.gather(2, batch.targets.unsqueeze(2))
    # no spread: every symbol costs the same
    assert (-chosen.log().mean()).item() == pytest.approx(5 * math.log(8) / 30, rel=1e-12)


def masked(**sizes: int) -> Batch:
    return copy_masked.generate(1, **sizes, rng=rng(2))


def test_masked_layout_is_symbols_blanks_trigger_then_recall():
    batch = masked(length=6, S=3, alphabet=4)
    a, b, c = batch.inputs[0, :3].tolist()
    assert batch.inputs.tolist() == [[a, b, c, 0, 0, 5, 0, 0, 0]]
    assert batch.targets.tolist() == [[0, 0, 0, 0, 0, 0, a - 1, b - 1, c - 1]]
    assert batch.mask is not None and batch.mask.tolist() == [[False] * 6 + [True] * 3]


def test_masked_default_is_the_authors_code():
    batch = masked()
    assert batch.inputs.shape == (1, 100)
    assert batch.inputs[0, 89] == 11  # 10 symbols and a blank come before
    assert batch.mask is not None and batch.mask[0].nonzero().flatten().tolist() == list(range(90, 100))
    assert copy_masked.sizes(length=90, S=10, alphabet=10).inputs == 12


def test_masked_trigger_may_follow_last_symbol():
    """Masked trigger may follow the last symbol but not replace it."""
    assert masked(length=4, S=3, alphabet=4).inputs[0, 3] == 5
    with pytest.raises(UserError, match=r"`length` must be > S = 3 .* got 3"):
        masked(length=3, S=3, alphabet=4)


def test_masked_oracle_is_perfect():
    """Masked oracle is perfect and a constant is right one time in ten."""
    batch = copy_masked.generate(20_000, length=12, rng=rng())
    assert batch.mask is not None
    asked = batch.targets[batch.mask].view(-1, 10)
    assert torch.equal(asked, batch.inputs[:, :10] - 1)
    n = asked.numel()
    standard_error = math.sqrt(0.1 * 0.9 / n)
    for symbol in range(10):
        assert (asked == symbol).double().mean().item() == pytest.approx(0.1, abs=4.5 * standard_error)
