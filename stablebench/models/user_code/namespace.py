"""Modules of users' models in this process: run from the bytes that were read, and kept apart from each other.

A model's modules have names of their own in `sys.modules`, below a prefix, so that two models may each have a `helper`
and neither hides an installed one. Their `import helper` finds the model's own: their `__builtins__` have another
`__import__`. A package keeps its own name where nothing else has it, since packages ask for their own metadata.
"""

import builtins
import hashlib
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from types import CodeType, ModuleType
from typing import Any

from stablebench.errors import UserError
from stablebench.models.user_code import origins
from stablebench.models.user_code.code import Code, Module
from stablebench.models.user_code.imports import Search, leads_to_root
from stablebench.models.user_code.running_script import RunsAgain

_by_head: dict[str, "Namespace"] = {}
"""Namespaces by the first part of their modules' names in `sys.modules`."""
_looked_at: set[str] | None = None
"""What was loaded before the first model of a user, and what `uncovered` has looked at since."""
_uncovered: set[str] = set()
"""Files outside of every digest that `uncovered` has seen."""


class NotCovered(UserError, ImportError):
    """A model imports a file that its digest does not cover."""


class Namespace:
    """A model's modules.

    Args:
        code: The modules.
        search: Where more of them are looked for while the first ones are run; None where the code is all there is.
        enough: What is wanted of the entry: once that has it, a call that would train ends the entry.
    """

    def __init__(self, code: Code, search: Search | None, enough: str = "") -> None:
        self.code, self.search, self._enough = code, search, enough
        self.modules = {module.name: module for module in code.modules}
        self._sealed = search is None
        paths = [module.path for module in code.modules]
        key = hashlib.sha256(repr((code.entry, code.digest, paths)).encode()).hexdigest()[:12]
        while f"stablebench_user_{key}" in sys.modules:  # its files have changed since
            key += "_"
        self.prefix = "" if _names_are_free(code) else f"stablebench_user_{key}."
        self.builtins = vars(builtins) | {"__import__": self._import}

    def run(self) -> ModuleType:
        """Run the entry, and what it imports; more is then not let in.

        Returns:
            The entry's module.
        """
        global _looked_at
        if _looked_at is None:
            _looked_at = set(sys.modules)
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
        heads = [self.prefix.rstrip(".")] if self.prefix else sorted(self.code.tops)
        _by_head.update(dict.fromkeys(heads, self))
        if self.prefix:
            package = ModuleType(heads[0])
            package.__path__ = []
            sys.modules[heads[0]] = package
        try:
            module = importlib.import_module(self.prefix + self.code.entry)
        except BaseException:
            for name in [name for name in sys.modules if name.partition(".")[0] in heads]:
                del sys.modules[name]
            for head in heads:
                del _by_head[head]
            raise
        self._sealed = True
        if len(self.modules) > len(self.code.modules):
            modules = tuple(self.modules[name] for name in sorted(self.modules))
            self.code = Code(self.code.entry, modules, self.code.packages)
        return module

    def spec(self, full_name: str) -> ModuleSpec:
        """Return how a module is loaded.

        Raises:
            ImportError: There is none of this name, or none that the digest covers.
        """
        name = full_name.removeprefix(self.prefix)
        module = self.modules.get(name) or self._more(name)
        if module is not None:
            folder = [os.path.dirname(module.path)] if module.is_package else None
            loader = (_Extension if module.is_extension else _Source)(full_name, module, self)
            spec = spec_from_file_location(full_name, module.path, loader=loader, submodule_search_locations=folder)
            assert spec is not None  # it has a loader
            return spec
        if any(known.startswith(f"{name}.") for known in self.modules) or self._is_open_folder(name):
            return ModuleSpec(full_name, None, is_package=True)
        raise ModuleNotFoundError(f"No module named '{name}'", name=full_name)

    def _is_open_folder(self, name: str) -> bool:
        """Return whether a folder without an `__init__` may turn out to be a package of the model's."""
        if self._sealed or self.search is None:
            return False
        top, *rest = name.split(".")
        folder = self.search.folder_of(top)
        return folder is not None and folder.joinpath(top, *rest).is_dir()

    def _more(self, name: str) -> Module | None:
        """Return a module that was not seen in the model's text: taken in while the model is loaded, then refused."""
        module = None if self.search is None else self.search.module(name, relative=True)
        if module is None:
            return None
        if self._sealed:
            raise NotCovered(
                f"{module.path}: the model imports it by a name that is only known as it runs, so the run's digest "
                f"does not cover it; write `import {name}` at the head of one of the model's files."
            )
        self.modules[name] = module
        return module

    def is_enough(self, module: Module, made: ModuleType) -> bool:
        """Return whether a module has all that is wanted, so that the rest of it need not run."""
        return bool(self._enough) and module.name == self.code.entry and hasattr(made, self._enough)

    def is_own(self, top: str) -> bool:
        """Return whether `import top` in one of the modules means one of them."""
        if origins.is_standard(top) or top == "stablebench":
            return False
        own = any(name.partition(".")[0] == top for name in self.modules)
        return own or (self.search is not None and self.search.folder_of(top) is not None)

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # as builtins.__import__ has them
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Import as `builtins.__import__` does, the model's own modules by their names without the prefix."""
        if level or not self.prefix or not self.is_own(name.partition(".")[0]):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = builtins.__import__(self.prefix + name, globals, locals, fromlist or (), 0)
        return module if fromlist else sys.modules[self.prefix + name.partition(".")[0]]


