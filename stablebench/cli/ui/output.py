"""What a command prints: tables or one JSON document on stdout, everything else on stderr."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

from stablebench.process import streams
from stablebench.tables import Format, Table, json_text, render
from stablebench.visible import visible_lines

__all__ = [
    "Format",
    "Table",
    "echo",
    "json_text",
    "note",
    "print_json",
    "print_tables",
    "say",
    "say_paths",
]


def print_json(document: Any) -> None:
    """Print one JSON document on stdout; what is not finite is null."""
    echo(json_text(document), nl=False)


def print_tables(tables: Sequence[Table], fmt: Format = "table") -> None:
    """Print tables on stdout."""
    text = render(tables, fmt)
    if text:
        echo(text)


def echo(text: str, *, nl: bool = True) -> None:
    """Print on stdout what has been rendered: it may have a terminal's styles in it."""
    typer.echo(text, file=streams.results(), nl=nl)


def say(text: str) -> None:
    """Print lines on stdout; what a terminal would obey is seen as its code."""
    echo(visible_lines(text))


def say_paths(paths: Iterable[Path]) -> None:
    """Print the files that were written, one a line."""
    say("\n".join(str(path) for path in paths))


def note(text: str) -> None:
    """Print lines on stderr likewise."""
    typer.echo(visible_lines(text), err=True)
