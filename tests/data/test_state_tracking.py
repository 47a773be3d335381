"""Tasks of state tracking: answers by an independent reading of each example, and how often a guess is right."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from stablebench import registry
from stablebench.data.task import Task, arguments_of, generator_for, resolve_params
from stablebench.data.tasks import (
    counter,
    cycle_navigation,
    delayed_xor,
    dyck,
    even_pairs,
    group_word,
    modular_arithmetic,
    modular_arithmetic_brackets,
    parity,
    solve_equation,
)
from stablebench.data.tasks.groups import multiplication_table
from stablebench.errors import UserError
from stablebench.schema import chances

GUESSED = ["parity", "even_pairs", "cycle_navigation", "modular_arithmetic", "modular_arithmetic_brackets"]
GUESSED += ["solve_equation", "dyck"]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("length", [2, 3, 40])
def test_parity_and_even_pairs_by_counting(length: int) -> None:
    strings = parity.generate(50, length=length, rng=rng())
    assert strings.targets.tolist() == [row.count(1) % 2 for row in strings.inputs.tolist()]
    pairs = even_pairs.generate(50, length=length, rng=rng())
    for row, answer in zip(pairs.inputs.tolist(), pairs.targets.tolist(), strict=True):
        text = "".join(map(str, row))
        counted = sum(text[i : i + 2] in ("01", "10") for i in range(length))
        assert answer == counted % 2 == (row[0] != row[-1])


def test_a_walk_on_a_cycle_is_walked() -> None:
    walks = cycle_navigation.generate(50, length=17, places=5, rng=rng())
    for moves, end in zip(walks.inputs.tolist(), walks.targets.tolist(), strict=True):
        place = 0
        for move in moves:
            place = (place + (0, 1, -1)[move]) % 5
        assert place == end


def text_of(tokens: list[int], modulus: int, signs: str) -> str:
    return "".join(str(token) if token < modulus else signs[token - modulus] for token in tokens)


@pytest.mark.parametrize("length", [2, 3, 4, 9, 40])
def test_expressions_have_the_value_that_python_gives(length: int) -> None:
    flat = modular_arithmetic.generate(60, length=length, modulus=5, rng=rng())
    assert flat.inputs.shape == (60, length + length % 2)
    nested = modular_arithmetic_brackets.generate(60, length=length, modulus=5, operators="+-*", rng=rng())
    assert nested.inputs.shape == (60, length)
    for batch, signs in ((flat, "+-*="), (nested, "+-*()=")):
        for tokens, value in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
            text = text_of(tokens, 5, signs)
            assert text.endswith("=") and re.fullmatch(r"[-+*()0-4]+=", text)
            assert eval(text[:-1]) % 5 == value  # digits and signs alone, as the line above says


@pytest.mark.parametrize("length", [3, 8, 40])
def test_an_equation_has_its_solution_and_no_other(length: int) -> None:
    batch = solve_equation.generate(60, length=length, modulus=5, rng=rng())
    for tokens, solution in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        text = text_of(tokens, 5, "+-*()=x")
        left, value = text.split("=")
        assert text.count("x") == 1 and re.fullmatch(r"[-+()0-4x]+", left) and len(text) == length
        assert [x for x in range(5) if eval(left.replace("x", str(x))) % 5 == int(value)] == [solution]


@pytest.mark.parametrize(("group", "order"), [("Z2", 2), ("Z60", 60), ("S3", 6), ("S4", 24), ("A5", 60), ("A4xZ5", 60)])
def test_a_group_is_a_group(group: str, order: int) -> None:
    """Associative, element 0 the identity, every row and column has each element once; abelian just where cyclic."""
    table = multiplication_table(group)
    each = torch.arange(order)
    assert table.shape == (order, order) and chances.group_order(group) == order
    assert torch.equal(table[0], each) and torch.equal(table[:, 0], each)
    assert torch.equal(table.sort(0).values, each[:, None].expand_as(table))
    assert torch.equal(table[table], table[each[:, None, None], table[None]])  # (a b) c = a (b c)
    assert torch.equal(table, table.T) == group.startswith("Z")


def test_a_word_is_multiplied_from_its_beginning() -> None:
    table = multiplication_table("S3").tolist()
    words = group_word.generate(20, length=9, group="S3", rng=rng())
    for elements, products in zip(words.inputs.tolist(), words.targets.tolist(), strict=True):
        product = 0
        for element, said in zip(elements, products, strict=True):
            product = table[element][product]
            assert product == said


@pytest.mark.parametrize("group", ["Q8", "S", "Z0", "S7", "Z721", "S3 x Z2", "", "A4xZ5xS4"])
def test_what_is_no_group_is_refused(group: str) -> None:
    with pytest.raises(UserError, match="group"):
        group_word.sizes(length=3, group=group)


@pytest.mark.parametrize("kinds", [1, 2, 3])
def test_brackets_by_a_stack(kinds: int) -> None:
    words = dyck.generate(50, length=40, kinds=kinds, rng=rng())
    assert words.mask is not None
    for tokens, answers, counts in zip(words.inputs.tolist(), words.targets.tolist(), words.mask.tolist(), strict=True):
        stack: list[int] = []
        for token, answer, counted in zip(tokens, answers, counts, strict=True):
            assert counted == (token >= kinds)
            if token < kinds:
                stack.append(token)
            else:
                assert stack.pop() == token - kinds
            assert answer == (stack[-1] + 1 if stack else 0)


@pytest.mark.parametrize(("length", "kinds"), [(2, 1), (3, 2), (101, 3)])
def test_brackets_are_those_of_a_walk_step_by_step(length: int, kinds: int) -> None:
    """A sum over time and a sort give the words that one step after the other does."""
    words, draws = dyck.generate(60, length=length, kinds=kinds, rng=rng()), rng()
    opens = torch.randint(2, (60, length), generator=draws).tolist()
    drawn = torch.randint(kinds, (60, length), generator=draws).tolist()
    for row in range(60):
        stack: list[int] = []
        for t in range(length):
            if opens[row][t] or not stack:
                stack.append(drawn[row][t])
                assert words.inputs[row, t] == stack[-1]
            else:
                assert words.inputs[row, t] == kinds + stack.pop()
            assert words.targets[row, t] == (stack[-1] + 1 if stack else 0)


@pytest.mark.parametrize(
    ("task", "module", "params"),
    [
        ("dyck", dyck, {}),
        ("group_word", group_word, {}),
        ("group_word", group_word, {"held_out_pairs": 6}),
        ("modular_arithmetic", modular_arithmetic, {}),
        ("modular_arithmetic", modular_arithmetic, {"modulus": 3}),
    ],
)
def test_words_of_many_lengths_are_those_of_each_length(task: str, module: Any, params: dict[str, int]) -> None:
    """They are computed in one call, and are what one call after the other gives, the shortest first."""
    card = registry.task_card(task)
    batch = Task(card, resolve_params(card, settings={**params, "train_lengths": [3, 40]})).train_batch(1, 2, 90)
    draws = generator_for(task, card.version, "train", 1, 2)
    drawn = torch.randint(3, 41, (90,), generator=draws)
    steps = drawn + drawn % 2 if module is modular_arithmetic else drawn
    assert batch.lengths is not None and torch.equal(batch.lengths, steps)
    assert (batch.mask is None) == (batch.targets.dim() == 1)
    for length in range(3, 41):
        rows = (drawn == length).nonzero().flatten()
        words = module.generate(len(rows), length=length, **params, rng=draws)
        end = words.inputs.shape[1]
        assert torch.equal(batch.inputs[rows, :end], words.inputs) and not batch.inputs[rows, end:].any()
        if batch.mask is None:
            assert torch.equal(batch.targets[rows], words.targets)
            continue
        counted = torch.ones_like(words.inputs, dtype=torch.bool) if words.mask is None else words.mask
        for whole, part in ((batch.targets, words.targets), (batch.mask, counted)):
            assert torch.equal(whole[rows, :end], part) and not whole[rows, end:].any()


def test_bits_are_counted() -> None:
    strings = counter.generate(50, length=30, rng=rng())
    for bits, answers in zip(strings.inputs.tolist(), strings.targets.tolist(), strict=True):
        for t, answer in enumerate(answers, 1):
            ones = bits[:t].count(1)
            assert answer == (0 if 2 * ones < t else 1 if 2 * ones == t else 2)


@pytest.mark.parametrize("lag", [0, 2, 10])
def test_a_delayed_xor_is_of_two_earlier_bits(lag: int) -> None:
    """Of the same step's two channels where the lag is 0."""
    batch = delayed_xor.generate(10, length=7, lag=lag, rng=rng())
    assert batch.inputs.shape == (10, 7 + lag, 2) and batch.mask is not None
    for bits, answers, counts in zip(batch.inputs.tolist(), batch.targets.tolist(), batch.mask.tolist(), strict=True):
        for t, (answer, counted) in enumerate(zip(answers, counts, strict=True)):
            assert counted == (t >= lag)
            if counted and lag:
                assert answer == (bits[t - lag // 2][0] != bits[t - lag][0])
            elif counted:
                assert answer == (bits[t][0] != bits[t][1])


@pytest.mark.parametrize("length", [5, 12])
@pytest.mark.parametrize("name", GUESSED)
def test_the_likeliest_answer_is_as_likely_as_the_card_says(name: str, length: int) -> None:
    """One constant answer, over many examples."""
    card = registry.task_card(name)
    params = resolve_params(card, T=length)
    batch = Task(card, params)._module.generate(40_000, rng=rng(), **arguments_of(params))
    answers = batch.targets if batch.mask is None else batch.targets[batch.mask]
    share = answers.bincount().max().item() / answers.numel()
    baseline = card.baseline("accuracy", params)
    assert baseline is not None and abs(share - baseline) < 4 * math.sqrt(0.25 / 40_000) + 0.003


def test_answering_as_the_last_bit_says() -> None:
    card = registry.task_card("counter")
    params = resolve_params(card, T=9)
    batch = counter.generate(40_000, length=9, rng=rng())
    share = (batch.targets == 2 * batch.inputs).double().mean().item()
    assert card.baseline("accuracy", params) == pytest.approx(share, abs=0.004)


def test_products_are_uniform_whatever_the_last_element_is() -> None:
    words = group_word.generate(60_000, length=3, group="S3", rng=rng())
    joint = (6 * words.inputs[:, 2] + words.targets[:, 2]).bincount(minlength=36).double() / 60_000
    assert (joint - 1 / 36).abs().max() < 4.5 * math.sqrt(1 / 36 / 60_000)
    card = registry.task_card("group_word")
    assert card.baseline("accuracy", resolve_params(card, variant="a5", T=10)) == pytest.approx((1 + 9 / 60) / 10)


@pytest.mark.parametrize(
    ("chance", "arguments"),
    [
        (chances.cycle_mode, (40, 0.5)),
        (chances.nested_mode, (1, 5, 3)),
        (chances.nested_mode, (9000, 5, 3)),
        (chances.dyck_mode, (1, 2)),
        (chances.arithmetic_mode, (40, 1e9)),
    ],
)
def test_a_chance_out_of_its_range_is_an_error(chance: Callable[..., float], arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"needs"):
        chance(*arguments)
