"""Whose code a module is: the standard library's, an installed package's, stablebench's, or the user's own."""

import importlib.metadata
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[2]
_SITES = {"site-packages", "dist-packages"}
_COMMON = {"torch", "numpy", "scipy", "math", "torchvision", "pydantic"}
"""What nearly every model imports, and need not be looked up, which takes a while."""


@cache
def _library_folders() -> tuple[str, ...]:
    """Return the folders of the standard library and of installed packages."""
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += [*site.getsitepackages(), site.getusersitepackages(), str(_PACKAGE)]
    return tuple(sorted({os.path.realpath(path) + os.sep for path in paths if path}))


def is_library(path: str) -> bool:
    """Return whether a file or folder is of the standard library, of an installed package, or of stablebench."""
    real = os.path.realpath(path) + os.sep
    return real.startswith(_library_folders()) or bool(_SITES & set(Path(real).parts))


def is_standard(top: str) -> bool:
    """Return whether the standard library has a module of this name, which then is meant."""
    return top in sys.stdlib_module_names or top in sys.builtin_module_names


def own_folders() -> list[Path]:
    """Return the folders of `sys.path` that are the user's: of PYTHONPATH, and of packages installed for editing."""
    folders = [path or os.getcwd() for path in sys.path]
    return [Path(path) for path in dict.fromkeys(folders) if os.path.isdir(path) and not is_library(path)]


def installed_folder(top: str) -> Path | None:
    """Return the folder of `sys.path` in which an installed package or module lies; None where there is none."""
    libraries = [path for path in sys.path if path and is_library(path)]
    spec = PathFinder.find_spec(top, libraries)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parents[1 if spec.submodule_search_locations is not None else 0]


def edited_folder(top: str) -> Path | None:
    """Return the user's folder that a hook of a package installed for editing leads to; None where there is none."""
    finders = [finder for finder in sys.meta_path if not getattr(finder, "of_users_models", False)]
    specs = (finder.find_spec(top, None) for finder in finders if hasattr(finder, "find_spec"))
    spec = next((spec for spec in specs if spec is not None), None)
    origin, is_package = (None, False) if spec is None else (spec.origin, bool(spec.submodule_search_locations))
    if origin is None or not os.path.isfile(origin) or is_library(origin):
        return None
    return Path(origin).parents[1 if is_package else 0]


def packages_of(tops: Iterable[str]) -> tuple[str, ...]:
    """Return `name==version` of the installed packages that have these modules, sorted.

    Those that stablebench itself needs are left out: a run's record and checks have their versions.

    Args:
        tops: Names of modules without dots.
    """
    unknown = sorted({top for top in tops if not is_standard(top) and top != "stablebench"} - _COMMON)
    names = {name for top in unknown for name in _providers().get(top, ())}
    own = _dependencies()
    return tuple(sorted(f"{_plain(n)}=={importlib.metadata.version(n)}" for n in names if _plain(n) not in own))


def other_versions(packages: Iterable[str]) -> list[str]:
    """Return which of the packages, `name==version` each, are installed here in another version, in words."""
    pairs = [package.split("==", 1) for package in packages]
    now = {name: _installed_version(name) for name, _ in pairs}
    return [
        f"{name} {then} then, {now[name]} now"
        for name, then in pairs
        if then not in (now[name], now[name].partition("+")[0])
    ]


def distribution_of(top: str) -> str | None:
    """Return `name==version` of the installed package that has a module, without the build (`+cu128`); None of none."""
    name = next(iter(_providers().get(top, ())), None)
    return None if name is None else f"{_plain(name)}=={_installed_version(name).partition('+')[0]}"


def is_foreign(top: str) -> bool:
    """Return whether a module is of an installed package that does not ask for stablebench, as torch is."""
    name = next(iter(_providers().get(top, ())), None)
    folder = None if name is None else installed_folder(top)
    if name is None or folder is None:
        return False
    return not any(_plain(line).startswith("stablebench") for line in importlib.metadata.requires(name) or [])


def _installed_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@cache
def _providers() -> dict[str, list[str]]:
    return {top: list(names) for top, names in importlib.metadata.packages_distributions().items()}


@cache
def _dependencies() -> frozenset[str]:
    """Return the packages that stablebench needs, without its extras."""
    try:
        required = importlib.metadata.requires("stablebench") or []
    except importlib.metadata.PackageNotFoundError:
        required = ["torch", "numpy"]
    names = (re.match(r"[\w.-]+", line) for line in required if "extra ==" not in line)
    return frozenset({_plain(name[0]) for name in names if name is not None} | {"stablebench"})


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
