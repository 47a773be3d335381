"""What messages suggest in place of an unknown name."""

import pytest

from stablebench.errors import described, did_you_mean, first_line


@pytest.mark.parametrize(
    ("name", "known", "suggestion"),
    [
        ("rnnn", ["lstm", "rnn"], " Did you mean rnn?"),
        ("rrn", ["roarnn", "rnn"], " Did you mean rnn?"),  # both are as similar; the length decides
        ("qqqq", ["lstm", "rnn"], ""),
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
