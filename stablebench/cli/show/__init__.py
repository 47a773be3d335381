"""Show one model, task, recipe, suite, sweep or run in full."""

import importlib
from pathlib import Path
from typing import Annotated

import typer

from stablebench.cli.shared.options import AsJson, RunsDir
from stablebench.cli.ui.output import echo, print_json, say
from stablebench.errors import UserError, unknown_name
from stablebench.tables import render, terminal_width, wrapped

_KINDS = ("model", "task", "recipe", "suite", "sweep", "run")
"""Each is a file of this folder, whose `describe` returns a `Description`."""
_WIDTH = 120
"""Characters of a line where stdout is no terminal."""


def show(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"{', '.join(_KINDS[:-1])} or {_KINDS[-1]}.")],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Its name; of a run, its folder.")] = None,
    runs_dir: RunsDir = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Show one model, task, recipe, suite, sweep or run in full.

    Example:
        stablebench show model roarnn
    """
    if kind not in _KINDS:
        raise unknown_name("kind", kind, _KINDS)
    if name is None:
        raise UserError(f"NAME is missing: name a {kind}; `stablebench list {kind}s` shows what there is.")
    module = importlib.import_module(f"stablebench.cli.show.{kind}")
    shown = module.describe(name, runs_dir) if kind == "run" else module.describe(name)
    if as_json:
        print_json(shown.document)
        return
    width, text = terminal_width() or _WIDTH, shown.text
    if shown.wraps:
        text = "\n".join(line for long in text.split("\n") for line in wrapped(long, width, "  "))
    say(text)
    for table in shown.tables:
        if table.rows:
            echo("\n" + render([table], width=width))
