"""What every task card promises, over the registry."""

import math
import re

import pytest
import torch

from stablebench import registry
from stablebench.data.batch import Batch
from stablebench.data.metrics import METRICS, higher_is_better
from stablebench.data.task import Task, arguments_of, resolve_params, sizes_of, source_module
from stablebench.data.tasks import digits
from stablebench.resources import tasks_dir
from stablebench.schema.card import TaskCard
from stablebench.schema.published import RUN_FIELDS

NAMES = registry.task_names()
CASES = [(name, variant) for name in NAMES for variant in (None, *registry.task_card(name).variants)]
GENERATED = [(name, variant) for name, variant in CASES if registry.task_card(name).data.generator]
STATIC = [(name, variant) for name, variant in CASES if registry.task_card(name).input == "static"]


def card_and_params(name: str, variant: str | None) -> tuple[TaskCard, dict]:
    card = registry.task_card(name)
    return card, resolve_params(card, variant=variant)


def test_the_tasks_of_the_five_papers_have_cards():
    expected = {
        "adding",
        "copy",
        "copy_masked",
        "digits",
        "double_moon",
        "first_recall",
        "kth_highest",
        "psmnist",
        "smnist",
    }
    assert expected <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_target_was_reached_or_what_was_tried_is_said(name: str) -> None:
    """A recipe records a run that reached it, or the card says what was tried and how far it got; never both."""
    target = registry.task_card(name).target
    recipes = [
        registry.recipe(name, recipe.partition("/")[2])
        for recipe in registry.recipe_names()
        if recipe.startswith(f"{name}/")
    ]
    reached = [part for recipe in recipes if recipe for part in (recipe, *recipe.variants) if part.outcome == "target"]
    assert target is not None and (target.tried is None) == bool(reached)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_named_after_its_task_and_explains_itself(name: str):
    card = registry.task_card(name)
    assert card.task == name == (tasks_dir() / f"{name}.yaml").stem
    assert card.summary.endswith(".") and card.reference and card.variant
    assert (card.length is None) == (card.length_description == "")
    assert all(baseline.derivation for baseline in card.baselines)
    assert card.target is not None and card.target.why
    assert len(card.changelog) == card.version and card.changelog[-1].startswith(f"{card.version}:")
    assert {card.metric, *card.extra_metrics} <= set(METRICS)


@pytest.mark.parametrize("name", NAMES)
def test_variants_named_after_the_length_say_the_truth(name: str):
    """Length is a parameter and variants named after it say the truth."""
    card = registry.task_card(name)
    _, params = card_and_params(name, None)
    assert card.length is None or card.length in params
    for variant, values in card.variants.items():
        if found := re.search(r"(?:^|_)t(\d+)$", variant):
            assert values[card.length or ""] == int(found[1])


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_variants_resolve_and_baselines_can_be_computed(name: str, variant: str | None):
    """Variants resolve and scores without learning can be computed."""
    card, params = card_and_params(name, variant)
    for metric in {card.metric, *card.extra_metrics}:
        baseline = card.baseline(metric, params)
        assert baseline is not None and math.isfinite(baseline) and baseline > 0
        if metric == "accuracy":
            assert baseline < 1
    target, baseline = card.target_value(params), card.baseline(card.target.metric if card.target else "", params)
    assert target is not None and baseline is not None and card.target is not None
    assert target > baseline if higher_is_better(card.target.metric) else target < baseline


@pytest.mark.parametrize(("name", "variant"), GENERATED)
def test_examples_have_the_announced_sizes(name: str, variant: str | None):
    card, params = card_and_params(name, variant)
    generated = source_module(card).generate(3, rng=torch.Generator().manual_seed(0), **arguments_of(params))
    check(card, params, generated)


@pytest.mark.parametrize("permuted", [False, True])
def test_examples_of_digits_have_the_announced_sizes(permuted: bool):
    card, params = card_and_params("digits", "permuted" if permuted else None)
    for name in ("train", "test"):
        check(card, params, digits.load(name, **params))


