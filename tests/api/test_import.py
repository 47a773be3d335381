"""`import stablebench` is light, and has every name that it lists."""

import ast
import subprocess
import sys
from pathlib import Path

import stablebench as sb


def test_the_import_is_fast_and_touches_no_torch() -> None:
    script = (
        "import sys, time; t = time.process_time(); import stablebench; s = time.process_time() - t; "
        "print(s); assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        seconds.append(float(done.stdout))
    assert min(seconds) <= 0.05


def test_every_name_is_there_with_a_docstring() -> None:
    for name in sb.__all__:
        value = getattr(sb, name)
        assert name == "State" or value.__doc__, name
    assert set(sb.__all__) <= set(dir(sb))


def test_the_stub_has_the_same_names() -> None:
    stub = Path(sb.__file__).with_suffix(".pyi").read_text()
    imports = [node for node in ast.parse(stub).body if isinstance(node, ast.ImportFrom)]
    typed = {(node.module, alias.asname) for node in imports for alias in node.names}
    assert typed == {(f"stablebench.{module}", name) for module, names in sb._MODULES.items() for name in names}
    assert {name for _, name in typed} | {"__version__"} == set(sb.__all__)
