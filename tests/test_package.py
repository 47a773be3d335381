"""The wheel carries every card, recipe, suite and sweep, and reads them without a checkout."""

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
        for folder in ("tasks", "configs")
        for path in (root / folder).rglob("*.yaml")
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    assert expected and expected <= names
    assert "stablebench/py.typed" in names


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
