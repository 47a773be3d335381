"""The modules that a model's code imports, read from its text without running it, also imports inside functions."""

import ast
import os
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from itertools import accumulate
from pathlib import Path

from stablebench.errors import UserError
from stablebench.models.user_code import origins
from stablebench.models.user_code.code import Code, Module

_ENDINGS = (*EXTENSION_SUFFIXES, ".py")


class BeyondRoot(Exception):
    """A relative import leads out of the folder that modules are named from."""


@dataclass(frozen=True)
class _Import:
    """`import module`, or `from ..module import names`: `level` counts the dots."""

    level: int
    module: str
    names: tuple[str, ...]
    line: int


@lru_cache(maxsize=1024)
def _imports_in(data: bytes) -> tuple[_Import, ...]:
    """Return the imports in a module's text, wherever they stand; none of a text that cannot be read as Python."""
    try:
        nodes = list(ast.walk(ast.parse(data)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    imports: list[_Import] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            imports += [_Import(0, alias.name, (), node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names if alias.name != "*")
            imports.append(_Import(node.level, node.module or "", names, node.lineno))
    return tuple(imports)


@dataclass
class Search:
    """Where a model's modules are looked for.

    Args:
        root: The folder that modules are named from.
        folders: More folders in which modules without dots may lie, behind the root.
        named_file: The file that the user named, whose folders' names may be packages; None if a module was named.
        owned: A folder and a package in it that is the user's wherever else it is installed, because it has the model.
        entry: The name and file of the model's module, where a file was named.
    """

    root: Path
    folders: list[Path] = field(default_factory=list)
    named_file: Path | None = None
    owned: tuple[Path, str] | None = None
    entry: tuple[str, Path] | None = None

    def __post_init__(self) -> None:
        self._tops: dict[str, Path | None] = {}

    def folder_of(self, top: str, imported_by: str = "") -> Path | None:
        """Return the folder in which the user's own module or package `top` lies; None where it is not the user's.

        Args:
            top: A name without dots.
            imported_by: File and line, for the message.

        Raises:
            UserError: The user has it, and an installed package has the same name.
        """
        if top not in self._tops:
            self._tops[top] = self._folder_of(top, imported_by)
        return self._tops[top]

    def _folder_of(self, top: str, imported_by: str) -> Path | None:
        if origins.is_standard(top) or top == "stablebench":
            return None
        if self.owned is not None and self.owned[1] == top:
            return self.owned[0]
        places = self._places(top)
        own = next((folder for folder in places if file_in(folder, top) is not None), None)
        installed = origins.installed_folder(top)
        if own is not None and installed is not None and not _same(file_in(own, top), file_in(installed, top)):
            raise UserError(
                f"{imported_by}: `import {top}` may mean {file_in(own, top)} or what is installed, "
                f"{file_in(installed, top)}; rename the first, or import it as `from . import {top}`."
            )
        if own is not None or installed is not None:
            return own
        if (edited := origins.edited_folder(top)) is not None:
            return edited
        return next((folder for folder in places if _has_python(folder / top)), None)

    def _places(self, top: str) -> list[Path]:
        """Return the folders to look in: the root, the others, and where a folder above the file is called `top`."""
        above = [] if self.named_file is None else [p.parent for p in self.named_file.parents if p.name == top]
        return [f for f in dict.fromkeys([self.root, *self.folders, *above]) if not origins.is_library(str(f))]

    def module(self, name: str, relative: bool = False, imported_by: str = "") -> Module | None:
        """Return a module of the user's, read; None where there is none of this name.

        Args:
            name: With dots, from the root or one of the other folders.
            relative: Whether it was imported with dots in front, which only the root can answer.
            imported_by: File and line, for the message.
        """
        if self.entry is not None and self.entry[0] == name:
            path = self.entry[1]
            return Module(name, str(path), _read(path), path.stem == "__init__" and name != "__init__")
        top, *rest = name.split(".")
        folder = self.root if relative and self._in_root(top) else self.folder_of(top, imported_by)
        if folder is None:
            return None
        path = file_in(folder.joinpath(*name.split(".")[:-1]), rest[-1] if rest else top)
        if path is None:
            return None
        return Module(name, str(path), _read(path), path.name.partition(".")[0] == "__init__")

    def _in_root(self, top: str) -> bool:
        return file_in(self.root, top) is not None or (self.root / top).is_dir()


def file_in(folder: Path, name: str) -> Path | None:
    """Return the file of a regular package or module in a folder, as Python looks for it."""
    if not name:
        return None
    for path in (folder / name / "__init__", folder / name):
        for ending in _ENDINGS:
            if os.path.isfile(file := f"{path}{ending}"):
                return Path(file)
    return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: the file cannot be read ({error.strerror}).") from None


def _has_python(folder: Path) -> bool:
    """Return whether a folder can be a package without an `__init__`: it has a module or a folder in it."""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(entry.name.endswith(".py") or entry.is_dir() for entry in entries)


def _same(a: Path | None, b: Path | None) -> bool:
    return a is not None and b is not None and os.path.realpath(a) == os.path.realpath(b)


def code_of(search: Search, entry: str) -> Code:
    """Return all that a module's code imports from the user's own files, and the packages that these import.

    Args:
        search: Where to look.
        entry: The module's name.

    Raises:
        UserError: A name has two meanings.
        BeyondRoot: A relative import leads above the root.
        FileNotFoundError: There is no such module.
    """
    modules: dict[str, Module] = {}
    packages: set[str] = set()
    waiting = [(entry, True, "")]
    while waiting:
        name, relative, imported_by = waiting.pop()
        for part in accumulate(name.split("."), "{}.{}".format):  # the module's parents first
            if part in modules or (module := search.module(part, relative, imported_by)) is None:
                continue
            modules[part] = module
            if module.is_extension:
                continue
            for one in _imports_in(module.data):
                location = f"{module.path}:{one.line}"
                base = _base(search, module, one)
                if one.level == 0 and search.folder_of(base.partition(".")[0], location) is None:
                    packages.add(base.partition(".")[0])
                    continue
                below = [f"{base}.{n}".lstrip(".") for n in one.names]
                waiting += [(n, one.level > 0, location) for n in [base, *below] if n]
    if entry not in modules:
        raise FileNotFoundError(entry)
    return Code(entry, tuple(modules[name] for name in sorted(modules)), origins.packages_of(packages))


def _package_of(module: Module) -> list[str]:
    return module.name.split(".") if module.is_package else module.name.split(".")[:-1]


def leads_to_root(module: Module) -> bool:
    """Return whether a module imports relatively from the folder that its name begins in, which is then a package."""
    return any(one.level > len(_package_of(module)) for one in _imports_in(module.data) if one.level)


def _base(search: Search, module: Module, one: _Import) -> str:
    """Return the absolute name of what an import names, which is empty for `from . import a` at the root."""
    if one.level == 0:
        return one.module
    package, up = _package_of(module), one.level - 1
    at_root = up == len(package) and file_in(search.root, "__init__") is not None
    if up > len(package) or at_root:
        raise BeyondRoot
    return ".".join([*package[: len(package) - up], one.module]).strip(".")
