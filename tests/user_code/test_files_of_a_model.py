"""A model of several files: what is found, by which name, and whose file it is."""

import importlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from own_models import as_in_a_new_process, cell, cli, digest, helper, write

from stablebench.errors import UserError
from stablebench.execution import workers as processes
from stablebench.models import registry as model_registry

LAYOUTS = {
    "beside": ({"cell.py": cell("from helper import act, GAIN"), "helper.py": helper()}, "cell.py"),
    "beside, with a dot": ({"cell.py": cell("from .helper import act, GAIN"), "helper.py": helper()}, "cell.py"),
    "as it steps": ({"cell.py": cell(lazy="from helper import act, GAIN"), "helper.py": helper()}, "cell.py"),
    "a package": (
        {
            "mynet/__init__.py": "",
            "mynet/common.py": helper(),
            "mynet/cells/__init__.py": "from .leaky import Leaky",
            "mynet/cells/leaky.py": cell("from ..common import act, GAIN"),
        },
        "mynet/cells/leaky.py",
    ),
    "folders without __init__": (
        {"mynet/common.py": helper(), "mynet/cells/leaky.py": cell("from ..common import act, GAIN")},
        "mynet/cells/leaky.py",
    ),
    "a package by its own name": (
        {"mynet/common.py": helper(), "mynet/cells/leaky.py": cell("from mynet.common import act, GAIN")},
        "mynet/cells/leaky.py",
    ),
    "a dotted name": (
        {"mynet/common.py": helper(), "mynet/cells/leaky.py": cell("from ..common import act, GAIN")},
        "mynet.cells.leaky",
    ),
    "a dotted package": (
        {
            "mynet/common.py": helper(),
            "mynet/cells/__init__.py": "from mynet.cells.leaky import Leaky",
            "mynet/cells/leaky.py": cell("import mynet.common\nfrom mynet.common import act\nGAIN = mynet.common.GAIN"),
        },
        "mynet.cells",
    ),
    "a name with dots and dashes": (
        {"my-cell.v2.py": cell("from helper import act, GAIN"), "helper.py": helper()},
        "my-cell.v2.py",
    ),
}


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_in_a_new_process()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_of_several_files_loads_and_each_of_them_counts(layout: str, tmp_path: Path) -> None:
    files, where = LAYOUTS[layout]
    write(tmp_path, files)
    reference = f"{where}:Leaky"
    model = model_registry.model_entry(reference).build(3, 4, {}, horizon=5)
    assert model(torch.zeros(2, 5, 3))[0].shape == (2, 5, 4)
    before = digest(reference)
    for name, text in files.items():
        if not text:
            continue
        (tmp_path / name).write_text(text + "\n# changed\n")
        assert digest(reference) != before, name
        (tmp_path / name).write_text(text)
    assert digest(reference) == before


def test_a_package_is_one_model_by_its_file_and_by_its_name(tmp_path: Path) -> None:
    write(tmp_path, LAYOUTS["a package"][0])
    assert digest("mynet/cells/leaky.py:Leaky") == digest("mynet.cells.leaky:Leaky")


def test_two_models_each_have_their_own_helper(tmp_path: Path) -> None:
    for name, gain in (("a", 0.5), ("b", 0.25)):
        write(
            tmp_path / name,
            {"cell.py": cell("import helper", "from helper import act, GAIN"), "helper.py": helper(gain)},
        )
    x = torch.ones(1, 2, 3)
    found = {}
    for name in ("a", "b", "a"):
        torch.manual_seed(0)
        model = model_registry.model_entry(f"{name}/cell.py:Leaky").build(3, 4, {}, horizon=2)
        assert found.setdefault(name, model(x)[0]).equal(model(x)[0])
    assert not found["a"].equal(found["b"])
    assert "helper" not in sys.modules


def test_a_file_hides_no_module_of_python_or_of_a_package(tmp_path: Path) -> None:
    text = cell("import random\nfrom helper import act, GAIN\nassert random.Random")
    write(tmp_path, {"cell.py": text, "helper.py": helper(), "random.py": "1 / 0", "typing.py": "1 / 0"})
    model_registry.model_entry("cell.py:Leaky")
    (tmp_path / "torchvision.py").write_text("")
    (tmp_path / "cell.py").write_text(text + "import torchvision\n")
    as_in_a_new_process()
    with pytest.raises(UserError, match=r"cell.py:\d+: `import torchvision` may mean .*torchvision.py or what is inst"):
        model_registry.model_entry("cell.py:Leaky")


