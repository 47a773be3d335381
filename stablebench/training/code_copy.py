"""A copy of a user's code in a folder, with a manifest of what it is."""

import json
from contextlib import suppress
from pathlib import Path, PurePosixPath

from stablebench.models.user_code.code import Code, Module
from stablebench.runs.atomic import remove_temporaries, write_atomically
from stablebench.schema.strict import Strict

_MANIFEST = "manifest.json"
_MAX_BYTES = 100_000_000
"""Largest file of a copy that is read."""


class _File(Strict):
    """One module of the copy."""

    module: str
    package: bool
    sha256: str = ""


class Manifest(Strict):
    """The content of the folder.

    Args:
        entry: The module that has the class or the function.
        digest: That of the code.
        files: By path below the folder.
        packages: The installed packages that the code imports, `name==version`.
    """

    entry: str
    digest: str
    files: dict[str, _File]
    packages: list[str]


def write_code(root: Path, code: Code) -> None:
    """Write code into a folder, unless it is there: the files first, then what they are.

    Raises:
        StablebenchError: The disk does not take it.
    """
    with suppress(OSError, ValueError):
        kept = code_in(root)
        if kept is not None and kept.digest == code.digest and _files(kept) == _files(code):
            return
    for module in code.modules:
        path = root / module.place
        if path.parent.is_dir():
            remove_temporaries(path.parent)
        write_atomically(path, module.data)
    manifest = Manifest(entry=code.entry, digest=code.digest, files=_files(code), packages=list(code.packages))
    write_atomically(root / _MANIFEST, json.dumps(manifest.model_dump(), indent=1).encode())


def code_in(root: Path) -> Code | None:
    """Return the code that a folder holds, read and not run; None where it holds none.

    Raises:
        OSError: A file is missing or cannot be read.
        ValueError: The manifest is no manifest.
    """
    if not (root / _MANIFEST).is_file():
        return None
    manifest = Manifest.model_validate_json(_read(root / _MANIFEST))
    modules = [_module(root, place, file) for place, file in manifest.files.items()]
    return Code(manifest.entry, tuple(sorted(modules, key=lambda m: m.name)), tuple(manifest.packages))


def _module(root: Path, place: str, file: _File) -> Module:
    if not all(part.strip() and not set(part) & set("/\\:\0") for part in file.module.split(".")):
        raise ValueError(f"no module is called {file.module!r}")
    path = root / PurePosixPath(place)
    if Module(file.module, str(path), b"", file.package).place != place:
        raise ValueError(f"{place} is no place of the module {file.module}")
    return Module(file.module, str(path), _read(path), file.package)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{path.name} has more than {_MAX_BYTES:,} bytes")
    return data


def _files(code: Code) -> dict[str, _File]:
    """Return what a manifest says of the modules of code, by path below `code/`."""
    return {m.place: _File(module=m.name, package=m.is_package, sha256=m.sha256) for m in code.modules}
