"""Flags and tile of compiled steps: no sum depends on them, they are measured once, and a run goes on with its own."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stablebench.engines.fused.c import tuning
from stablebench.engines.fused.c.codegen import products
from stablebench.errors import UserError
from stablebench.process import c_library as library
from stablebench.process.settings import prepare_process
from stablebench.runs.progress import Silent, StopAfter
from stablebench.runs.store import RunFolder, run_folder
from stablebench.specs.resolve import Resolved, RunRequest, resolve
from stablebench.training import verify as verification
from stablebench.training.build import build_run
from stablebench.training.run import ExecutionOptions, train

SHAPES = [(1, 1, 1), (2, 3, 5), (7, 16, 33), (13, 1, 100), (32, 64, 64), (50, 31, 190), (5, 64, 1024)]
"""Rows, inner and columns: whole tiles and what is left over, and rows at a distance of 4 KiB."""


# -- sums --------------------------------------------------------------------------------------------------------------


def product(flags: tuple[str, ...], a: NDArray, m: NDArray) -> tuple[NDArray, NDArray]:
    """Return a @ m, and one more than a^T @ (a @ m)."""
    functions = "multiply", "multiply_transposed", "pack", "packed_size"
    compiled = library.load(products(a.dtype == np.float64), *functions, more_flags=flags)
    (rows, inner), columns, n = a.shape, m.shape[1], ctypes.c_int64
    compiled.packed_size.restype = n
    packed = np.empty(compiled.packed_size(n(inner), n(columns)), a.dtype)
    c = np.empty(rows * columns + 64, a.dtype)
    d = np.ones((inner, columns), a.dtype)
    at = [ctypes.c_void_p(array.ctypes.data) for array in (a, m, packed, c, d)]
    compiled.pack(n(inner), n(columns), at[1], n(columns), n(1), at[2])
    sizes = n(rows), n(inner), n(columns)
    compiled.multiply(*sizes, at[0], n(inner), at[2], at[3], n(columns), ctypes.c_int(0), None)
    lefts, rights = (at[0], n(0), n(inner)), (at[3], n(0), n(columns))
    compiled.multiply_transposed(n(1), n(rows), n(inner), n(columns), *lefts, *rights, at[4], n(columns))
    return c[: rows * columns].reshape(rows, columns).copy(), d


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_sum_depends_on_the_tuning(dtype: type) -> None:
    rng = np.random.default_rng(0)
    flags = [one.flags for one in tuning.possible()]
    assert len(flags) > 1
    for rows, inner, columns in SHAPES:
        a, m = rng.normal(size=(rows, inner)).astype(dtype), rng.normal(size=(inner, columns)).astype(dtype)
        forward, gradient = product(flags[0], a, m)
        tolerance = 1e-5 if dtype == np.float32 else 1e-13
        np.testing.assert_allclose(forward, a @ m, rtol=tolerance, atol=10 * tolerance)
        np.testing.assert_allclose(gradient, 1 + a.T @ (a @ m), rtol=10 * tolerance, atol=100 * tolerance)
        for others in flags[1:]:
            for found, expected in zip(product(others, a, m), (forward, gradient), strict=True):
                np.testing.assert_array_equal(found, expected)


_MAIN = """
#include <stdio.h>
int main(void)
{
    static const int sizes[][3] = {{1, 1, 1}, {2, 3, 5}, {7, 16, 33}, {32, 64, 64}, {50, 31, 190}};
    static real a[4096], m[8192], packed[16384], c[16384], d[16384];
    for (int s = 0; s < 5; s++) {
        const int rows = sizes[s][0], inner = sizes[s][1], columns = sizes[s][2];
        for (int i = 0; i < 4096; i++) a[i] = (real)(i % 17 - 8), m[i] = m[i + 4096] = (real)(i % 13 - 6);
        for (int i = 0; i < 16384; i++) d[i] = 1;
        pack(inner, columns, m, columns, 1, packed);
        multiply(rows, inner, columns, a, inner, packed, c, columns, 0, 0);
        multiply_transposed(1, rows, inner, columns, a, 0, inner, c, 0, columns, d, columns);
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < columns; j++) {
                real sum = 0;
                for (int i = 0; i < inner; i++) sum += a[r * inner + i] * m[i * columns + j];
                if (sum != c[r * columns + j]) return 1;
            }
        for (int i = 0; i < inner; i++)
            for (int j = 0; j < columns; j++) {
                real sum = 1;
                for (int r = 0; r < rows; r++) sum += a[r * inner + i] * c[r * columns + j];
                if (sum != d[i * columns + j]) return 2;
            }
    }
    for (int i = -80; i <= 80; i++) {
        const real x = i / (real)8;
        printf("%.17g %.17g\\n", (double)hyperbolic_tangent(x), (double)sigmoid(x));
    }
    return 0;
}
"""
"""Products of small whole numbers, which are exact, and two functions."""


NEON = [one.name for one in tuning.TUNINGS if "NEON" in one.instructions]


@pytest.mark.parametrize(("name", "double"), [("plain", True), *((name, False) for name in NEON)])
def test_products_and_functions_on_aarch64(name: str, double: bool, tmp_path: Path) -> None:
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        pytest.skip("aarch64-linux-gnu-gcc and qemu-aarch64 are not installed")
    flags = [flag for flag in library.flags() if flag != "-march=native"]
    flags += next(t for t in tuning.TUNINGS if t.name == name).flags
    (tmp_path / "main.c").write_text(products(double) + _MAIN)
    command = [compiler, *flags, "-Wno-psabi", "-static", "-o", str(tmp_path / "main"), str(tmp_path / "main.c")]
    subprocess.run(command, check=True)
    done = subprocess.run([emulator, str(tmp_path / "main")], capture_output=True, text=True)
    assert done.returncode == 0
    found = np.loadtxt(done.stdout.splitlines())
    x = torch.arange(-80, 81, dtype=torch.float64) / 8
    expected = torch.stack([x.tanh(), x.sigmoid()], 1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-8 if double else 4e-7)


# -- the choice --------------------------------------------------------------------------------------------------------


def test_about_equal_ones_are_not_told_apart() -> None:
    assert tuning.fastest_of({"plain": 1.0, "avx512-8x3": 0.99, "avx512-6x4": 0.99}).name == "plain"
    assert tuning.fastest_of({"plain": 1.0, "avx512-8x3": 0.5, "avx512-6x4": 0.495}).name == "avx512-8x3"
    assert tuning.fastest_of({"plain": 1.0, "avx512-8x3": 0.5, "avx512-6x4": 0.4}).name == "avx512-6x4"


def test_all_that_there_are_here_are_timed_in_little_time() -> None:
    seconds = tuning.measure()
    assert list(seconds) == [one.name for one in tuning.possible()]
    assert all(0 < s < 1 for s in seconds.values())


CHOOSE = "from stablebench.engines.fused.c import tuning; print(tuning.chosen().name)"


def choose(cache: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"STABLEBENCH_CACHE": str(cache)} | variables
    return subprocess.run([sys.executable, "-c", CHOOSE], env=environment, capture_output=True, text=True)


def test_processes_started_at_once_choose_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as threads:
        found = list(threads.map(choose, [tmp_path] * 2))
    assert len({done.stdout for done in found}) == 1 and not any(done.stderr for done in found)
    kept = list(tmp_path.rglob("*.tuning"))
    assert len(kept) == 1 and tuning.fastest_of(json.loads(kept[0].read_bytes())).name == found[0].stdout.strip()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield an empty cache folder, and have this process choose anew."""
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path))
    for cached in (library.cache_folder, tuning._fastest):
        cached.cache_clear()
    yield tmp_path / "engines"
    for cached in (library.cache_folder, tuning._fastest):
        cached.cache_clear()


