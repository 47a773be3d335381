"""The wheel carries every card, recipe, suite and sweep, and reads them without a checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stablebench.resources import data_root

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_has_every_yaml_file(wheel: Path) -> None:
    root = data_root()
    expected = {
        f"stablebench/_data/{path.relative_to(root).as_posix()}"
        for folder in ("tasks", "configs", "published")
        for path in (root / folder).rglob("*.yaml")
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    assert expected and expected <= names


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    """C sources, the page's template, types: whatever lies in the folder, without what Python makes."""
    folder = ROOT / "stablebench"
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    expected = {path.relative_to(ROOT).as_posix() for path in files}
    assert {".c", ".h", ".html", ".pyi", ".typed"} <= {Path(name).suffix or Path(name).name for name in expected}
    assert expected <= set(zipfile.ZipFile(wheel).namelist())


def run_from(wheel: Path, tmp_path: Path, *arguments: str) -> str:
    """Return what a command prints that runs from the wheel's files alone, in an empty folder."""
    site, empty = tmp_path / "site", tmp_path / "empty"
    if not site.exists():
        zipfile.ZipFile(wheel).extractall(site)
        empty.mkdir()
    command = [sys.executable, *arguments]
    variables = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "STABLEBENCH_CACHE", "STABLEBENCH_STATE")
        if name in os.environ
    }
    environment = variables | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_runs_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """`python -m stablebench`, with cards, recipes and C sources that come from the wheel."""
    where = run_from(wheel, tmp_path, "-c", "import stablebench; print(stablebench.__file__)")
    assert Path(where.strip()) == tmp_path / "site" / "stablebench" / "__init__.py"
    assert run_from(wheel, tmp_path, "-m", "stablebench", "--version").startswith("stablebench ")
    assert "roarnn" in run_from(wheel, tmp_path, "-m", "stablebench", "list", "models", "--format", "csv")
    sizes = ["--T", "5", "--hidden", "16", "--steps", "3", "--batch-size", "2"]
    train = ["train", "--model", "dizzy", "--task", "copy", *sizes, "--quiet", "--json"]
    record = json.loads(run_from(wheel, tmp_path, "-m", "stablebench", *train))
    assert record["status"] == "finished"
    if shutil.which("cc"):
        assert record["environment"]["engine"] == "fused"
    exported = run_from(wheel, tmp_path, "-m", "stablebench", "export", "runs.csv")
    assert "1 runs" in exported and len((tmp_path / "empty" / "runs.csv").read_text().splitlines()) == 2


def test_unpacked_wheel_loads_every_card_recipe_suite_and_sweep(wheel: Path, tmp_path: Path) -> None:
    """The unpacked wheel loads every card recipe suite and sweep."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = """
from stablebench import registry, resources
assert resources.data_root().name == "_data", resources.data_root()
for name in registry.task_names():
    registry.task_card(name)
for name in registry.recipe_names():
    assert registry.recipe(*name.split("/")) is not None
for name in registry.suite_names():
    registry.suite(name)
for name in registry.sweep_names():
    registry.sweep(name)
print(*map(len, (registry.task_names(), registry.recipe_names(), registry.suite_names(), registry.sweep_names())))
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        str(len(list((data_root() / folder).glob(pattern))))
        for folder, pattern in (
            ("tasks", "*.yaml"),
            ("configs/recipes", "*/*.yaml"),
            ("configs/suites", "**/*.yaml"),
            ("configs/sweeps", "**/*.yaml"),
        )
    ]
