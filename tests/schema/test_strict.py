"""Strict models: every problem with its line, and a function's signature as a schema."""

import functools
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from stablebench.errors import UserError
from stablebench.schema.strict import Count, Positive, Strict, check_arguments, signature_model, unwrapped, validate
from stablebench.schema.yaml_file import parse


class Inner(Strict):
    rate: Positive = 1.0
    name: Literal["adam", "sgd"] = "adam"


class Outer(Strict):
    count: Count
    either: float | str = 0.0
    inner: Inner = Inner()
    many: list[Inner] = Field(default_factory=list)
    by_name: dict[str, Inner] = Field(default_factory=dict)
    free: dict[str, Any] = Field(default_factory=dict)


def problems(text: str, model: type[Strict] = Outer) -> list[str]:
    with pytest.raises(UserError) as caught:
        validate(parse(text, "f"), model, "f")
    return str(caught.value).splitlines()


def test_what_holds_is_kept_as_it_is() -> None:
    outer = validate(parse("count: 2\ninner: {rate: 3}\nfree: {a: [1]}"), Outer, "f")
    assert (outer.count, outer.inner.rate, outer.either, outer.free) == (2, 3.0, 0.0, {"a": [1]})
    with pytest.raises(Exception, match="frozen"):
        outer.count = 3


def test_all_problems_come_together_with_their_lines() -> None:
    assert problems("count: 0\ninner:\n  rate: fast\n  nmae: adam\n") == [
        "f:1: count: must be >= 1, got 0 (int).",
        "f:3: inner.rate: must be a number, got 'fast' (str).",
        "f:4: inner.nmae: unknown key. Did you mean name? Known keys: name, rate.",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inner: {}", "f:1: count: this key is required."),
        ("count: 1\ninner: {name: adm}", "got 'adm' (str). Did you mean adam?"),
        ("count: 1.0", "got 1.0 (float)."),
        ("count: true", "got True (bool)."),
        ("count: '1'", "got '1' (str)."),
        ("count: 1\ninner: {rate: .nan}", "f:2: inner.rate: must be a finite number, got nan"),
        ("count: 1\nmany:\n  - {}\n  - {rate: 0}", "f:4: many.1.rate: must be > 0"),
        ("count: 1\nby_name: {a: {rat: 0}}", "f:2: by_name.a.rat: unknown key. Did you mean rate?"),
        ("count: 1\nby_name: {str: {rate: 0}}", "f:2: by_name.str.rate: must be > 0"),
        ("count: 1\nby_name: {'a[b]': {rate: 0}}", "f:2: by_name.a[b].rate: must be >"),
        ("count: 1\neither: [1]", "f:2: either: "),
        ("count: 1\neither: {a: 1}", "f:2: either: "),
        ("- 1", "f:1: must be a mapping"),
        ("", "f:1: must be a mapping"),
    ],
)
def test_a_problem_says_what_was_expected_and_what_came(text: str, message: str) -> None:
    assert any(message in line for line in problems(text)), problems(text)


def test_many_problems_are_counted() -> None:
    found = problems("\n".join(f"key_{i}: 1" for i in range(50)))
    assert len(found) == 10
    assert found[-1] == "f: and 42 more."  # 50 unknown keys and the missing `count`


def test_a_message_is_one_short_printable_line() -> None:
    (missing, unknown) = problems('"' + "x" * 1000 + '\\e[31m\\n": ' + "y" * 1000)
    assert "required" in missing
    assert len(unknown) < 400
    assert unknown.isprintable()


class Built:
    """Something with a signature like a model's."""

    def __init__(
        self,
        size: int,
        *,
        horizon: int,
        rho: Positive = 1.0,
        kind: Literal["a", "b"] = "a",
        need: Annotated[int, Field(lt=9)],
    ) -> None:
        self.size = size


def test_arguments_are_completed_and_checked_against_signature() -> None:
    """Arguments are completed and checked against the signature."""
    assert check_arguments(Built, {"need": 3}, "built", ("horizon",)) == {"rho": 1.0, "kind": "a", "need": 3}
    with pytest.raises(UserError) as caught:
        check_arguments(Built, {"roh": 1, "kind": "c", "need": 9, "size": 3}, "built", ("horizon",))
    text = str(caught.value)
    assert "built: roh: unknown key. Did you mean rho? Known keys: kind, need, rho." in text
    assert "built: size: unknown key." in text  # positional: the builder's, not the user's
    assert "built: need: must be < 9, got 9 (int)." in text
    assert "built: kind: must be 'a' or 'b', got 'c' (str)." in text
    with pytest.raises(UserError, match="need: this key is required"):
        check_arguments(Built, {}, "built", ("horizon",))


def test_a_signature_that_hides_typing_errors_is_refused() -> None:
    def swallows(**anything: int) -> None: ...

    def untyped(*, rate) -> None: ...

    with pytest.raises(TypeError, match="must name its arguments"):
        signature_model(swallows)
    with pytest.raises(TypeError, match="`rate` needs a type annotation"):
        signature_model(untyped)


def test_argument_without_annotation_has_type_of_default() -> None:
    """An argument without an annotation has the type of its default."""

    def untyped(*, rate=1.0, name="a", count=2, on=True, unread: "NotThere" = 0.5) -> None: ...  # noqa: F821 # pyright: ignore

    defaults = {"rate": 1.0, "name": "a", "count": 2, "on": True, "unread": 0.5}
    assert check_arguments(untyped, {}, "untyped") == defaults
    for wrong in ({"rate": "x"}, {"name": 1}, {"count": 1.5}, {"on": 1}, {"unread": "x"}):
        with pytest.raises(UserError, match=f"untyped: {next(iter(wrong))}: "):
            check_arguments(untyped, wrong, "untyped")


def test_what_a_class_stands_for_is_found_in_every_python() -> None:
    def plain() -> None: ...

    class Stands:
        __wrapped__ = plain

    class Wraps:
        @property
        def __wrapped__(self) -> None: ...

    assert unwrapped(Stands) is plain and unwrapped(functools.wraps(plain)(lambda: None)) is plain
    assert unwrapped(Wraps) is Wraps and unwrapped(type("Below", (), {})).__name__ == "Below"