@pytest.mark.parametrize("kept", [b"", b"[]", b"{}", b'{"gone": 1.0}', b'{"plain": "fast"}', b"garbage"])
def test_what_was_kept_and_is_not_whole_is_replaced(kept: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    last = tuning.possible()[-1].name
    monkeypatch.setattr(tuning, "measure", lambda: measured.append(0) or {"plain": 1.0, last: 0.5})
    for _ in range(2):
        assert tuning.chosen().name == last
        tuning._fastest.cache_clear()
    assert len(measured) == 1
    path = next(folder.glob("*.tuning"))
    tuning.compile_cache.write(path, kept)
    assert tuning.chosen().name == last and len(measured) == 2


def test_an_unknown_name_is_one_message(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(tuning.VARIABLE, "avx512-9x9")
        with pytest.raises(UserError, match=r"STABLEBENCH_TUNING: No tuning .* named 'avx512-9x9'.* plain"):
            tuning.chosen()
        patch.setenv(tuning.VARIABLE, "plain")
        assert tuning.chosen().flags == ()


# -- runs that go on ---------------------------------------------------------------------------------------------------


def small() -> Resolved:
    values = {"train.eval_every": 4, "train.batch_size": 4, "model.hidden": 4, "train.steps": 8, "task.S": 2}
    return resolve(RunRequest("rnn", "copy", T=5, settings=values | {"engine": "fused"}))


def begun(runs_dir: Path) -> RunFolder:
    resolved = small()
    prepare_process(resolved.spec.threads, resolved.spec.precision)
    folder = run_folder(runs_dir, resolved.spec)
    build_run(resolved, folder, reporter=StopAfter(4)).run()
    return folder


def flags_of(folder: RunFolder) -> str:
    compiler = folder.read_record().environment.compiler
    assert compiler is not None
    return compiler["flags"]


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> tuning.Tuning:
    """Return a tuning of this processor, which is chosen after a run was begun with the plain one."""
    monkeypatch.delenv(tuning.VARIABLE, raising=False)
    return tuning.possible()[-1]


def test_a_run_goes_on_with_the_tuning_it_was_begun_with(
    other: tuning.Tuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tuning.TUNINGS[0]
    monkeypatch.setattr(tuning, "_fastest", lambda key: plain)
    folder, whole = begun(tmp_path / "runs"), train(small(), ExecutionOptions(tmp_path / "whole"), Silent()).record
    monkeypatch.setattr(tuning, "_fastest", lambda key: other)
    verdict = verification.verify(small(), folder.read_record(), folder, 4)
    assert verdict.is_equal and not verdict.environment
    record = train(small(), ExecutionOptions(tmp_path / "runs"), Silent()).record
    assert record.resumed_elsewhere == [] and record.result.test == whole.result.test
    assert flags_of(folder) == " ".join(library.flags())
    record = train(small(), ExecutionOptions(tmp_path / "new"), Silent()).record
    assert record.environment.compiler is not None and record.environment.compiler["flags"].endswith(other.flags[-1])


def test_a_run_is_refused_where_another_tuning_is_named(
    other: tuning.Tuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "_fastest", lambda key: tuning.TUNINGS[0])
    folder = begun(tmp_path)
    monkeypatch.setenv(tuning.VARIABLE, other.name)
    with pytest.raises(
        UserError, match=f"would not give the same numbers .*compiler flags: .* then, .*{other.flags[-1]}"
    ):
        train(small(), ExecutionOptions(tmp_path), Silent())
    assert flags_of(folder) == " ".join(library.flags())


def test_flags_of_no_tuning_here_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuning.of_flags(None) == tuning.TUNINGS[0]
    assert tuning.of_flags("-O9") is None
    for one in tuning.possible():
        assert tuning.of_flags(library.described(one.flags)["flags"]) == one
