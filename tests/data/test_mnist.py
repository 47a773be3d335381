"""The loader on tiny files in MNIST's own format, and on the real ones where STABLEBENCH_DATA has them."""

import gzip
import hashlib
import math
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import torch

from stablebench import registry
from stablebench.data import mnist, psmnist, smnist
from stablebench.data.folders import named_data_dir
from stablebench.data.task import Task, resolve_params
from stablebench.data.vision import torchvision_datasets
from stablebench.errors import UserError

COUNTS = {"train": 6, "t10k": 3}
PERMUTATIONS: list[psmnist.Permutation] = ["lmu", "exprnn", "nnrnn", "cornn", "unicornn", "bit_reversal"]


def pixel(image: int, row: int, column: int) -> int:
    return (image * 50 + row * 28 + column) % 256


def idx_files() -> dict[str, bytes]:
    """Return the four files, unpacked, by name: magic number, sizes (big-endian), bytes."""
    files = {}
    for part, count in COUNTS.items():
        pixels = bytes(pixel(i, r, c) for i in range(count) for r in range(28) for c in range(28))
        files[f"{part}-images-idx3-ubyte"] = struct.pack(">IIII", 2051, count, 28, 28) + pixels
        files[f"{part}-labels-idx1-ubyte"] = struct.pack(">II", 2049, count) + bytes(i % 10 for i in range(count))
    return files


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder with tiny files, their checksums in the tables, and an empty cache folder."""
    folder = tmp_path / "data"
    (folder / "mnist").mkdir(parents=True)
    table = {}
    for name, content in idx_files().items():
        packed = gzip.compress(content, mtime=0)
        (folder / "mnist" / f"{name}.gz").write_bytes(packed)
        table[f"{name}.gz"] = mnist.Archive(len(packed), md5(packed), md5(content))
    monkeypatch.setattr(mnist, "ARCHIVES", table)
    resources = [(name, archive.md5) for name, archive in table.items()]
    monkeypatch.setattr(torchvision_datasets().MNIST, "resources", resources)
    no_network(monkeypatch)
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STABLEBENCH_DATA", raising=False)
    yield folder
    for cached in (mnist.images, smnist._values, psmnist._values):
        cached.cache_clear()


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point torchvision at a port of this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(torchvision_datasets().MNIST, "mirrors", [f"http://127.0.0.1:{port}/"])


def cached_files(tmp_path: Path) -> list[str]:
    cache = tmp_path / "cache"
    return sorted(p.relative_to(cache).as_posix() for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock")


WHOLE = sorted(f"mnist/MNIST/raw/{name}" for name in idx_files())


def test_pixels_come_row_by_row_in_the_unit_interval(tiny: Path):
    parts: list[tuple[Literal["train", "test"], int]] = [("train", 6), ("test", 3)]
    for name, count in parts:
        batch = smnist.load(name, data_dir=tiny)
        assert batch.inputs.shape == (count, 784, 1) and batch.inputs.dtype == torch.float32
        assert batch.targets.tolist() == list(range(count)) and batch.targets.dtype == torch.int64
        assert batch.inputs[2, 28 * 5 + 9, 0].item() == pytest.approx(pixel(2, 5, 9) / 255, rel=1e-6)
    assert smnist.load("train", data_dir=tiny).inputs.max() == 1.0


@pytest.mark.parametrize("permutation", PERMUTATIONS)
def test_permuted_step_t_shows_pixel_permutation_t(tiny: Path, permutation: psmnist.Permutation):
    plain = smnist.load("test", data_dir=tiny)
    permuted = psmnist.load("test", permutation=permutation, data_dir=tiny)
    order = psmnist.permutation_of(permutation)
    assert torch.equal(permuted.inputs, plain.inputs[:, order]) and torch.equal(permuted.targets, plain.targets)


def test_the_folder_is_only_read_and_the_cache_holds_whole_files(tiny: Path, tmp_path: Path):
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tiny.rglob("*") if p.is_file()}
    for path in [*tiny.rglob("*"), tiny]:
        path.chmod(stat.S_IRUSR | (stat.S_IXUSR if path.is_dir() else 0))
    try:
        smnist.load("train", data_dir=tiny)
    finally:
        for path in [tiny, *tiny.rglob("*")]:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
    assert before == {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tiny.rglob("*") if p.is_file()}
    assert cached_files(tmp_path) == WHOLE


def test_torchvision_s_own_layout_and_the_environment_are_read_too(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    (tiny / "MNIST").mkdir()
    (tiny / "mnist").rename(tiny / "MNIST" / "raw")
    monkeypatch.setenv("STABLEBENCH_DATA", str(tiny))
    assert len(smnist.load("train").inputs) == 6


def test_without_a_named_folder_the_cache_is_used_and_no_network(tiny: Path):
    mnist.prepare(tiny)
    assert len(smnist.load("test").inputs) == 3


@pytest.mark.parametrize("damage", ["truncated", "tampered", "empty"])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
def test_a_damaged_file_is_named_and_nothing_is_left_in_the_cache(tiny: Path, tmp_path: Path, damage: str, name: str):
    path = tiny / "mnist" / name
    content = path.read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    path.write_bytes({"truncated": content[:-7], "tampered": flipped, "empty": b""}[damage])
    wrong = "is damaged: its md5 must be" if damage == "tampered" else "must have .* bytes, it has"
    with pytest.raises(UserError, match=f"{name} {wrong}"):
        smnist.load("train", data_dir=tiny)
    assert cached_files(tmp_path) == []


def test_a_damaged_named_file_is_not_hidden_by_a_good_cache(tiny: Path):
    mnist.prepare(tiny)
    (tiny / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(b"short")
    with pytest.raises(UserError, match="train-labels-idx1-ubyte.gz must have"):
        smnist.load("train", data_dir=tiny)


def test_a_named_folder_without_the_data_says_what_is_missing_and_how_to_get_it(tiny: Path, tmp_path: Path):
    (tiny / "mnist" / "t10k-images-idx3-ubyte.gz").unlink()
    (tiny / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError) as caught:
        smnist.load("train", data_dir=tiny)
    text = str(caught.value)
    assert "lacks t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz" in text
    for expected in (str(tiny / "mnist"), "yann.lecun.com", "--data-dir", "STABLEBENCH_DATA", "127.0.0.1"):
        assert expected in text
    for name, archive in mnist.ARCHIVES.items():
        assert f"{name}  {archive.n_bytes:,} bytes, md5 {archive.md5}" in text
    with pytest.raises(UserError, match="lacks train-images"):
        smnist.load("train", data_dir=tmp_path / "nothing" / "here")
    assert not (tmp_path / "cache").exists()


def test_a_network_that_fails_gives_the_same_message_and_leaves_nothing(tiny: Path, tmp_path: Path):
    before = socket.getdefaulttimeout()
    with pytest.raises(UserError, match=r"(?s)it cannot be got .*refused.*four original files.*--data-dir"):
        smnist.load("train")
    assert cached_files(tmp_path) == [] and list((tmp_path / "cache").glob("mnist*/")) == []
    assert socket.getdefaulttimeout() == before


def test_a_killed_run_s_leftovers_are_cleared_and_a_damaged_cache_is_made_anew(tiny: Path, tmp_path: Path):
    leftover = tmp_path / "cache" / "mnist.tmp-killed" / "mnist"
    leftover.mkdir(parents=True)
    (leftover / "half").write_bytes(b"half")
    mnist.prepare(tiny)
    assert cached_files(tmp_path) == WHOLE
    (tmp_path / "cache" / WHOLE[0]).write_bytes(b"damaged")
    mnist.prepare(tiny)
    assert {md5((tmp_path / "cache" / name).read_bytes()) for name in WHOLE} == {
        archive.unpacked_md5 for archive in mnist.ARCHIVES.values()
    }


def test_a_cache_folder_that_cannot_be_used_is_said(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"cache folder .* cannot be used .* STABLEBENCH_CACHE"):
        smnist.load("train", data_dir=tiny)


def test_runs_at_once_all_get_the_data_and_one_of_them_unpacks(tiny: Path, tmp_path: Path, monkeypatch):
    unpacked = []
    original = mnist._unpack
    monkeypatch.setattr(mnist, "_unpack", lambda *a: (unpacked.append(1), original(*a)))
    roots: list[Path] = []
    threads = [threading.Thread(target=lambda: roots.append(mnist.prepare(tiny))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert roots == [tmp_path / "cache" / "mnist"] * 4 and unpacked == [1]
    assert cached_files(tmp_path) == WHOLE


@pytest.mark.parametrize("permutation", PERMUTATIONS)
def test_every_permutation_has_each_pixel_once(permutation: psmnist.Permutation):
    assert sorted(psmnist.permutation_of(permutation).tolist()) == list(range(784))


def test_permutations_begin_as_the_published_codes_draw_them():
    beginnings = {name: psmnist.permutation_of(name)[:5].tolist() for name in PERMUTATIONS}
    assert beginnings["lmu"] == [693, 85, 647, 392, 765]
    assert beginnings["exprnn"] == [319, 576, 323, 107, 355]
    assert beginnings["nnrnn"] == [529, 511, 328, 133, 532]
    assert beginnings["cornn"] == [91, 97, 471, 426, 157]
    assert beginnings["bit_reversal"] == [0, 512, 256, 768, 128]  # 0, 1, 2, 3, 4 with ten bits reversed
    assert len({tuple(order) for order in beginnings.values()}) == len(PERMUTATIONS)


def test_permutations_leave_the_global_generators_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for name in PERMUTATIONS:
        psmnist.permutation_of(name)
    assert torch.equal(before, torch.get_rng_state())


def real_folder(name: str) -> Path:
    folder = named_data_dir(None)
    if folder is None or not (folder / name).is_dir():
        pytest.skip(f"STABLEBENCH_DATA names no folder with {name}/")
    return folder


@pytest.mark.parametrize(
    ("permutation", "file"),
    [
        ("lmu", "perm_nengo_dl_lmu.txt"),
        ("exprnn", "perm_exprnn_seed92916.txt"),
        ("nnrnn", "perm_nnrnn_seed1234.txt"),
        ("cornn", "perm_cornn.txt"),
    ],
)
def test_permutations_are_those_of_the_published_codes(permutation: psmnist.Permutation, file: str):
    published = (real_folder("psmnist") / "psmnist" / file).read_text().split()
    assert psmnist.permutation_of(permutation).tolist() == [int(pixel) for pixel in published]


def test_the_real_images_are_complete_and_the_cards_baselines_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = real_folder("mnist")
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    card = registry.task_card("psmnist")
    source = Task(card, resolve_params(card), folder)
    test, validation = source.split("test"), source.split("validation")
    assert test.inputs.shape == (10_000, 784, 1) and test.inputs.min() == 0 and test.inputs.max() == 1
    assert torch.equal(validation.inputs, test.inputs[:1000]) and torch.equal(validation.targets, test.targets[:1000])
    plain = smnist.load("train", data_dir=folder)
    assert plain.targets[:5].tolist() == [5, 0, 4, 1, 9] and smnist.load("test").targets[:5].tolist() == [7, 2, 1, 0, 4]
    counts = torch.bincount(plain.targets)
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert plain.inputs.double().mean().item() == pytest.approx(0.1307, abs=5e-5)  # the published mean
    accuracy = (test.targets == counts.argmax()).double().mean().item()
    for name in ("psmnist", "smnist"):
        card = registry.task_card(name)
        assert card.baseline("accuracy", {}) == accuracy and card.baseline("loss", {}) == math.log(10)
    assert source.train_batch(0, 0, 100).inputs.shape == (100, 784, 1)
    for cached in (mnist.images, smnist._values, psmnist._values):
        cached.cache_clear()  # 200 MB each


def test_an_unreadable_file_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(mnist, "_md5", denied)  # a mode of 000 means nothing to a superuser
    with pytest.raises(UserError, match=r"MNIST: .*train-images-idx3-ubyte.gz cannot be read \(Permission denied\)"):
        mnist.prepare(tiny)