@pytest.mark.parametrize(("name", "variant"), STATIC)
def test_static_examples_have_the_announced_sizes_and_numbers(name: str, variant: str | None):
    card, params = card_and_params(name, variant)
    task = Task(card, params)
    for split in (task.train_batch(0, 0, card.protocol.train or 3), task.split("validation"), task.split("test")):
        check(card, params, split)
    assert len(task.split("validation").inputs) == card.protocol.validation
    assert len(task.split("test").inputs) == card.protocol.test
    assert task.steps_per_epoch(card.protocol.batch_size) == -(-(card.protocol.train or 0) // card.protocol.batch_size)


def check(card: TaskCard, params: dict, batch: Batch) -> None:
    sizes = sizes_of(card, params)
    n, steps = batch.inputs.shape[:2]
    if card.input == "static":
        assert batch.inputs.shape == (n, sizes.inputs) and batch.inputs.dtype == torch.float32
        steps = 1
    assert steps == sizes.steps
    if card.input == "tokens":
        assert batch.inputs.shape == (n, steps) and batch.inputs.dtype == torch.int64
        assert 0 <= batch.inputs.min() and batch.inputs.max() < sizes.inputs
    elif card.input == "values":
        assert batch.inputs.shape == (n, steps, sizes.inputs) and batch.inputs.dtype == torch.float32
    shape = (n, steps) if card.readout == "every" else (n,)
    if card.loss == "cross_entropy":
        assert batch.targets.shape == shape and batch.targets.dtype == torch.int64
        assert 0 <= batch.targets.min() and batch.targets.max() < sizes.outputs
    else:
        assert batch.targets.shape == (*shape, sizes.outputs) and batch.targets.dtype == torch.float32
    for part in (batch.mask, batch.scored):
        assert part is None or (part.shape == shape and part.dtype == torch.bool and part.any())


@pytest.mark.parametrize("name", NAMES)
def test_published_numbers_have_source_and_known_fields(name: str):
    """Published numbers have a source and state fields that there are."""
    card = registry.task_card(name)
    for entry in card.published:
        assert re.fullmatch(r"[a-z0-9_]+", entry.key) and entry.source and entry.where
        params = resolve_params(card, variant=entry.variant)
        assert set(entry.reported_protocol) <= {*card.fields(params), *RUN_FIELDS}, entry.key
        compared = card.compare(entry, params)
        assert (compared.flag == "differs") == bool(compared.differs), entry.key
        assert compared.flag != "same" or not compared.unstated, entry.key
        if entry.variant is not None:  # what a variant sets is what the source states, or the entry is misplaced
            assert not set(card.variants[entry.variant]) & {d.split()[0] for d in compared.differs}, entry.key


@pytest.mark.parametrize(
    ("task", "key", "flag", "differs"),
    [
        ("copy", "roarnn_roarnn_fig2_t10000", "same", []),
        ("psmnist", "roarnn_roarnn_fig5_h256", "differs", ["selection best_on_test, ours last"]),
        ("psmnist", "cornn_cornn_tab1_h128", "same", []),
        ("psmnist", "roarnn_lstm_fig5", "unknown", []),
        ("smnist", "cornn_cornn_tab5", "same", []),
        ("noisy_cifar10", "cornn_cornn_tab2", "same", []),
        ("lorenz96", "cornn_cornn_tab6_f8", "unknown", []),
    ],
)
def test_flags_of_published_numbers_follow_from_their_papers(task: str, key: str, flag: str, differs: list[str]):
    """Flags of published numbers follow from what their papers state."""
    card = registry.task_card(task)
    entry = next(e for e in card.published if e.key == key)
    compared = card.compare(entry, resolve_params(card, variant=entry.variant))
    assert (compared.flag, compared.differs) == (flag, differs)


def test_the_protocol_of_roarnn_on_psmnist_is_a_variant():
    card = registry.task_card("psmnist")
    entry = next(e for e in card.published if e.key == "roarnn_roarnn_fig5_h256")
    assert card.compare(entry, resolve_params(card, variant="roarnn")).flag == "same"


LENGTHS = {
    "copy": [100, 200, 400, 1000, 2000, 10000],
    "adding": [200, 500, 1000, 2000, 5000, 10000],
    "first_recall": [20, 50, 100],
    "kth_highest": [100, 200, 400],
    "ptb_char": [150, 300],
    "ptb_word": [35, 150],
}


@pytest.mark.parametrize("name", LENGTHS)
def test_every_length_of_the_papers_is_a_variant(name: str):
    card = registry.task_card(name)
    assert card.length is not None
    assert {f"t{T}" for T in LENGTHS[name]} <= set(card.variants)


def test_layouts_and_marks_of_the_papers_are_variants():
    for task, name, values in (("copy", "layout", 3), ("adding", "markers", 3)):
        card = registry.task_card(task)
        assert len({resolve_params(card, variant=v)[name] for v in card.variants}) == values


@pytest.mark.parametrize(
    ("task", "key"),
    [
        ("copy", "roarnn_constant_guess_baseline_memcop_t400"),
        ("copy", "roarnn_constant_guess_baseline_memcop_t2000"),
        ("copy", "roarnn_constant_guess_baseline_memcop_t10000"),
        ("copy", "nnrnn_constant_guess_baseline_fig2"),
        ("adding", "roarnn_constant_guess_baseline_addprob_t5000"),
    ],
)
def test_our_baselines_are_the_published_ones(task: str, key: str):
    entry = next(e for e in registry.task_card(task).published if e.key == key)
    card, params = card_and_params(task, entry.variant)
    assert card.baseline(card.metric, params) == pytest.approx(entry.value, rel=6e-3)  # printed with two to four digits


def test_digits_baseline_is_its_best_constant_answer():
    card, params = card_and_params("digits", None)
    assert card.baseline("accuracy", params) == torch.bincount(digits.load("test").targets).max().item() / 500
