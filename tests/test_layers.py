"""Imports point one way: cli -> leaderboard -> training -> models, data, metrics, probes -> schema, registry, ..."""

import ast
from pathlib import Path

import pytest

import stablebench

ROOT = Path(stablebench.__file__).parent
LAYERS = [
    ["errors", "resources", "seeds", "streams", "visible", "cgroups"],
    ["schema", "registry", "revisions", "user_code"],
    ["models", "engines", "data", "metrics", "convergence", "python_random", "contract"],
    ["probes", "training", "checks", "speed", "sweep"],
    ["leaderboard", "stats", "tables", "report"],
    ["cli", "__main__"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imported(path: Path) -> set[str]:
    """Return the parts of stablebench that a file imports when it is imported, or later."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "stablebench":
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("stablebench.")}
    return found


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_imports_from_its_own_layer_or_below(path: Path) -> None:
    part = path.relative_to(ROOT).with_suffix("").parts[0]
    if part == "__init__":
        return
    # the registry imports a model's file when it is asked for the model, and checks what a user's class builds
    allowed_up = {"registry": {"models", "contract"}}
    above = {
        name
        for name in imported(path)
        if name in LEVEL and LEVEL[name] > LEVEL[part] and name not in allowed_up.get(part, set())
    }
    assert not above, f"{part} imports {', '.join(sorted(above))} from above"


def test_every_part_has_a_layer() -> None:
    parts = {p.stem if p.suffix else p.name for p in ROOT.iterdir() if p.suffix in ("", ".py")}
    assert parts - {"__init__", "__pycache__", "py", "_data"} <= set(LEVEL), "give the new part a layer"
