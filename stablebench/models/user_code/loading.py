"""From what `--model` names to a module that has run, and the code that it consists of."""

import importlib
import inspect
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from stablebench.errors import UserError
from stablebench.models.user_code import origins
from stablebench.models.user_code.code import Code, Module
from stablebench.models.user_code.imports import BeyondRoot, Search, code_of, file_in
from stablebench.models.user_code.namespace import Namespace
from stablebench.models.user_code.running_script import RunsAgain, entry_path, loading, script_with, why_not_again

_HIGHEST = 20
"""Folders that a relative import may lead up."""


@dataclass(frozen=True)
class Loaded:
    """A module that has run, and all code that it needs."""

    module: ModuleType
    code: Code


_loaded: dict[tuple[str, str, tuple[str, ...]], tuple[Namespace, ModuleType]] = {}
"""Namespaces that have run in this process, by entry, digest and the paths of the modules."""


def load_file(path: Path, reference: str) -> Loaded:
    """Run the file of a model, and return it with all files that it imports.

    Args:
        path: The file.
        reference: What `--model` was given.

    Raises:
        UserError: There is no such file, or importing it fails.
    """
    if not path.is_file():
        raise UserError(f"--model {path}: there is no such file.")
    path = Path(os.path.abspath(path))
    folders = [path.parent, path.resolve().parent, *origins.own_folders()]
    root = path.parent
    for _ in range(_HIGHEST):
        parts = path.relative_to(root).with_suffix("").parts
        entry = ".".join(
            part.replace(".", "_") for part in (parts[:-1] if parts[1:] and parts[-1] == "__init__" else parts)
        )
        search = Search(root, folders, named_file=path, entry=(entry, path))
        try:
            return _run(code_of(search, entry), search, reference)
        except BeyondRoot:
            root = _outside_of_package(root.parent)
    raise UserError(f"--model {reference}: its relative imports lead above {root}.")


def _outside_of_package(folder: Path) -> Path:
    while file_in(folder, "__init__") is not None and folder.parent != folder:
        folder = folder.parent
    return folder


def load_module(name: str, reference: str) -> Loaded:
    """Import a model's module by its dotted name: from `sys.path`, else from the current folder.

    Args:
        name: The name.
        reference: What `--model` was given.

    Raises:
        UserError: There is no such module, or importing it fails.
    """
    top = name.partition(".")[0]
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f"--model {reference}: must be `path/to/file.py:Class` or `package.module:Class`.")
    if origins.is_standard(top) or top == "stablebench":
        return _of_library(name, reference)
    if origins.is_foreign(top) and (installed := _of_package(name, reference)) is not None:
        return installed
    root = _folder_on_path(top) or Path.cwd()
    search = Search(root, origins.own_folders(), owned=(root, top))
    try:
        return _run(code_of(search, name), search, reference)
    except FileNotFoundError:
        missing = name if (root / top).exists() or file_in(root, top) else top
        raise UserError(
            f"--model {reference}: No module named '{missing}' on sys.path or in {Path.cwd()}. Give "
            "`path/to/file.py:Class` "
            "or `package.module:Class`, whose package is installed, on PYTHONPATH or in the current folder."
        ) from None
    except BeyondRoot:
        raise UserError(f"--model {reference}: a relative import leads above the package {top}.") from None


def _folder_on_path(top: str) -> Path | None:
    """Return the folder of `sys.path` that a module or package lies in, in the order in which Python looks."""
    for folder in sys.path:
        if file_in(Path(folder), top) is not None:
            return Path(os.path.abspath(folder))
    if (edited := origins.edited_folder(top)) is not None:
        return edited
    return next((folder for folder in origins.own_folders() if (folder / top).is_dir()), None)


def load_code(code: Code, reference: str, wanted: str = "") -> Loaded:
    """Run a model from its code only; its files may have changed since, or be gone.

    Args:
        code: The code.
        reference: What it is called in messages.
        wanted: The class or function that is needed; by default the one that `reference` ends with, if any.

    Raises:
        UserError: Importing it fails, or it is stablebench's own and not as it was.
    """
    top = code.entry.partition(".")[0]
    if origins.is_standard(top) or top == "stablebench":
        loaded = _of_library(code.entry, reference)
        if loaded.code.digest != code.digest:
            raise UserError(f"--model {reference}: {', '.join(code.changes(loaded.code))} since this run began.")
        return loaded
    if not code.modules:
        return Loaded(_imported(code.entry, reference), code)
    return _run(code, None, reference, wanted)


