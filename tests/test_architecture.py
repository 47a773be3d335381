"""The rooms of the package: imports run downwards without circles, and nothing grows too large to read."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import stablebench

ROOT = Path(stablebench.__file__).parent
ROOMS = [
    *(
        "__main__",
        "cli",
        "api",
        "speed",
        "report",
        "execution",
        "training",
        "leaderboard",
        "stats",
        "probes",
        "contract",
    ),
    *("engines", "specs", "models", "data", "runs", "registry", "tables", "process", "schema", "resources", "errors"),
    "visible",
]
"""From the top of the house to its ground; each is a level of its own."""
LEVEL = {room: -level for level, room in enumerate(ROOMS)}
FILES = sorted(ROOT.rglob("*.py"))
NAMES = [path.relative_to(ROOT).as_posix() for path in FILES]

Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_of(path: Path) -> str:
    """Return the dotted name of a file's module."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the modules that a file imports, wherever in it, with the statement: a package only for its own names."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                part = f"{node.module}.{alias.name}"
                yield (part if part in MODULES else node.module), node
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node


def own_imports(path: Path) -> set[str]:
    return {name for name, _ in imports(path) if name.split(".")[0] == "stablebench"} - {module_of(path)}


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def test_every_part_is_a_room() -> None:
    parts = {path.stem if path.is_file() else path.name for path in ROOT.iterdir() if path.suffix in ("", ".py")}
    assert parts - {"__init__", "__pycache__", "_data"} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_run_downwards(path: Path) -> None:
    """Imports inside functions count; no two rooms share a level."""
    room = room_of(module_of(path))
    if room is None:  # the package's face
        return
    upwards = {name for name in own_imports(path) if room_of(name) and LEVEL[str(room_of(name))] > LEVEL[room]}
    assert not upwards


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {module: own_imports(path) & set(MODULES) for module, path in MODULES.items()}
    while ends := {m for m, needs in graph.items() if not needs} | (set(graph) - set().union(*graph.values())):
        graph = {module: needs - ends for module, needs in graph.items() if module not in ends}
    assert not {module: sorted(needs) for module, needs in graph.items()}


def test_a_circle_inside_a_function_is_seen() -> None:
    """The graph above has the edge of an import that is made inside a function."""
    path = ROOT / "cli" / "train.py"
    inside = {name for name, node in imports(path) if node.col_offset}
    assert inside & own_imports(path)


@pytest.mark.parametrize(("library", "rooms"), [("matplotlib", "report/figures"), ("typer", "cli"), ("rich", "cli")])
def test_a_library_is_used_in_its_room_only(library: str, rooms: str) -> None:
    users = {
        name
        for name, path in zip(NAMES, FILES, strict=True)
        for used, _ in imports(path)
        if used.split(".")[0] == library
    }
    assert users and not {name for name in users if not name.startswith(f"{rooms}/")}


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def lines_of(node: ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_a_class_is_short() -> None:
    classes = [(node, path) for path in FILES for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]
    assert not {f"{module_of(path)}.{node.name}": lines_of(node) for node, path in classes if lines_of(node) > 200}


def test_no_two_classes_have_one_name() -> None:
    places = defaultdict(list)
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module_of(path))
    assert not {name: where for name, where in places.items() if len(where) > 1}


def parameters(node: Function) -> int:
    a = node.args
    named = [*a.posonlyargs, *a.args, *a.kwonlyargs]
    return len([one for one in named if one.arg not in ("self", "cls")])


def test_a_function_has_few_parameters() -> None:
    """At most eight outside the command line; the constructor of a model has one for each of the paper's constants."""
    many = {}
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(("cli/", "models/recurrent/", "models/deep/")):
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, Function) and parameters(node) > 8:
                many[f"{name}: {node.name}"] = parameters(node)
    assert not many


def test_a_test_has_a_short_name() -> None:
    """At most 60 characters; a docstring has the rest."""
    paths = Path(__file__).parent.rglob("test_*.py")
    assert not [
        name for path in paths for name in re.findall(r"def (test_\w{56,})\(", path.read_text(encoding="utf-8"))
    ]
