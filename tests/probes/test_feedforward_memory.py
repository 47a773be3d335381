"""The nnRNN paper's figure 1 and the table of J_tot: areas as printed, transients that end with the delay line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from stablebench.cli.plot import plot
from stablebench.report.figures.fisher_memory import Form, forms

PRINTED = {  # supplement, table of J_tot: (alpha, beta, d) -> area, N 100
    (0.95, 0.0, 0.0): 3.03,
    (1.0, 0.0, 0.0): 5.19,
    (1.05, 0.0, 0.0): 12.1,
    (0.95, 0.005, 0.0): 3.18,
    (1.0, 0.005, 0.0): 5.30,
    (1.05, 0.005, 0.0): 12.1,
    (0.95, 0.0, 0.2): 12.0,
    (1.0, 0.0, 0.2): 16.2,
    (1.05, 0.0, 0.2): 20.5,
    (0.95, 0.005, 0.2): 12.1,
    (1.0, 0.005, 0.2): 16.3,
    (1.05, 0.005, 0.2): 20.4,
}


@pytest.fixture(scope="module")
def found() -> list[Form]:
    return forms()


def test_the_areas_are_the_printed_ones(found: list[Form]) -> None:
    areas = {(form.alpha, form.beta, form.d): form.memory.area for form in found}
    assert areas.keys() == PRINTED.keys()
    for key, printed in PRINTED.items():
        # rounded to three digits; with a diagonal the noise is ill-conditioned, and the paper's sums lost digits
        wanted = pytest.approx(printed, abs=0.05) if key[2] == 0 else pytest.approx(printed, rel=0.025)
        assert areas[key] == wanted, key


def test_transients_swell_with_alpha_and_beta_and_end_with_line(found: list[Form]) -> None:
    """Transients swell with alpha and beta and end with the line."""
    peak = {(f.alpha, f.beta): f.transients["norm"].mean(1).max().item() for f in found if f.transients}
    assert len(peak) == 6
    assert peak[0.95, 0.0] == pytest.approx(1, abs=1e-12) == peak[1.0, 0.0], "a short line only loses"
    assert peak[1.05, 0.0] > 5 and all(peak[a, 0.005] > peak[a, 0.0] + 1e-3 for a in (1.0, 1.05))
    for form in found:
        if form.transients:
            assert {values.shape for values in form.transients.values()} == {(101, 1000)}
            assert form.transients["norm"][-1].max() == 0, "Theta^N = 0"


def test_the_command_draws_it_and_writes_the_numbers(tmp_path: Path) -> None:
    path = tmp_path / "memory.svg"
    result = CliRunner().invoke(plot, ["fisher-memory", "--size", "20", "--starts", "10", "-o", str(path)])
    assert result.exit_code == 0, result.output
    assert "area of J" in result.output and path.stat().st_size > 5000
    lines = path.with_suffix(".csv").read_text().splitlines()
    assert lines[0] == "what,alpha,beta,d,t,value,deviation"
    assert sum(line.startswith("area,") for line in lines) == 12
    assert sum(line.startswith("norm,") for line in lines) == 6 * 21