def _of_package(name: str, reference: str) -> Loaded | None:
    """Import a module of an installed package as it is: its code is the package's version, and no file.

    Returns:
        With the module in which the class was written; None where it is a model of stablebench's contract, whose files
        count.
    """
    from stablebench.models.base import DeepModel, RecurrentModel

    module = _imported(name, reference)
    label = reference.rpartition(":")[2]
    thing = getattr(module, label, None)
    if inspect.isclass(thing) and issubclass(thing, (RecurrentModel, DeepModel)):
        return None
    home = sys.modules.get(getattr(thing, "__module__", ""))
    if home is not None and thing is not None and getattr(home, label, None) is thing:
        module = home
    package = origins.distribution_of(module.__name__.partition(".")[0])
    return Loaded(module, Code(module.__name__, (), () if package is None else (package,)))


def _imported(name: str, reference: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise UserError(f"--model {reference}: importing {name} failed with {type(error).__name__}: {error}.") from None


def _of_library(name: str, reference: str) -> Loaded:
    """Import a module of stablebench or the standard library as it is."""
    try:
        module = importlib.import_module(name)
        path = Path(inspect.getsourcefile(module) or "")
        return Loaded(module, Code(name, (Module(name, str(path), path.read_bytes()),)))
    except (Exception, SystemExit) as error:
        raise UserError(f"--model {reference}: {error}. Give `path/to/file.py:Class`.") from None


def _run(code: Code, search: Search | None, reference: str, wanted: str = "") -> Loaded:
    """Run a model's modules, once in a process."""
    key = (code.entry, code.digest, tuple(module.path for module in code.modules))
    if key in _loaded:
        namespace, module = _loaded[key]
        if len(namespace.code.modules) == len(code.modules) or not namespace.code.changed_files():
            return Loaded(module, namespace.code)
    wanted = wanted or (reference.rpartition(":")[2] if ":" in reference else "")
    if (script := script_with(code, wanted)) is not None:
        return Loaded(script, code)
    namespace = Namespace(code, search, enough=wanted if search is None else "")
    module = _load(code, namespace, reference)
    _loaded[key] = namespace, module
    return Loaded(module, namespace.code)


def _load(code: Code, namespace: Namespace, reference: str) -> ModuleType:
    """Run a namespace and return the entry's module."""
    path = entry_path(code) or code.entry
    try:
        with loading(path):
            return namespace.run()
    except RunsAgain:
        raise UserError(why_not_again(path)) from None
    except UserError as error:
        raise type(error)(f"--model {reference}: {error}") from error
    except (Exception, SystemExit) as error:
        message = f"{type(error).__name__}: {error}".replace(namespace.prefix or "\0", "")
        where = f"{_place(error, code)}{_hidden(error, namespace.search)}"
        raise UserError(f"--model {reference}: importing it failed with {message} ({where})") from error


def rehearse(code: Code) -> None:
    """Run code once more, as every process that it is sent to does.

    Raises:
        UserError: It comes to a call that trains; or importing it fails.
    """
    _load(code, Namespace(code, None), entry_path(code) or code.entry)


def _hidden(error: BaseException, search: Search | None) -> str:
    """Return what to do about a file of the user's that has the name of a module of the standard library."""
    name = error.name if isinstance(error, ImportError) else None
    if search is None or name is None or not origins.is_standard(name) or (own := file_in(search.root, name)) is None:
        return ""
    return f"; `{name}` is the standard library's: rename {own}, or write `from .{name} import`"


def _place(error: BaseException, code: Code) -> str:
    """Return the file and line of the user's that an error comes from."""
    paths = {module.path for module in code.modules}
    if isinstance(error, SyntaxError) and error.filename in paths:
        return f"{error.filename}:{error.lineno}"
    lines = [f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__) if f.filename in paths]
    return lines[-1] if lines else next(m.path for m in code.modules if m.name == code.entry)
