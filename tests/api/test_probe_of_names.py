"""`sb.probe` of a model by name and of a run says what the command line does; what it returns can be shown."""

import json
import sys
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn
from typer.testing import CliRunner

import stablebench as sb
from stablebench.cli.app import app


def test_a_name_is_probed_as_the_command_line_does() -> None:
    words = "probe-gradients --model roarnn --task copy --T 12 --hidden 6 --batch 3 --samples 2 --json --quiet"
    printed = CliRunner().invoke(app, words.split())
    assert printed.exit_code == 0, printed.stderr
    expected = json.loads(printed.stdout)
    result = sb.probe("roarnn", task="copy", T=12, hidden=6, batch=3, samples=2)
    document = json.loads(json.dumps(result.document()))
    for measure in ("gradient_flow", "jacobian", "lyapunov"):
        assert document["measures"][measure] == expected["measures"][measure]
    assert document["claims"] == expected["claims"]


def test_a_trained_run_is_probed_by_its_folder(tmp_path: Path) -> None:
    run = sb.train("lstm", "copy", runs_dir=tmp_path, T=8, hidden=5, steps=2, batch_size=2)
    a, b = sb.probe(run, what="flow"), sb.probe(str(run.folder), what="flow")
    assert a.growth_rate == b.growth_rate and "after 2 updates" in a.title
    with pytest.raises(sb.UserError, match="as its own spec says"):
        sb.probe(run, hidden=4)


def test_a_result_is_shown_drawn_and_tabled(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(3, 60, 1)
    result = sb.probe(nn.LSTM(1, 8), x)
    assert repr(result).startswith("VANISHES: ") and "growth rate" in repr(result)
    assert "<table" in result._repr_html_() and "VANISHES" in result._repr_html_()
    assert isinstance(result.plot(), Figure) and {"gradient-norm", "lyapunov"} <= set(result.figures())
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(sb.UserError, match="needs pandas"):
        result.to_frame()


def test_a_frame_has_a_row_for_each_step() -> None:
    pandas = pytest.importorskip("pandas")
    table = sb.probe(nn.LSTM(1, 8), torch.randn(3, 20, 1), what="flow").to_frame()
    assert isinstance(table, pandas.DataFrame) and len(table) == 21


def test_wrong_names_are_refused() -> None:
    for arguments, options, message in [
        (("roarn",), {"task": "copy"}, "Did you mean roarnn"),
        (("roarnn",), {"task": "copi"}, "Did you mean copy"),
        (("roarnn",), {}, "task is missing"),
        (("roarnn",), {"task": "copy", "hiden": 3}, "hiden: unknown option. Did you mean hidden"),
        (("roarnn",), {"task": "copy", "T": -1}, "T: must be a whole number >= 1"),
        (("roarnn",), {"task": "copy", "hidden": 0}, "hidden"),
        (("roarnn",), {"task": "copy", "set": {"model.roh": 0.5}}, "Did you mean"),
    ]:
        with pytest.raises(sb.UserError, match=message):
            sb.probe(*arguments, **options)
