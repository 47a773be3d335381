"""What messages suggest in place of an unknown name."""

import pytest

from stablebench.errors import described, did_you_mean, first_line, unknown_name


@pytest.mark.parametrize(
    ("name", "known", "suggestion"),
    [
        ("rnnn", ["lstm", "rnn"], " Did you mean rnn?"),
        ("rrn", ["roarnn", "rnn"], " Did you mean rnn?"),  # both are as similar; the length decides
        ("qqqq", ["lstm", "rnn"], ""),
        ("steps", ["seeds", "tasks"], ""),
        ("", ["lstm", "rnn"], ""),
        ("rnn", [], ""),
        ("", [], ""),
    ],
)
def test_the_closest_name_is_suggested(name: str, known: list[str], suggestion: str) -> None:
    assert did_you_mean(name, known) == suggestion
    assert did_you_mean(name, iter(known)) == suggestion


@pytest.mark.parametrize(
    ("error", "line", "whole"),
    [
        (RuntimeError("\n    Some tensors share memory\nand more"), "Some tensors share memory", "RuntimeError: Some"),
        (RuntimeError(""), "RuntimeError", "RuntimeError"),
        (RuntimeError(" \n\n"), "RuntimeError", "RuntimeError"),
        (ValueError("plain"), "plain", "ValueError: plain"),
    ],
)
def test_the_line_that_is_said_of_an_error_is_never_empty(error: Exception, line: str, whole: str) -> None:
    assert first_line(error) == line
    assert described(error).startswith(whole)
    assert first_line(f"\n{line}\n") == line


def test_an_unknown_name_gets_the_nearest_one() -> None:
    many = [f"model_{i}" for i in range(50)]
    assert str(unknown_name("model", "model_49x", many)) == "No model named 'model_49x'. Did you mean model_49?"
    said = "No model named 'qq'. `stablebench list models` shows what there is."
    assert str(unknown_name("model", "qq", many)) == said
    assert "`stablebench data list`" in str(unknown_name("data set", "qq", many))
    assert str(unknown_name("kind", "qq", ["b", "a"])) == "No kind named 'qq'. Known: a, b."
    assert str(unknown_name("kind", "aa", ["aab"])) == "No kind named 'aa'. Did you mean aab? Known: aab."
