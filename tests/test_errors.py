"""What messages suggest in place of an unknown name."""

import pytest

from stablebench.errors import did_you_mean


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
