"""`stablebench claims`: the page says what was measured, and that the quick one is not the full one."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.probes.measurements import ClaimVerdict
from stablebench.report.claims import FULL, MODELS, PAPERS, QUICK, Measured
from stablebench.report.claims_page import Provenance, write_page
from stablebench.report.paper_checks.check import PaperCheck

PROVENANCE = Provenance("stablebench claims", "abc", "2000-01-01", {"torch": "2"}, "a processor", 60.0)


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def test_quick_page_of_one_model_has_tables_figures_and_numbers(tmp_path: Path) -> None:
    """A quick page of one model has its tables figures and numbers."""
    where = ["-o", str(tmp_path / "claims.md"), "--runs-dir", str(tmp_path / "runs")]
    code, output = invoke("claims", "--quick", "--models", "urnn", "--quiet", *where)
    assert code == 0, output
    taken, output = invoke("claims", "--quick", "--models", "urnn", "-o", str(tmp_path / "claims"))
    assert taken == 2 and "claims.md" in output
    page = (tmp_path / "claims.md").read_text()
    assert "**Not the sizes of the full page: 5 updates, every width 12, no length above 16.**" in page
    assert "Made by `stablebench claims --quick --model urnn` at commit" in page and str(tmp_path) not in page
    assert "(2) copy 8, width 12, at initialisation" in page and "(3) copy 8, width 12, after 5 updates" in page
    for name in ("gradients", "singular-values", "eigenvalues"):
        assert f"(claims/{name}.png)" in page
        assert (tmp_path / "claims" / f"{name}.png").stat().st_size > 5000
    chains = json.loads((tmp_path / "claims" / "numbers.json").read_text())
    states = [(chain["updates"], chain["problem"]) for chain in chains]
    assert states == [(0, None), (0, None), (5, None), (0, None), (5, None)]
    orthogonal = [f for chain in chains for f in chain["claims"] if f["claim"].startswith("||W^T W - I||")]
    assert len(orthogonal) == 5 and all(f["verdict"] == "holds" for f in orthogonal)
    assert all(len(chain["log10_singular"]) == 12 == len(chain["eigenvalues"]) for chain in chains)
    with pytest.MonkeyPatch.context() as patch:  # without -o it is printed, from the stored runs, and nothing written
        patch.chdir(tmp_path)
        before = sorted(tmp_path.rglob("*"))
        code, printed = invoke("claims", "--quick", "--models", "urnn", "--quiet", *where[2:])
        assert code == 0 and sorted(tmp_path.rglob("*")) == before
    tables = [line for line in page.splitlines() if line.startswith("| ")]
    assert [line for line in printed.splitlines() if line.startswith("| ")] == tables
    code, output = invoke("claims", "--quick", "--models", "urnn", "--quiet", *where)
    assert code == 2 and f"{tmp_path / 'claims.md'}: this file exists; --force overwrites it." in output


def test_a_dry_run_lists_the_chains_and_their_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = invoke("claims", "--quick", "--models", "urnn", "--dry-run")
    assert code == 0 and not list(tmp_path.iterdir())
    rows = [line.split() for line in output.splitlines() if line.startswith("urnn")]
    assert [(row[1], row[-1]) for row in rows[1:]] == [("copy", "0"), ("copy", "5"), ("adding", "0"), ("adding", "5")]
    assert "5 chains, 10 updates in all" in output


@pytest.mark.slow
def test_the_quick_page_has_every_model(tmp_path: Path) -> None:
    where = ["-o", str(tmp_path / "claims"), "--runs-dir", str(tmp_path / "runs")]
    code, output = invoke("claims", "--quick", "--quiet", *where)
    assert code == 0, output
    page = (tmp_path / "claims.md").read_text()
    assert all(f"\n## {model}\n" in page for model in MODELS)
    assert "not measured:" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "urn"], "No model of the papers named 'urn'. Did you mean urnn?"),
        (["--models", "urnn,"], "--model 'urnn,': must be names with commas between"),
        (["-o", "page.html"], "must end with .md, or have no suffix"),
    ],
)
def test_wrong_input_is_one_message(arguments: list[str], message: str) -> None:
    code, output = invoke("claims", *arguments)
    assert code == 2 and message in output and "Traceback" not in output


def test_the_earlier_word_still_works_and_names_the_new_one() -> None:
    result = CliRunner().invoke(app, ["promises", "-o", "page.html"])
    assert result.exit_code == 2 and "must end with .md" in result.stderr
    assert result.stderr.startswith("`promises` is now called `claims`")
    assert "promises" not in CliRunner().invoke(app, ["--help"]).stdout


def test_a_trained_chain_that_learnt_nothing_is_marked(tmp_path: Path) -> None:
    chains = [
        Measured("rnn", "adding 200", "its recipe", 200, test={"mse": mse, "trivial baseline": 0.1667})
        for mse in (0.2, 0.1)
    ]
    assert [chain.learnt for chain in chains] == [False, True]
    assert Measured("rnn", "adding 200", "its recipe", 0).learnt is None
    (page, *_) = write_page(tmp_path / "claims", chains, [], FULL, PROVENANCE)
    text = page.read_text()
    assert text.count("trivial baseline 0.1667: nothing learnt yet") == 1
    (row,) = [line for line in text.splitlines() if line.startswith("| rnn") and "trained" in line]
    assert [cell.strip() for cell in row.split("|")][1:5] == ["rnn", "trained", "2", "1"]


def test_every_paper_s_setting_is_of_a_model_on_the_page() -> None:
    assert {setting.model for setting in PAPERS} <= set(MODELS)
    assert QUICK != FULL


def test_verdicts_problems_and_findings_stand_in_the_page(tmp_path: Path) -> None:
    claim = ClaimVerdict("||W|| <= 1", "violated", 2.0, (0.5, 1.0), "W square")
    chains = [
        Measured("rnn", "copy 9, width 3", "its recipe", 0, [claim], [0.0, -1.0], [0.5, -0.5]),
        Measured("rnn", "copy 9, width 3", "its recipe", 7, problem="diverged: the loss is nan"),
    ]
    theorem = PaperCheck("all is well", "a network", "all is not", {"sigma": 1.25}, True)
    write_page(tmp_path / "p", chains, [theorem], FULL, PROVENANCE)
    page = (tmp_path / "p.md").read_text()
    assert "Not the sizes of the full page" not in page
    lines = [" ".join(line.split()) for line in page.splitlines()]
    row = "| \\|\\|W\\|\\| <= 1 | (1) copy 9, width 3, at initialisation | violated | 2 | 0.5 ... 1 | W square |"
    assert row in lines
    assert any("not measured: diverged: the loss is nan" in line for line in lines)
    assert "| rnn | at initialisation | 1 | | 0 | 0 | 1 | 0 | 0 |" in lines
    assert "| rnn | trained | 1 | 0 | 0 | 0 | 0 | 0 | 1 |" in lines
    assert "| all is well | a network | all is not | sigma 1.25 | confirmed |" in lines
    assert "copy 9, width 3 | its recipe | at initialisation | 1 | 0.5 | -0.5 |" in " ".join(lines)
    assert "## Theorems put to numbers" in page and not list((tmp_path / "p").iterdir())
