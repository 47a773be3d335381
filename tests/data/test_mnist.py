"""The readers on tiny files in MNIST's own format, and on the real ones where STABLEBENCH_DATA has them."""

import dataclasses
import gzip
import hashlib
import math
import struct
from pathlib import Path
from typing import Literal

import pytest
import torch

from stablebench import registry
from stablebench.data.files import mnist
from stablebench.data.files.source import SourceFile
from stablebench.data.task import Task, resolve_params
from stablebench.data.tasks import psmnist, smnist
from stablebench.errors import UserError
from stablebench.process.folders import named_data_dir

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


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with tiny files as they are published, their checksums in the table, an empty cache folder."""
    folder = tmp_path / "data"
    (folder / "mnist").mkdir(parents=True)
    files = []
    for name, content in idx_files().items():
        (folder / "mnist" / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        files.append(SourceFile(name, len(content), f"md5:{digest}"))
    monkeypatch.setattr(mnist, "SOURCE", dataclasses.replace(mnist.SOURCE, files=tuple(files)))
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STABLEBENCH_DATA", raising=False)
    return folder


def test_images_come_row_by_row_as_bytes(tiny: Path):
    """Images come row by row as bytes and are shown in the unit interval."""
    parts: list[tuple[Literal["train", "test"], int]] = [("train", 6), ("test", 3)]
    for name, count in parts:
        stored = smnist.load(name, data_dir=tiny)
        assert stored.inputs.shape == (count, 784) and stored.inputs.dtype == torch.uint8
        assert stored.targets.tolist() == list(range(count)) and stored.targets.dtype == torch.int64
        shown = smnist.transform(stored)
        assert shown.inputs.shape == (count, 784, 1) and shown.inputs.dtype == torch.float32
        assert shown.inputs[2, 28 * 5 + 9, 0].item() == pytest.approx(pixel(2, 5, 9) / 255, rel=1e-6)
        assert torch.equal(shown.targets, stored.targets)
    assert smnist.transform(smnist.load("train", data_dir=tiny)).inputs.max() == 1.0


@pytest.mark.parametrize("permutation", PERMUTATIONS)
def test_permuted_step_t_shows_pixel_permutation_t(tiny: Path, permutation: psmnist.Permutation):
    plain = smnist.transform(smnist.load("test", data_dir=tiny))
    stored = psmnist.load("test", permutation=permutation, data_dir=tiny)
    permuted = psmnist.transform(stored, permutation=permutation)
    order = psmnist.permutation_of(permutation)
    assert torch.equal(permuted.inputs, plain.inputs[:, order]) and torch.equal(permuted.targets, plain.targets)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("layout", ["mnist", "MNIST/raw"])
def test_published_and_torchvisions_layout_are_read(tiny: Path, packed: bool, layout: str):
    """The published and torchvision's layout are read packed or not."""
    (tiny / "mnist").rename(tiny / "moved")
    (tiny / layout).mkdir(parents=True)
    for path in (tiny / "moved").iterdir():
        content = path.read_bytes()
        name = path.name if packed else path.stem
        (tiny / layout / name).write_bytes(content if packed else gzip.decompress(content))
    assert mnist.images("train", tiny).classes.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("damage", ["truncated", "tampered", "empty"])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_damaged_file_is_named_and_nothing_is_left_in_cache(tiny: Path, tmp_path: Path, damage: str, name: str):
    """A damaged file is named and nothing is left in the cache."""
    content = idx_files()[name]
    changed = {"truncated": content[:-7], "tampered": content[:-1] + b"\x07", "empty": b""}[damage]
    (tiny / "mnist" / f"{name}.gz").write_bytes(gzip.compress(changed))
    wrong = "is damaged: its md5 must be" if damage == "tampered" else "must have .* bytes, it has"
    with pytest.raises(UserError, match=f"mnist: .*{name}.gz {wrong}"):
        mnist.images("train", tiny)
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.suffix != ".lock"] == []


def test_a_task_s_batches_are_shown_examples(tiny: Path):
    card = registry.task_card("psmnist")
    protocol = card.protocol.model_copy(update={"train": 6, "validation": 2, "test": 3})
    source = Task(card.model_copy(update={"protocol": protocol}), resolve_params(card, variant="exprnn"), tiny)
    order = psmnist.permutation_of("exprnn")
    assert source.split("validation").inputs.shape == (2, 784, 1)
    batch = source.train_batch(0, 0, 4)
    for inputs, target in zip(batch.inputs, batch.targets.tolist(), strict=True):
        expected = torch.tensor([pixel(target, int(p) // 28, int(p) % 28) / 255 for p in order])
        assert torch.allclose(inputs[:, 0], expected)


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
        psmnist.permutation_of.__wrapped__(name)
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


def test_real_images_are_complete_and_cards_baselines_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The real images are complete and the cards baselines hold."""
    folder = real_folder("mnist")
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    card = registry.task_card("psmnist")
    source = Task(card, resolve_params(card), folder)
    test, validation = source.split("test"), source.split("validation")
    assert test.inputs.shape == (10_000, 784, 1) and test.inputs.min() == 0 and test.inputs.max() == 1
    assert torch.equal(validation.inputs, test.inputs[:1000]) and torch.equal(validation.targets, test.targets[:1000])
    plain = smnist.load("train", data_dir=folder)
    assert plain.targets[:5].tolist() == [5, 0, 4, 1, 9] and test.targets[:5].tolist() == [7, 2, 1, 0, 4]
    counts = torch.bincount(plain.targets)
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert plain.inputs.double().mean().item() / 255 == pytest.approx(0.1307, abs=5e-5)  # the published mean
    accuracy = (test.targets == counts.argmax()).double().mean().item()
    for name in ("psmnist", "smnist"):
        card = registry.task_card(name)
        assert card.baseline("accuracy", {}) == accuracy and card.baseline("loss", {}) == math.log(10)
    assert source.train_batch(0, 0, 100).inputs.shape == (100, 784, 1)
