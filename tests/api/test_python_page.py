"""The code of docs/python.md runs as it stands, one block after the other."""

import re
import sys
from pathlib import Path
from typing import Any

import matplotlib
import pytest

import stablebench as sb

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_every_block_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    matplotlib.use("agg")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        assert len(block.splitlines()) <= 15
        if block.startswith("# leaky.py"):
            Path("leaky.py").write_text(block)
        else:
            exec(compile(block, str(PAGE), "exec"), names)
    sys.modules.pop("leaky", None)
    printed = capsys.readouterr().out
    assert Path("lstm.png").exists() and names["result"].verdict == "VANISHES"
    assert names["layer"].engine == "fused" and names["by_loop"] > names["compiled"]
    assert "fused None" in printed and "times faster" in printed and "9 runs in" in printed
    assert isinstance(names["board"], sb.Board) and [record.step for record in names["watched"].records] == [0, 10]
