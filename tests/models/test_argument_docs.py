"""`show model` prints what every argument of a model means, with its range and the values that it takes."""

import inspect
import re
from typing import Any

import pytest

from stablebench.models import registry as model_registry
from stablebench.schema.strict import LARGEST

MODELS = model_registry.model_names()


def documented(cls: type[Any]) -> dict[str, str]:
    """Return the text of each argument in the `Args:` of a class."""
    text = (inspect.getdoc(cls) or "").partition("Args:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, flags=re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in entries}


def leaves(field: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the types that a field of a JSON schema may have."""
    options = [*field.get("anyOf", []), *([field["items"]] if "items" in field else [])]
    return [field, *(leaf for option in options for leaf in leaves(option))]


@pytest.mark.parametrize("name", MODELS)
def test_every_argument_has_a_sentence_of_its_own(name: str) -> None:
    cls = model_registry.model_entry(name).cls
    texts = documented(cls)
    assert set(texts) == set(inspect.signature(cls).parameters)
    for argument, text in texts.items():
        assert len(text) >= 25 and len(re.findall(r"\b[a-z]{2,}\b", text)) >= 4, f"{argument}: {text}"
        assert text[0].isupper() and text.endswith((".", ")")), f"{argument}: {text}"


@pytest.mark.parametrize("name", MODELS)
def test_ranges_and_values_are_those_of_the_annotations(name: str) -> None:
    entry = model_registry.model_entry(name)
    texts = documented(entry.cls)
    for argument, field in entry.arguments().model_json_schema().get("properties", {}).items():
        text = texts[argument]
        for leaf in leaves(field):
            low, above, high = (leaf.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
            least, most = (re.findall(rf"(?<!\S){sign} (\d+)", text) for sign in (">=", "<="))
            # a model may refuse more than its annotation does, and its text then has the narrower range
            assert low is None or any(int(bound) >= low for bound in least), f"{argument} >= {low}: {text}"
            assert above is None or f"> {above}" in text or any(int(bound) > above for bound in least), text
            assert high in (None, LARGEST) or any(int(bound) <= high for bound in most), f"{argument} <= {high}: {text}"
            for value in leaf.get("enum", [leaf["const"]] if "const" in leaf else []):
                assert f"`{value}`" in text, f"{argument} may be {value}: {text}"
