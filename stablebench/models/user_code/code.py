"""A model's code as data: the modules that it consists of, byte by byte, and their digest."""

import ast
import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.machinery import EXTENSION_SUFFIXES

from stablebench.models.user_code import origins


@dataclass(frozen=True)
class Module:
    """A module of the user's, as it was read.

    Args:
        name: As the code imports it: `mynet.cells.leaky`.
        path: Where it was read.
        data: What was read.
        is_package: Whether it is a package's `__init__`.
    """

    name: str
    path: str
    data: bytes
    is_package: bool = False

    @property
    def is_extension(self) -> bool:
        """Whether it is a compiled one."""
        return self.path.endswith(tuple(EXTENSION_SUFFIXES))

    @property
    def place(self) -> str:
        """Where it lies below a folder that holds all modules by their names, with `/`."""
        ending = "".join(s for s in EXTENSION_SUFFIXES[:1] if self.is_extension) or ".py"
        return self.name.replace(".", "/") + ("/__init__" if self.is_package else "") + ending

    @property
    def sha256(self) -> str:
        """Of its bytes."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def does_nothing(self) -> bool:
        """Whether it is a package's `__init__` without a statement."""
        return self.is_package and not self.is_extension and _has_no_statement(self.data)

    def is_unchanged(self) -> bool:
        """Return whether its file still holds what was read."""
        try:
            with open(self.path, "rb") as file:
                return file.read() == self.data
        except OSError:
            return False


@dataclass(frozen=True)
class Code:
    """All modules of a model that are the user's own, and the versions of the installed packages that they import.

    Args:
        entry: The name of the module that has the class.
        modules: The modules, sorted by name, the entry among them; none where the class is an installed package's.
        packages: `name==version`, sorted, without what stablebench itself needs; or only the package of the class.
    """

    entry: str
    modules: tuple[Module, ...]
    packages: tuple[str, ...] = ()

    @property
    def tops(self) -> set[str]:
        """The first parts of the modules' names."""
        return {module.name.partition(".")[0] for module in self.modules}

    @cached_property
    def digest(self) -> str:
        """SHA-256: of the file's bytes where one file is all there is, else over all files, their places and packages.

        Of an installed package's class it is over the module's name and the package's version.

        Where the files lie changes nothing, nor do the folders that all of them share.
        """
        counted = [module for module in self.modules if module.name == self.entry or not module.does_nothing]
        if len(counted) == 1 and not self.packages:
            return counted[0].sha256
        if not counted:
            content = {"installed": self.entry, "packages": list(self.packages)}
            return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        folder = os.path.commonpath([os.path.dirname(module.place) for module in counted])
        files = {os.path.relpath(module.place, folder or "."): module for module in counted}
        content = {
            "entry": next(place for place, module in files.items() if module.name == self.entry),
            "files": {place: module.sha256 for place, module in files.items()},
            "packages": list(self.packages),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def changes(self, now: "Code") -> list[str]:
        """Return the differences to a later reading of the same model: changed, new and missing files, and versions."""
        before, after = ({m.name: m for m in code.modules} for code in (self, now))
        differences = [f"{m.path} changed" for n, m in after.items() if n in before and before[n].sha256 != m.sha256]
        differences += [f"{m.path} is new" for name, m in after.items() if name not in before]
        differences += [f"{m.path} is gone" for name, m in before.items() if name not in after]
        if self.packages != now.packages:
            gone, new = (set(a.packages) - set(b.packages) for a, b in ((self, now), (now, self)))
            differences.append(
                f"{', '.join(sorted(gone)) or 'no package'} then, {', '.join(sorted(new)) or 'none'} now"
            )
        return differences

    def changed_files(self) -> list[str]:
        """Return the files that no longer hold what was read."""
        return [module.path for module in self.modules if not module.is_unchanged()]

    def other_versions(self) -> list[str]:
        """Return which packages are installed here in another version, in words."""
        return origins.other_versions(self.packages)


@lru_cache(maxsize=1024)
def _has_no_statement(data: bytes) -> bool:
    try:
        body = ast.parse(data).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)
