"""The readers on tiny files in CIFAR-10's own format, and on the real ones where STABLEBENCH_DATA has them."""

import dataclasses
import hashlib
import lzma
import pickle
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from tiny_source import tar_bytes, write

from stablebench import registry
from stablebench.data.files import cifar10
from stablebench.data.files.source import SourceFile
from stablebench.data.files.vision import torchvision_datasets
from stablebench.data.task import Task, generator_for, resolve_params
from stablebench.data.tasks import noisy_cifar10, scifar10
from stablebench.errors import UserError
from stablebench.process.folders import named_data_dir

PER_BATCH = 4
NAMES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


def value(image: int, colour: int, row: int, column: int) -> int:
    return (image * 37 + colour * 101 + row * 32 + column * 3) % 256


def batches() -> dict[str, bytes]:
    """Return the seven files by name: planes R, G, B of 1,024 bytes, row by row; images are numbered through."""
    files = {}
    for number, name in enumerate(NAMES):
        images = range(number * PER_BATCH, (number + 1) * PER_BATCH)
        data = [[value(i, c, y, x) for c in range(3) for y in range(32) for x in range(32)] for i in images]
        content = {"data": np.array(data, dtype=np.uint8), "labels": [i % 10 for i in images], "filenames": []}
        files[name] = pickle.dumps(content, protocol=2)
    return files | {"batches.meta": pickle.dumps({"label_names": [str(i) for i in range(10)]}, protocol=2)}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with tiny batches, each packed by itself, their checksums in the tables, an empty cache folder."""
    folder = tmp_path / "data"
    files, md5 = [], {}
    for name, content in batches().items():
        packed = name != "batches.meta"
        path = folder / "cifar10" / "cifar-10-batches-py" / f"{name}{'.xz' * packed}"
        write(path, lzma.compress(content) if packed else content)
        md5[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
        files.append(SourceFile(f"cifar-10-batches-py/{name}", len(content), f"md5:{md5[name]}"))
    monkeypatch.setattr(cifar10, "SOURCE", dataclasses.replace(cifar10.SOURCE, files=tuple(files)))
    torchvision = torchvision_datasets().CIFAR10
    monkeypatch.setattr(torchvision, "train_list", [[name, md5[name]] for name in NAMES[:5]])
    monkeypatch.setattr(torchvision, "test_list", [["test_batch", md5["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5["batches.meta"]}
    monkeypatch.setattr(torchvision, "meta", meta)
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STABLEBENCH_DATA", raising=False)
    return folder


PARTS: list[tuple[Literal["train", "test"], int, int]] = [("train", 0, 20), ("test", 20, 4)]


@pytest.mark.parametrize(("name", "first", "count"), PARTS)
def test_images_have_rows_pixels_and_colours_in_order(
    tiny: Path, name: Literal["train", "test"], first: int, count: int
):
    images = cifar10.images(name, tiny)
    assert images.pixels.shape == (count, 32, 32, 3) and images.pixels.dtype == torch.uint8
    assert images.classes.tolist() == [i % 10 for i in range(first, first + count)]
    for i, y, x, c in [(0, 0, 0, 0), (1, 5, 9, 1), (3, 31, 30, 2), (count - 1, 17, 2, 0)]:
        assert images.pixels[i, y, x, c].item() == value(first + i, c, y, x)


def test_step_of_scifar10_is_a_pixel_in_the_unit_interval(tiny: Path):
    """A step of scifar10 is a pixel's three colours in the unit interval."""
    shown = scifar10.transform(scifar10.load("test", data_dir=tiny))
    assert shown.inputs.shape == (4, 1024, 3) and shown.inputs.dtype == torch.float32
    for i, y, x in [(0, 0, 0), (2, 7, 31), (3, 31, 31)]:
        expected = torch.tensor([value(20 + i, c, y, x) / 255 for c in range(3)])
        assert torch.allclose(shown.inputs[i, 32 * y + x], expected)


