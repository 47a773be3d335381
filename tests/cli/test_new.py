"""`new` writes no file that would hide a module which Python imports."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from stablebench.cli.app import app


@pytest.mark.parametrize("kind", ["model", "task"])
@pytest.mark.parametrize("name", ["torch", "Torch", "numpy", "random", "yaml", "sys", "stablebench", "psutil"])
def test_the_name_of_a_module_is_refused(kind: str, name: str, tmp_path: Path) -> None:
    ended = CliRunner().invoke(app, ["new", kind, name, "-o", str(tmp_path)])
    assert ended.exit_code == 2 and f"would hide the module {name.lower()}" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_a_suite_hides_no_module(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["new", "suite", "torch", "-o", str(tmp_path)]).exit_code == 0
    assert CliRunner().invoke(app, ["new", "model", "my_torch", "-o", str(tmp_path)]).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my_torch.py", "torch.yaml"]
