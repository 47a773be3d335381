"""Write a commented file to begin with: a model, a task or a suite of your own."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from stablebench.cli.new.templates import TEMPLATES
from stablebench.cli.shared.commands import OUTPUT, option
from stablebench.cli.ui.output import say
from stablebench.errors import UserError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*$")


def new(
    kind: Annotated[Literal["model", "task", "suite"], typer.Argument(metavar="KIND", help="model, task or suite.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called: my_cell, my_task.")],
    output: Annotated[
        Path, option("The folder of the files.", OUTPUT, "--output", "-o", metavar="DIR", file_okay=False)
    ] = Path("."),
) -> None:
    """Write a commented file to begin with, which runs as it is: a model, a task or a suite of your own.

    A model is a file NAME.py with a class; a task a card NAME.yaml and its generator NAME.py; a suite a file NAME.yaml.
    A file that is there is never overwritten.

    Example:
        stablebench new task my_task
    """
    if not _NAME.match(name):
        raise UserError(f"NAME: must be letters, digits and _, beginning with a letter, got '{name}'.")
    stem = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    words = {"STEM": stem, "CLASS": "".join(word[:1].upper() + word[1:] for word in stem.split("_"))}
    if kind == "task":
        _refuse_registered(stem)
    if ".py" in TEMPLATES[kind]:
        _refuse_module(stem)
    texts = {output / f"{stem}{ending}": _filled(text, words) for ending, text in TEMPLATES[kind].items()}
    if there := [str(path) for path in texts if path.exists()]:
        raise UserError(f"{', '.join(there)}: there is such a file, which is not overwritten; take another NAME.")
    output.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        say(str(path))
    words["PATH"] = str(output / stem)
    say(f"next: {_filled(_NEXT[kind], words)}")


_NEXT = {
    "model": "stablebench train --model PATH.py:CLASS --task first_recall/t20 --steps 300",
    "task": "stablebench train --model gru --task PATH.yaml",
    "suite": "stablebench compare PATH.yaml",
}
"""What is typed after a file was written."""


def _filled(text: str, words: dict[str, str]) -> str:
    return re.sub("|".join(words), lambda match: words[match[0]], text)


def _refuse_module(name: str) -> None:
    """Refuse the name of a module that Python would find in the written file, in its folder, from then on."""
    from stablebench.models.user_code import origins

    if name == "stablebench" or origins.is_standard(name) or origins.installed_folder(name) is not None:
        raise UserError(f"NAME: {name}.py would hide the module {name}, which Python imports; take another name.")


def _refuse_registered(name: str) -> None:
    from stablebench import registry

    if name in registry.task_names():
        raise UserError(f"NAME: stablebench has a task {name}; take another name.")
