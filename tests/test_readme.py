"""What the README shows is true: its counts and its example model, and the tables of models and tasks that it names.

`python tests/test_readme.py` writes the tables again.
"""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stablebench import registry
from stablebench.cli.app import app
from stablebench.models.registry import model_names

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
TABLES = [ROOT / "docs" / "models.md", ROOT / "docs" / "tasks.md"]
GENERATED = re.compile(r"<!-- stablebench (list \S+ --format github) -->\n(.*?)<!-- end -->", re.DOTALL)


def printed(command: str) -> str:
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 0, result.output
    return result.stdout


def with_tables(text: str) -> str:
    """Return a page with every generated table as its command prints it."""

    def table(match: re.Match[str]) -> str:
        return f"<!-- stablebench {match[1]} -->\n{printed(match[1])}<!-- end -->"

    return GENERATED.sub(table, text)


@pytest.mark.parametrize("page", TABLES, ids=lambda page: page.stem)
def test_generated_tables_are_what_the_commands_print(page: Path) -> None:
    text = page.read_text()
    assert len(GENERATED.findall(text)) == 1
    assert with_tables(text) == text, "run `python tests/test_readme.py`"


def test_the_readme_counts_models_and_tasks() -> None:
    text = README.read_text()
    assert f"{len(model_names())} models ([docs/models.md]" in text
    assert f"{len(registry.task_names())} tasks ([docs/tasks.md]" in text


def test_the_readme_and_the_suite_say_the_same_time_of_quick() -> None:
    (time,) = re.findall(r"`quick` takes (.*? minutes on 2 cores)", README.read_text())
    assert registry.suite("quick").summary.endswith(f": {time}")


def test_the_example_model_trains(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n# my_cell\.py\n(.*?)```", README.read_text(), re.DOTALL)
    path = tmp_path / "my_cell.py"
    path.write_text(code)
    arguments = ["train", "--model", f"{path}:MyCell", "--task", "copy", "--T", "5", "--hidden", "6", "--steps", "12"]
    more = ["--set", "model.leak=0.05", "--set", "task.S=2", "--runs-dir", str(tmp_path / "runs")]
    result = CliRunner().invoke(app, [*arguments, *more])
    assert result.exit_code == 0, result.output
    assert next((tmp_path / "runs").glob("copy/MyCell/*/record.json"))


if __name__ == "__main__":
    for page in TABLES:
        page.write_text(with_tables(page.read_text()))
