"""What a command's help says of its arguments: each in one pair of brackets where it may be left out."""

import pytest
from typer.testing import CliRunner

from stablebench.cli.app import app, command_files

ARGUMENTS = [[name] for name in command_files()] + [["data", name] for name in ("fetch", "verify")]


@pytest.mark.parametrize("words", ARGUMENTS, ids="-".join)
def test_no_argument_stands_in_two_pairs_of_brackets(words: list[str]) -> None:
    said = CliRunner().invoke(app, [*words, "-h"]).output
    assert said.startswith("Usage: ") and "[[" not in said and "]]" not in said


def test_an_optional_argument_stands_in_one() -> None:
    assert (
        CliRunner().invoke(app, ["compare", "-h"]).output.startswith("Usage: stablebench compare [OPTIONS] [SUITE]\n")
    )