def test_a_file_with_the_name_of_a_standard_module_is_pointed_to(tmp_path: Path) -> None:
    write(tmp_path, {"cell.py": cell("from random import act, GAIN"), "random.py": helper()})
    with pytest.raises(UserError, match=r"rename .*random.py, or write `from .random import`"):
        model_registry.model_entry("cell.py:Leaky")
    (tmp_path / "cell.py").write_text(cell("from .random import act, GAIN"))
    model_registry.model_entry("cell.py:Leaky")


@pytest.mark.parametrize("text", ["x = 1\nraise KeyError('there')", "x = 1\nif x\n", "x = 1\nimport no_such_module"])
@pytest.mark.parametrize("command", ["train", "probe-gradients"])
def test_a_mistake_in_a_file_is_one_message_with_its_line(text: str, command: str, tmp_path: Path) -> None:
    write(tmp_path, {"cell.py": cell("from helper import act, GAIN"), "helper.py": text})
    result = cli(command, "--model", "cell.py:Leaky", "--task", "copy", "--T", "5")
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert f"{tmp_path / 'helper.py'}:2" in result.stderr and "stablebench_user" not in result.stderr, result.stderr


def test_what_is_not_there_is_said_with_where_it_was_looked_for(tmp_path: Path) -> None:
    result = cli("train", "--model", "mynet.cells:Leaky", "--task", "copy")
    assert result.exit_code == 2 and "No module named 'mynet' on sys.path" in result.stderr
    assert str(tmp_path) in result.stderr and "PYTHONPATH" in result.stderr


def test_classes_can_be_pickled(tmp_path: Path) -> None:
    write(tmp_path, {"cell.py": cell("from helper import act, GAIN"), "helper.py": helper()})
    model = model_registry.model_entry("cell.py:Leaky").build(3, 4, {}, horizon=5)
    assert type(pickle.loads(pickle.dumps(model))) is type(model)


def test_a_module_under_its_own_name_stays_what_it_is_for_others(tmp_path: Path) -> None:
    """A package that asks for its own name, as for its version, has it where no other has."""
    files = {name.replace("mynet", "named_net"): text for name, text in LAYOUTS["a package"][0].items()}
    write(tmp_path, files | {"named_net/__init__.py": "assert __name__ == 'named_net'"})
    cls = model_registry.model_entry("named_net.cells.leaky:Leaky").cls
    assert importlib.import_module("named_net.cells").Leaky is cls and cls.__module__ == "named_net.cells.leaky"


def test_a_model_of_an_installed_package_is_read_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "lib" / "site-packages"
    write(root, LAYOUTS["a package"][0])
    monkeypatch.syspath_prepend(str(root))
    before = digest("mynet.cells.leaky:Leaky")
    (root / "mynet/common.py").write_text(helper(0.1))
    assert digest("mynet.cells.leaky:Leaky") != before


def test_the_fork_server_starts_without_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setattr(processes.forkserver, "ensure_running", lambda: seen.append(os.environ.get("PYTHONSAFEPATH")))
    processes._ensure_server()
    assert seen == ["1"] and "PYTHONSAFEPATH" not in os.environ


@pytest.mark.slow
def test_a_file_in_the_current_folder_does_not_stop_processes(tmp_path: Path) -> None:
    """Python, started anew, would take a `random.py` of the current folder for its own."""
    script = (
        "from stablebench.process.signals import Interrupt\n"
        "from stablebench.execution.workers import Processes\n"
        "if __name__ == '__main__':\n"
        "    with Processes(Interrupt(), print) as running:\n"
        "        running.start(0, print)\n"
        "        while len(running):\n"
        "            list(running.heard())\n"
    )
    write(tmp_path, {"random.py": "1 / 0", "tempfile.py": "1 / 0", "elsewhere/script.py": script})
    command = [sys.executable, str(tmp_path / "elsewhere" / "script.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "ZeroDivisionError" not in done.stderr, done.stderr
