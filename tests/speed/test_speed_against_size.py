"""The script that times passes against their size, on sizes that take no time."""

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stablebench.speed.comparison import Conditions
from stablebench.speed.workload import Size, Workload

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed_against_size.py"
SMALL = ["--repeats", "3", "--device", "cpu"]
WORK = Workload("rnn", Size(batch=2, hidden=4, steps=5), inputs=3)
THRICE = Conditions(repeats=3, threads=1, precision="float32")


def loaded() -> Any:
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert spec is not None and spec.loader is not None
    module = sys.modules[SCRIPT.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = loaded()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True)


def ignore(what: str, done: int, total: int) -> None:
    pass


def test_a_series_fits_an_exponent_to_the_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    def quadratic(contenders: list, repeats: int, **how: object) -> dict[str, list[float]]:
        return {c.name: [9.0, 1e-3 * int(c.name) ** 2, 1e-9] for c in contenders}

    monkeypatch.setattr(script, "round_robin", quadratic)
    for axis in ("steps", "hidden"):
        found = script.scale(WORK, axis, [2, 4, 8], THRICE, ignore)
        assert list(found.seconds) == [2, 4, 8] and not found.left_out
        assert found.law is not None and found.law.exponent == pytest.approx(2)
        assert [point[axis] for point in found.document()["points"]] == [2, 4, 8]
    assert script.scale(WORK, "steps", [2], THRICE, ignore).law is None


def test_what_would_not_fit_into_memory_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "free_bytes", lambda device: 100_000)
    found = script.scale(WORK, "steps", [5, 10**6], THRICE, ignore)
    assert list(found.seconds) == [5]
    assert "GB of the 0.0 GB that are free" in found.left_out[10**6]
    assert found.document()["points"][1]["seconds"] is None


def test_the_sizes_of_a_series_take_turns() -> None:
    order: list[str] = []
    script.parametrise(WORK, [4, 6], THRICE, lambda what, done, total: order.append(what))
    assert order == ["4", "6"] * 4


@pytest.mark.parametrize("exponent", [-1.0, 0.5, 1.0, 2.0])
def test_an_exact_power_law_is_found(exponent: float) -> None:
    sizes = [200, 500, 1000, 10000]
    law = script.power_law(sizes, [3e-4 * size**exponent for size in sizes])
    assert law.exponent == pytest.approx(exponent, abs=1e-12)
    assert law.factor == pytest.approx(3e-4, rel=1e-10)
    assert law.r2 == pytest.approx(1, abs=1e-12)


def test_fit_of_three_points_is_least_squares_line_of_logarithms() -> None:
    """The fit of three points is the least squares line of their logarithms."""
    law = script.power_law([1, math.e, math.e**2], [1, math.e**2, math.e])  # (0, 0), (1, 2), (2, 1)
    assert law.exponent == pytest.approx(0.5)
    assert law.factor == pytest.approx(math.exp(0.5))
    assert law.r2 == pytest.approx(0.25)


def test_constant_times_have_no_variance_to_explain() -> None:
    """Constant times have no variance to explain and one size no law."""
    assert math.isnan(script.power_law([1, 2], [3, 3]).r2)
    with pytest.raises(ValueError, match="two different sizes"):
        script.power_law([4, 4], [1, 2])


def test_scaling_fits_exponents_against_steps_and_width() -> None:
    arguments = ["scaling", *SMALL, "--size", "2,4,5", "--lengths", "4,2,8", "--widths", "3,6", "--models", "rnn"]
    text = run(*arguments).stdout
    for part in ("fused against T, B 2, H 4, ms", "fused against H, B 2, T 5, ms", "T 8", "H 6", "exponent", "r^2"):
        assert part in text
    series = json.loads(run(*arguments, "--json").stdout)["series"]
    assert [s["axis"] for s in series] == ["steps", "hidden"]
    assert [point["steps"] for point in series[0]["points"]] == [2, 4, 8]
    assert set(series[0]["power_law"]) == {"exponent", "factor", "r2"}
    assert series[0]["hidden"] == 4 and series[1]["steps"] == 5


def test_parametrisation_is_a_table_against_width() -> None:
    arguments = ["parametrisation", *SMALL, "--widths", "4,6", "--models", "exprnn", "--models", "rnn"]
    text = run(*arguments).stdout
    assert "recurrent_weights(), forward and backward, ms" in text and "H 6" in text and "\nexprnn " in text
    series = json.loads(run(*arguments, "--json").stdout)["series"]
    assert [s["contender"] for s in series] == ["transition", "transition"]
    assert all(len(point["seconds"]) == 3 for s in series for point in s["points"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "1,2"], "`--size` must be B,H,T"),
        (["--lengths", "10,x"], "`--lengths` must be whole numbers >= 1 with commas between, got '10,x'."),
        (["--models", "ltsm"], "No model named 'ltsm'. Did you mean lstm?"),
    ],
)
def test_a_mistake_is_one_message(arguments: list[str], message: str) -> None:
    result = run("scaling", *arguments)
    assert result.returncode == 1 and message in result.stderr and "Traceback" not in result.stderr