@pytest.mark.parametrize("noise", ["uniform", "fixed_normal"])
@pytest.mark.parametrize("length", [1000, 32, 33])
def test_step_of_noisy_cifar10_is_row_red_green_blue_then_noise(tiny: Path, noise: noisy_cifar10.Noise, length: int):
    """A step of noisy cifar10 is a row red green blue then noise."""
    stored = noisy_cifar10.load("test", data_dir=tiny)
    shown = noisy_cifar10.transform(stored, rng=generator_for("test"), length=length, noise=noise)
    assert shown.inputs.shape == (4, length, 96) and shown.inputs.dtype == torch.float32
    for i, y in [(0, 0), (1, 31), (3, 12)]:
        row = [value(20 + i, c, y, x) / 255 for c in range(3) for x in range(32)]
        assert torch.allclose(shown.inputs[i, y], torch.tensor(row))
    assert torch.equal(shown.targets, stored.targets)


def test_uniform_noise_is_decided_by_the_generator(tiny: Path):
    """Uniform noise is uniform independent and decided by the generator."""
    stored = noisy_cifar10.load("test", data_dir=tiny)
    noise, same, other = (
        noisy_cifar10.transform(stored, rng=generator_for(key)).inputs[:, 32:].double() for key in ("a", "a", "b")
    )
    assert torch.equal(noise, same) and not torch.equal(noise, other)
    n = noise.numel()  # 371,712: bounds of five standard deviations
    assert noise.min() == 0 and noise.max() == 1
    assert abs(noise.mean().item() - 0.5) < 5 * (1 / 12 / n) ** 0.5
    assert abs(noise.var().item() - (256**2 - 1) / 12 / 255**2) < 5 * (1 / 180 / n) ** 0.5
    counts = torch.bincount((noise.flatten() * 255).round().long(), minlength=256)
    chi2 = ((counts - n / 256) ** 2 / (n / 256)).sum().item()
    assert abs(chi2 - 255) < 5 * (2 * 255) ** 0.5
    flat = noise.flatten() - 0.5
    for lag in (1, 8, 96, 968 * 96):  # a next number, word, step, image
        products = flat[:-lag] * flat[lag:]
        assert abs(products.mean().item()) < 5 / 12 / len(products) ** 0.5


def test_fixed_noise_is_one_normal_tensor_for_all_images(tiny: Path):
    """Fixed noise is one normal tensor for all images and splits."""
    parts = [
        noisy_cifar10.transform(noisy_cifar10.load(name, data_dir=tiny), rng=generator_for(name), noise="fixed_normal")
        for name, _, _ in PARTS
    ]
    noise = parts[0].inputs[0, 32:]
    for part in parts:
        assert torch.equal(part.inputs[:, 32:], noise.expand(len(part.inputs), -1, -1))
    assert abs(noise.mean().item()) < 5 / 92928**0.5 and abs(noise.var().item() - 1) < 5 * (2 / 92928) ** 0.5


def test_nothing_is_drawn_from_global_generators(tiny: Path):
    def states() -> tuple[bytes, bytes]:
        return torch.get_rng_state().numpy().tobytes(), pickle.dumps(np.random.get_state())  # noqa: NPY002

    before = states()
    noisy_cifar10.fixed_noise.cache_clear()
    for noise in ("uniform", "fixed_normal"):
        noisy_cifar10.transform(noisy_cifar10.load("test", data_dir=tiny), rng=generator_for("x"), noise=noise)
    assert states() == before


def small_task(folder: Path, **protocol: int) -> Task:
    card = registry.task_card("noisy_cifar10")
    changed = card.protocol.model_copy(update={"train": 15, "validation": 5, "test": 4} | protocol)
    params = resolve_params(card, T=40)
    return Task(card.model_copy(update={"protocol": changed}), params, folder)


def test_noise_is_new_in_batches_and_fixed_in_evaluations(tiny: Path):
    """Noise is new in every batch and the same in every evaluation."""
    source, again = small_task(tiny), small_task(tiny)
    one, two = source.train_batch(0, 0, 15), source.train_batch(0, 1, 15)
    assert torch.equal(one.inputs, again.train_batch(0, 0, 15).inputs)
    first, second = (batch.inputs[batch.targets.argsort(stable=True)] for batch in (one, two))
    assert torch.equal(one.targets.sort().values, two.targets.sort().values)  # an epoch each: the same images
    assert first[:, :32].sum() == pytest.approx(second[:, :32].sum().item()) and not torch.equal(first, second)
    assert not torch.equal(one.inputs[:, 32:], source.train_batch(1, 0, 15).inputs[:, 32:])
    for name in ("validation", "test"):
        assert torch.equal(source.split(name).inputs, again.split(name).inputs)
    images = torch.cat([source.split("validation").inputs[:, :32], one.inputs[:, :32]])
    assert len(images.flatten(1).unique(dim=0)) == 20  # every training image is in one of the two, once


