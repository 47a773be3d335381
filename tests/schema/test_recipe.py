"""Which part of a recipe is taken: the nearest length, then the nearest depth, then the nearest width."""

import pytest
from pydantic import ValidationError

from stablebench.schema.recipe import Recipe, RecipeVariant, TrainChoices, When


def recipe(*variants: When, when: When | None = None, hidden: int | None = None) -> Recipe:
    parts = [RecipeVariant(when=w, result=str(i)) for i, w in enumerate(variants)]
    return Recipe(
        task="copy", model="rnn", source="s", tuned_by="paper", when=when or When(), hidden=hidden, variants=parts
    )


def taken(
    found: Recipe,
    length: int | None = None,
    variant: str | None = None,
    hidden: int | None = None,
    layers: int | None = None,
) -> str | None:
    part = found.nearest(length=length, variant=variant, hidden=hidden, layers=layers)
    return part.result if isinstance(part, RecipeVariant) else "whole"


def test_without_variants_it_is_the_recipe() -> None:
    assert taken(recipe(), length=100, hidden=5) == "whole"


def test_the_nearest_length_is_nearest_by_ratio() -> None:
    found = recipe(When(length=400), When(length=2000), when=When(length=100))
    assert taken(found, 100) == "whole"
    assert taken(found, 190) == "whole"
    assert taken(found, 210) == "0"  # 2.1 times 100, 400 is 1.9 times it
    assert taken(found, 890) == "0"
    assert taken(found, 900) == "1"  # sqrt(400 * 2000) = 894
    assert taken(found, 10**6) == "1"
    assert taken(found, 1) == "whole"


def test_width_decides_between_equal_lengths() -> None:
    found = recipe(When(length=100, hidden=256), When(length=400, hidden=64), when=When(length=100), hidden=64)
    assert taken(found, 100, hidden=64) == "whole"
    assert taken(found, 100, hidden=200) == "0"
    assert taken(found, 400, hidden=256) == "1"  # the length comes first
    assert taken(found, 100) == "whole"


def test_depth_decides_before_width() -> None:
    found = recipe(When(layers=50_000), When(layers=3, hidden=72), when=When(layers=50), hidden=2)
    assert taken(found) == taken(found, layers=50) == taken(found, layers=1000) == "whole"
    assert taken(found, layers=2000) == taken(found, layers=10**6, hidden=72) == "0"  # sqrt(50 * 50,000) = 1581
    assert taken(found, layers=3) == taken(found, layers=3, hidden=2) == "1"


def test_a_part_for_another_named_variant_is_left_out() -> None:
    found = recipe(When(variant="permuted"), When(variant="reversed"))
    assert taken(found) == "whole"
    assert taken(found, variant="permuted") == "0"
    assert taken(found, variant="reversed") == "1"
    assert taken(found, variant="another") == "whole"


def test_of_equals_the_recipe_itself_is_taken_then_the_first() -> None:
    assert taken(recipe(When(length=100)), 100) == "whole"  # made for any length, so for this one
    assert taken(recipe(When(length=200), When(length=200), when=When(length=50)), 200) == "0"


def test_a_search_must_be_stated_where_we_tuned() -> None:
    with pytest.raises(ValidationError, match="`search` must say"):
        Recipe(task="copy", model="rnn", source="s", tuned_by="us")
    with pytest.raises(ValidationError, match="`search` must say"):
        Recipe(
            task="copy",
            model="rnn",
            source="s",
            tuned_by="paper",
            variants=[RecipeVariant(when=When(length=5), tuned_by="us")],
        )


def test_a_budget_is_in_steps_or_in_epochs() -> None:
    with pytest.raises(ValidationError, match="must not both be given"):
        TrainChoices(steps=1, epochs=1)
