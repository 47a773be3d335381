"""Show one model, task, recipe, suite, sweep or run in full."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from stablebench import registry
from stablebench.cli.shared import completion
from stablebench.cli.shared.options import PrintedTables, RunsDir
from stablebench.cli.show.description import Description
from stablebench.cli.ui.output import echo, note, print_json, print_tables, say
from stablebench.errors import UserError, did_you_mean, unknown_name
from stablebench.models import registry as model_registry
from stablebench.runs.run_paths import named_runs
from stablebench.tables import render, terminal_width, wrapped

_KINDS = ("model", "task", "recipe", "suite", "sweep", "run")
"""Each is a file of this folder, whose `describe` returns a `Description`."""
_WIDTH = 120
"""Characters of a line where stdout is no terminal."""


def show(
    *,
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            autocompletion=completion.words(_KINDS),
            help=f"{', '.join(_KINDS[:-1])} or {_KINDS[-1]}; may be left out where NAME has one meaning.",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", autocompletion=completion.named, help="Its name; of a run, its folder or last."),
    ] = None,
    runs_dir: RunsDir = Path("runs"),
    printed: PrintedTables,
) -> None:
    """Show one model, task, recipe, suite, sweep or run in full.

    Examples:
        stablebench show model roarnn
        stablebench show task copy/t100
        stablebench show run last
    """
    kind, name = _meant(kind, name, runs_dir)
    module = importlib.import_module(f"stablebench.cli.show.{kind}")
    shown: Description = module.describe(name, runs_dir) if kind == "run" else module.describe(name)
    if printed.as_json:
        print_json(shown.document)
        return
    width, text = terminal_width() or _WIDTH, shown.text
    if shown.wraps:
        text = "\n".join(line for long in text.split("\n") for line in wrapped(long, width, "  "))
    if printed.fmt != "table":
        print_tables([table for table in shown.tables if table.rows], printed.fmt)
        return
    say(text)
    for table in shown.tables:
        if table.rows:
            echo("\n" + render([table], width=width))


def _meant(kind: str, name: str | None, runs_dir: Path) -> tuple[str, str]:
    """Return the kind in the singular and the name; `show lstm` is the model lstm.

    Raises:
        UserError: There is no such kind, or nothing of this name.
    """
    single = kind.removesuffix("s")
    if name is not None:
        if single not in _KINDS:
            raise unknown_name("kind", kind, _KINDS)
        return single, name
    meant = [] if single in _KINDS else list(_kinds_of(kind, runs_dir))
    if len(meant) > 1:
        note(
            f"'{kind}' is also {', '.join(f'the {other} (`stablebench show {other} {kind}`)' for other in meant[1:])}."
        )
    if meant:
        return meant[0], kind
    if single in _KINDS:
        raise UserError(f"NAME is missing: name a {single}; `stablebench list {single}s` shows what there is.")
    near = did_you_mean(kind, [*_KINDS, *model_registry.model_names(), *registry.task_names()])
    raise UserError(
        f"Nothing is named '{kind}': no {', '.join(_KINDS[:-1])} or run.{near} "
        "`stablebench list models`, `list tasks` and so on show what there is."
    )


def _kinds_of(name: str, runs_dir: Path) -> Iterator[str]:
    """Yield the kinds of which something has a name."""
    names = {
        "model": model_registry.model_names(),
        "task": registry.task_names(),
        "recipe": registry.recipe_names(),
        "suite": registry.suite_names(),
        "sweep": registry.sweep_names(),
    }
    yield from (kind for kind, known in names.items() if name in known)
    if ":" in name and ".py" in name:
        yield "model"
    if (
        "/" in name
        and name not in names["suite"]
        and name.partition("/")[0] in names["task"]
        and (name.partition("/")[2] in registry.task_card(name.partition("/")[0]).variants)
    ):
        yield "task"
    if (Path(name) / "record.json").is_file() or len(named_runs(name, runs_dir)) == 1:
        yield "run"
