"""Names of tasks -> cards, also of the user's own: `my_task.yaml`, or a data file alone.

A card's code is run because the user names the card on the command line, as with models (`models.user_code.known`).
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from stablebench import registry
from stablebench.data.own.arrays import read_bytes
from stablebench.errors import UserError
from stablebench.models.user_code import known, loading
from stablebench.models.user_code.code import Code
from stablebench.schema.card import TaskCard
from stablebench.schema.own_data import DATA_ENDINGS
from stablebench.schema.recipe import OwnRecipe, Recipe
from stablebench.schema.run_spec import TaskSpec
from stablebench.schema.strict import load as load_file
from stablebench.schema.yaml_file import parse, read_text
from stablebench.specs.own_card import OwnCard, OwnFiles, card_from, data_of

_Stat = tuple[int, int]
_named: dict[str, tuple[list[_Stat], OwnCard]] = {}
"""Cards that were named in this process, by path, with what their files looked like."""
_loaded: dict[str, OwnCard] = {}
"""Cards whose examples are loaded in this process, by digest."""


def card_named(task: str) -> tuple[TaskCard, str | None]:
    """Return the card that `task`, `task/variant`, a card's file or a data file names, and the variant.

    The code of a card of the user's own is run.

    Raises:
        UserError: There is no such task, or its card, code or data have problems.
    """
    name, variant, is_file = registry.task_parts(task)
    return (_of_file(name) if is_file else registry.task_card(name)), variant


def card_of_spec(task: TaskSpec) -> TaskCard:
    """Return the card of a run spec. No code runs because a record names it: a card of the user's own must be loaded.

    Raises:
        UserError: There is no such task, or it is the user's own and was not loaded.
    """
    if task.source is None:
        return registry.task_card(task.name)
    if task.source in _loaded:
        return _loaded[task.source]
    where = task.file or "my_task.yaml"
    if any(card.task == task.name for card in _loaded.values()):
        raise UserError(f"{where}: the card, its code or its data changed since this run began; put them back.")
    raise UserError(
        f"{task.name}: this run's task is a card of your own, which was not loaded; name it: --task {where}."
    )


def is_loaded(source: str) -> bool:
    """Return whether the card of this digest is loaded."""
    return source in _loaded


def _of_file(path: str) -> OwnCard:
    key = os.path.abspath(path)
    if key in _named:
        seen, card = _named[key]
        if seen == _stats(card.files, key) and not (card.files.code and card.files.code.changed_files()):
            return card
    card = load(read_files(path))
    if card.files.code is not None:
        known.remember(card.files.code.digest)
    _named[key] = (_stats(card.files, key), card)
    return card


def _stats(files: OwnFiles, card: str) -> list[_Stat]:
    """Return what the card's file and its data file look like."""
    places = [card]
    if files.data_sha256 is not None:
        data = data_of(parse(files.text, files.path), files.path)
        places.append(os.path.join(files.folder, data.file or ""))
    try:
        return [(status.st_mtime_ns, status.st_size) for status in map(os.stat, places)]
    except OSError:
        return []


def read_files(path: str) -> OwnFiles:
    """Read a card of the user's own, its code, which is run, and the digest of its data.

    Raises:
        UserError: A file cannot be read, or the card does not say where its examples come from.
    """
    place = Path(path)
    if place.suffix.lower() in DATA_ENDINGS:
        if not place.is_file():
            raise UserError(f"--task {path}: there is no such file.")
        text = f"data: {json.dumps(place.name)}\n"
    else:
        if not place.is_file():
            raise UserError(
                f"--task {path}: there is no such file; `stablebench new task NAME` writes one to begin with."
            )
        text = read_text(place)
    folder = str(Path(os.path.abspath(path)).parent)
    data = data_of(parse(text, path), path)
    if data.file is not None:
        digest = hashlib.sha256(read_bytes(Path(os.path.relpath(os.path.join(folder, data.file))))).hexdigest()
        return OwnFiles(path, folder, text, data_sha256=digest)
    return OwnFiles(
        path, folder, text, code=_code(os.path.join(folder, (data.generator or "").rpartition(":")[0]), path)
    )


def _code(file: str, card: str) -> Code:
    return _run(card, lambda: loading.load_file(Path(file), file)).code


def _run(card: str, load: Callable[[], loading.Loaded]) -> loading.Loaded:
    """Return code that was loaded; messages name the card in place of a model."""
    try:
        return load()
    except UserError as error:
        text = str(error)
        raise type(error)(f"--task {card}: {text.removeprefix('--model ')}") from error


def load(files: OwnFiles) -> OwnCard:
    """Return the card of files, whose code is run.

    Raises:
        UserError: The card, its code or its data cannot be used, or are not what they were.
    """
    code, module = files.code, None
    if code is not None:
        module = _module(code, files)
    card = card_from(files, module)
    _loaded[card.source] = card
    return card


def _module(code: Code, files: OwnFiles) -> ModuleType:
    generator = data_of(parse(files.text, files.path), files.path).generator or ""
    return _run(files.path, lambda: loading.load_code(code, code.entry, generator.rpartition(":")[2])).module


def take_card(card: TaskCard, note: Callable[[str], None]) -> None:
    """Load a card of the user's own as it was when a run was resolved, in another process.

    Raises:
        UserError: It cannot be loaded, or its data changed.
    """
    if not isinstance(card, OwnCard) or card.source in _loaded:
        return
    if card.files.code is not None and (others := card.files.code.other_versions()):
        raise UserError(f"{card.task}: its run was asked for with other packages than there are: {', '.join(others)}.")
    loaded = load(card.files)
    if loaded.source != card.source:
        raise UserError(f"{card.files.path}: the examples of {card.task} are not those that the run was asked for.")
    if card.files.code is not None and (changed := card.files.code.changed_files()):
        note(f"{', '.join(changed)} changed since the run was asked for; it runs the code as it was")


def own_recipes(card: OwnCard, model: str) -> list[tuple[Recipe, str]]:
    """Return the recipe of a model that lies next to a card, with where it comes from; none where there is none.

    It is `recipes/<task>/<model>.yaml`, else `recipes/<model>.yaml` unless that states another task.

    Raises:
        UserError: It has problems.
    """
    folder, name = Path(os.path.relpath(card.files.folder)) / "recipes", f"{model.rpartition(':')[2]}.yaml"
    for path in (folder / card.task / name, folder / name):
        if path.is_file():
            recipe = load_file(path, OwnRecipe)
            if recipe.task in (None, card.task):
                return [(recipe, f"--recipe {path}")]
    return []