def test_a_split_comes_in_pieces_of_a_hundred(monkeypatch: pytest.MonkeyPatch, tiny: Path):
    monkeypatch.setattr("stablebench.data.task._BLOCK", 3)
    source = small_task(tiny)
    pieces = list(source.pieces("validation"))
    assert [len(piece.inputs) for piece in pieces] == [3, 2]
    assert torch.equal(torch.cat([piece.inputs for piece in pieces]), source.split("validation").inputs)
    assert not torch.equal(pieces[0].inputs[0, 32:], pieces[1].inputs[0, 32:])


def test_the_publisher_s_archive_is_read_too(tiny: Path):
    (tiny / "cifar10").rename(tiny / "moved")
    inside = {f"cifar-10-batches-py/{name}": content for name, content in batches().items()}
    archive = tar_bytes(inside, "gz")
    offered = dataclasses.replace(cifar10.SOURCE.downloads[0], n_bytes=len(archive), checksum=None)
    cifar10.SOURCE = dataclasses.replace(cifar10.SOURCE, downloads=(offered,))  # the fixture puts it back
    write(tiny / "cifar10" / "cifar-10-python.tar.gz", archive)
    assert cifar10.images("test", tiny).classes.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["data_batch_1.xz", "test_batch.xz", "batches.meta"])
@pytest.mark.parametrize("kept", [0, 0.5])
def test_file_cut_off_is_named_and_nothing_is_left_in_cache(tiny: Path, tmp_path: Path, name: str, kept: float):
    """A file cut off is named and nothing is left in the cache."""
    path = tiny / "cifar10" / "cifar-10-batches-py" / name
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(UserError, match=f"cifar10: .*{name}"):
        cifar10.images("train", tiny)
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.suffix != ".lock"] == []


class Bomb:
    """What a pickle can do: create a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["data_batch_3.xz", "test_batch.xz", "batches.meta"])
def test_a_foreign_pickle_is_never_opened(tiny: Path, tmp_path: Path, name: str):
    evil = pickle.dumps(Bomb(tmp_path / "opened"))
    path = tiny / "cifar10" / "cifar-10-batches-py" / name
    path.write_bytes(lzma.compress(evil) if name.endswith(".xz") else evil)
    with pytest.raises(UserError, match=f"cifar10: .*{name} must have"):
        cifar10.images("train", tiny)
    assert not (tmp_path / "opened").exists()
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.suffix != ".lock"] == []


def test_a_length_that_cuts_the_image_is_refused():
    with pytest.raises(UserError, match=r"`length` must be >= 32 \(the rows of an image\), got 31"):
        noisy_cifar10.sizes(length=31)


def test_real_images_are_complete_and_cards_baselines_hold(tmp_path: Path):
    """The real images are complete and the cards baselines hold."""
    folder = named_data_dir(None)
    if folder is None or not any((folder / p / "cifar-10-batches-py").is_dir() for p in ("cifar10", "")):
        pytest.skip("STABLEBENCH_DATA names no folder with cifar10/")
    train, test = cifar10.images("train", folder), cifar10.images("test", folder)
    assert train.classes.bincount().tolist() == [5000] * 10 and test.classes.bincount().tolist() == [1000] * 10
    shares = torch.stack([train.pixels[..., c].flatten().bincount(minlength=256) for c in range(3)]) / (50_000 * 32**2)
    levels = torch.arange(256) / 255
    mean = shares @ levels
    assert mean.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-5)  # as often published
    spread = (shares @ levels**2 - mean**2).sqrt()
    assert spread.tolist() == pytest.approx([0.2470, 0.2435, 0.2616], abs=5e-5)
    assert train.classes[:5].tolist() == [6, 9, 9, 4, 1] and test.classes[:5].tolist() == [3, 8, 8, 0, 6]
    for name in ("scifar10", "noisy_cifar10"):
        card = registry.task_card(name)
        assert card.baseline("accuracy", {}) == test.classes.bincount().max().item() / 10_000
        source = Task(card, resolve_params(card), folder)
        sizes = source.sizes
        assert source.train_batch(0, 0, 10).inputs.shape == (10, sizes.steps, sizes.inputs)
        assert len(source._train.inputs) == card.protocol.train
