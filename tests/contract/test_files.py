"""Every shipped card, recipe and suite holds, in itself and against what it names."""

from pathlib import Path

import pytest

from stablebench import registry
from stablebench.execution.validate import check_file
from stablebench.models import registry as model_registry
from stablebench.resources import data_root, published_dir, recipes_dir, suites_dir, tasks_dir

FILES = sorted(p for root in (tasks_dir(), published_dir(), recipes_dir(), suites_dir()) for p in root.rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(data_root()).as_posix())
def test_a_shipped_file_has_no_problems(path: Path) -> None:
    assert check_file(path) == []


def test_there_are_files_of_each_kind() -> None:
    assert {path.relative_to(data_root()).parts[0] for path in FILES} == {"tasks", "published", "configs"}
    assert any(suites_dir() in path.parents for path in FILES)
    assert any(recipes_dir() in path.parents for path in FILES)


def test_the_suite_of_all_models_has_all_models() -> None:
    suite = registry.suite("all_models")
    assert suite.models == model_registry.model_names("recurrent")
    assert {name for task in suite.tasks for name in task.models or []} == set(model_registry.model_names("deep"))


@pytest.mark.parametrize("name", model_registry.model_names("recurrent"))
@pytest.mark.parametrize("task", ["copy", "adding", "digits"])
def test_a_recurrent_model_has_its_recipes(task: str, name: str) -> None:
    assert registry.recipe(task, name) is not None


@pytest.mark.parametrize("name", model_registry.model_names("deep"))
@pytest.mark.parametrize("task", ["double_moon", "digits_flat"])
def test_a_deep_model_has_its_recipes(task: str, name: str) -> None:
    assert registry.recipe(task, name) is not None