def _names_are_free(code: Code) -> bool:
    """Return whether a package can have its own name: a file without a package gives its name up to no one."""
    if "." not in code.entry or any(leads_to_root(module) for module in code.modules):
        return False
    taken = (origins.is_standard(top) or top in sys.modules or origins.installed_folder(top) for top in code.tops)
    return not any(taken)


class _Finder:
    """Finds users' modules, before any other finder looks for their names."""

    of_users_models = True

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return how a module of a namespace is loaded; None for all others."""
        namespace = _by_head.get(name.partition(".")[0])
        return None if namespace is None else namespace.spec(name)


class _Source(SourceFileLoader):
    """Runs a module from what was read, whatever its file or a cache of it holds by then."""

    def __init__(self, full_name: str, module: Module, namespace: Namespace) -> None:
        super().__init__(full_name, module.path)
        self._module, self._namespace = module, namespace

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the module compiled."""
        return self.source_to_code(self._module.data, self._module.path)

    def get_data(self, path: str) -> bytes:
        """Return what was read of the module, or another file's bytes."""
        return self._module.data if path == self._module.path else super().get_data(path)

    def exec_module(self, module: ModuleType) -> None:
        """Run it."""
        module.__dict__["__builtins__"] = self._namespace.builtins
        try:
            super().exec_module(module)
        except RunsAgain:
            if not self._namespace.is_enough(self._module, module):
                raise


class _Extension(ExtensionFileLoader):
    """Loads a compiled module, which the system reads from its file."""

    def __init__(self, full_name: str, module: Module, namespace: Namespace) -> None:
        super().__init__(full_name, module.path)
        self._module = module

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Load it, if it is still what was read."""
        if not self._module.is_unchanged():
            raise UserError(f"{self._module.path}: the file changed while it was loaded.")
        return super().create_module(spec)


def disregard_loaded() -> None:
    """Take the modules that are loaded now as imported by a script or a notebook, and not by a model of the user's."""
    if _looked_at is not None:
        _looked_at.update(sys.modules)


def uncovered() -> list[str]:
    """Return the users' files that were loaded as modules since the first model was, and that no digest covers.

    They were imported by a name that is only known as the code runs, from a folder of `sys.path`.
    """
    if _looked_at is None:
        return []
    new = sys.modules.keys() - _looked_at
    folders = [os.path.realpath(folder) for folder in origins.own_folders()] if new else []
    for name in new:
        _looked_at.add(name)
        if name.partition(".")[0] in _by_head or name.partition(".")[0] == "stablebench":
            continue
        path, stem = getattr(sys.modules.get(name), "__file__", None), os.path.join(*name.split("."))
        if path and any(os.path.realpath(path).startswith(os.path.join(folder, stem)) for folder in folders):
            _uncovered.add(path)
    return sorted(_uncovered)
