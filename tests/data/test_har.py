"""Windows cut from small recordings written by the tests, and from the real ones where STABLEBENCH_DATA has them."""

import dataclasses
import hashlib
import lzma
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from tiny_source import tar_bytes, write, zip_bytes

from stablebench import registry
from stablebench.data.files import access, hapt, uci_har_v1
from stablebench.data.files.source import SourceFile
from stablebench.data.task import Task, resolve_params
from stablebench.data.tasks import har
from stablebench.errors import UserError
from stablebench.process.folders import named_data_dir

RECORDINGS = ((1, 700), (2, 500), (27, 900))
INTERVALS = [  # experiment, person, activity, first and last sample from 1
    (1, 1, 5, 10, 264),  # 255 samples: a window, and 127 that are not enough for another one after 64
    (1, 1, 7, 265, 420),  # a transition
    (1, 1, 1, 421, 700),  # 280 samples: windows from 421, 485, 549
    (2, 2, 6, 1, 128),
    (2, 2, 2, 200, 326),  # 127 samples: none
    (2, 2, 3, 373, 500),
    (3, 27, 4, 101, 292),
]
WINDOWS = [  # experiment, person, activity, first sample from 0
    (1, 1, 5, 9),
    (1, 1, 5, 73),
    (1, 1, 1, 420),
    (1, 1, 1, 484),
    (1, 1, 1, 548),
    (2, 2, 6, 0),
    (2, 2, 3, 372),
    (3, 27, 4, 100),
    (3, 27, 4, 164),
]


def recording(experiment: int, samples: int) -> np.ndarray:
    """Return six signals, smooth and rough."""
    t = np.arange(samples)[:, None] / 50
    rng = np.random.default_rng(experiment)
    return np.sin(t * np.arange(1, 7) + experiment) + 0.3 * rng.standard_normal((samples, 6)) + np.array([1, 0, 0] * 2)


def text(table: np.ndarray | list) -> bytes:
    return "".join(" ".join(f"{x!r}" for x in row) + "\n" for row in np.asarray(table).tolist()).encode()


def files() -> dict[str, bytes]:
    made = {"RawData/labels.txt": text(INTERVALS)}
    for experiment, (person, samples) in enumerate(RECORDINGS, 1):
        signal = recording(experiment, samples)
        for sensor, part in (("acc", signal[:, :3]), ("gyro", signal[:, 3:])):
            made[f"RawData/{sensor}_exp{experiment:02}_user{person:02}.txt"] = text(part)
    return made


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with three recordings, what must hold of them in the tables, and an empty cache folder."""
    for name, content in files().items():
        write(tmp_path / "data" / "hapt" / name, content)
    weights = [e * np.arange(1, n + 1) / n @ recording(e, n) for e, (_, n) in enumerate(RECORDINGS, 1)]
    lines = "\n".join(" ".join(map(str, row)) for row in INTERVALS)
    monkeypatch.setattr(hapt, "RECORDINGS", RECORDINGS)
    monkeypatch.setattr(hapt, "_SUMS", tuple(np.sum(weights, axis=0)))
    monkeypatch.setattr(hapt, "_LABELS_SHA256", hashlib.sha256(lines.encode()).hexdigest())
    signals = hapt._signal_files()
    monkeypatch.setattr(hapt, "SOURCE", dataclasses.replace(hapt.SOURCE, files=(hapt.LABELS, *signals), archives=()))
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STABLEBENCH_DATA", raising=False)
    return tmp_path / "data"


def filtered(signal: np.ndarray) -> np.ndarray:
    """Filter as the README of the data says, written with other functions: a sorted window, second-order sections."""
    from scipy.signal import butter, sosfiltfilt

    padded = np.vstack([np.zeros((1, 6)), signal, np.zeros((1, 6))])  # medfilt pads with zeros
    median = np.sort(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)[1]

    def low_pass(x: np.ndarray, hz: float) -> np.ndarray:
        return sosfiltfilt(butter(3, hz / 25, output="sos"), x, axis=0, padlen=12)  # filtfilt's 3 * 4 samples

    smooth = low_pass(median, 20)
    gravity = low_pass(smooth[:, :3], 0.3)
    return np.hstack([smooth[:, :3] - gravity, smooth[:, 3:], smooth[:, :3]])


def test_windows_are_cut_from_filtered_recordings(tiny: Path):
    """Windows are cut from filtered recordings where the intervals say."""
    found = hapt.windows(tiny)
    assert found.values.shape == (len(WINDOWS), 128, 9)
    assert found.people.tolist() == [person for _, person, _, _ in WINDOWS]
    assert found.activities.tolist() == [activity for _, _, activity, _ in WINDOWS]
    for values, (experiment, _, _, start) in zip(found.values, WINDOWS, strict=True):
        expected = filtered(recording(experiment, RECORDINGS[experiment - 1][1]))[start : start + 128]
        assert (
            np.abs(values - expected).max() < 1e-8
        )  # two forms of one filter; 0.3 Hz is ill-conditioned as a fraction


def test_examples_are_standardised_by_training_windows(tiny: Path):
    """Examples are standardised by the training windows and split by person."""
    raw = hapt.windows(tiny)
    trained = raw.people != 2
    train, test = (har.load(name, data_dir=tiny) for name in ("train", "test"))
    mean, sd = raw.values[trained].mean((0, 1)), raw.values[trained].std((0, 1))
    expected = torch.from_numpy((raw.values - mean) / sd).float()
    assert torch.equal(train.inputs, expected[torch.from_numpy(trained)])
    assert torch.equal(test.inputs, expected[torch.from_numpy(~trained)])
    assert train.inputs.mean((0, 1)).abs().max() < 1e-6 and (train.inputs.std((0, 1)) - 1).abs().max() < 1e-3
    assert train.inputs.dtype == torch.float32 and train.targets.dtype == torch.int64


def test_two_classes_merge_the_six_as_kusupati_et_al_do(tiny: Path):
    for name in ("train", "test"):
        six, two = (har.load(name, classes=classes, data_dir=tiny).targets for classes in (6, 2))
        names = [("walking", "upstairs", "downstairs", "sitting", "standing", "lying")[i] for i in six.tolist()]
        assert two.tolist() == [int(n in ("lying", "sitting", "upstairs")) for n in names]
    assert har.load("test", classes=6, data_dir=tiny).targets.tolist() == [5, 2]
    assert har.sizes(classes=6).outputs == 6 and har.sizes().outputs == 1  # one logit


def test_no_one_who_validates_is_trained_on(tiny: Path):
    order = har.validation_order(data_dir=tiny)
    people = har.prepare("hapt", tiny)["train_people"]
    assert sorted(order.tolist()) == list(range(7)) and people[order].tolist() == [27, 27, 1, 1, 1, 1, 1]
    card = registry.task_card("har2")
    protocol = card.protocol.model_copy(update={"train": 4, "validation": 2, "test": 2})
    source = Task(card.model_copy(update={"protocol": protocol}), resolve_params(card), tiny)
    assert torch.equal(source.split("validation").inputs, har.load("train", data_dir=tiny).inputs[order[:2]])
    batch = source.train_batch(0, 0, 10)
    assert len(batch.inputs) == 4
    trained = {tuple(window.flatten().tolist()) for window in har.load("train", data_dir=tiny).inputs[people == 1]}
    assert {tuple(window.flatten().tolist()) for window in batch.inputs} <= trained


@pytest.mark.parametrize("form", ["har folder", "tar.xz", "zip", "zip in zip", "gz"])
def test_recordings_are_read_in_every_form(tiny: Path, form: str):
    expected = hapt.windows(tiny).values
    (tiny / "hapt").rename(tiny / "moved")
    inner = {f"HAPT Data Set/{name}": content for name, content in files().items()}
    if form == "har folder":
        (tiny / "moved").rename(tiny / "har")
    elif form == "tar.xz":
        source = dataclasses.replace(hapt.SOURCE, archives=(SourceFile("hapt_rawdata.tar.xz"),))
        hapt.SOURCE = source  # the fixture puts it back
        write(tiny / "har" / "hapt_rawdata.tar.xz", lzma.compress(tar_bytes(files())))
    elif form == "gz":
        import gzip

        for name, content in files().items():
            write(tiny / "hapt" / f"{name}.gz", gzip.compress(content))
    else:
        content = zip_bytes(inner) if form == "zip" else zip_bytes({"HAPT.zip": zip_bytes(inner)})
        write(tiny / "hapt" / "HAPT Data Set.zip", content)
    assert np.array_equal(hapt.windows(tiny).values, expected)


def test_numbers_printed_otherwise_are_the_same_recording(tiny: Path):
    path = tiny / "hapt" / "RawData" / "acc_exp01_user01.txt"
    table = np.loadtxt(path)
    path.write_text("\r\n".join(" ".join(f"{x:.10f}" for x in row) + " " for row in table) + "\r\n\r\n")
    assert len(hapt.windows(tiny).values) == len(WINDOWS)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("acc_exp01_user01.txt", lambda text: text[: len(text) // 2], "acc_exp01_user01.txt .*"),
        (
            "acc_exp02_user02.txt",
            lambda text: text + text[:40].split(b"\n")[0] + b"\n",
            "must have 500 lines, it has 501",
        ),
        ("gyro_exp01_user01.txt", lambda text: b"9" + text[1:], "are not the published ones: their sums differ"),
        ("gyro_exp01_user01.txt", lambda text: b"nan " + text.split(b" ", 1)[1], "their sums differ"),
        ("gyro_exp03_user27.txt", lambda text: b"<html>gone</html>", "is no table of numbers"),
        ("gyro_exp03_user27.txt", lambda text: text.replace(b"\n", b" 1.0\n"), "must have 3 columns"),
        ("labels.txt", lambda text: text.replace(b"264", b"263"), "does not have the published intervals"),
        ("labels.txt", lambda text: None, "lacks RawData/labels.txt"),
    ],
    ids=["cut off", "longer", "tampered", "not a number", "a page", "columns", "intervals", "missing"],
)
def test_other_recordings_are_refused_and_nothing_is_kept(tiny: Path, tmp_path: Path, name, change, message: str):
    path = tiny / "hapt" / "RawData" / name
    content = change(path.read_bytes())
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=f"(?s)^hapt: .*{message}.*stablebench data fetch hapt"):
        har.load("train", data_dir=tiny)
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.suffix != ".lock"] == []


def v1_files() -> dict[str, bytes]:
    """Return the published files with 3 and 2 windows: signal s of window i begins at 100 s + i and rises."""
    made = {}
    for name, count in (("train", 3), ("test", 2)):
        for s, signal in enumerate(uci_har_v1.SIGNALS):
            table = [[100.0 * s + i + t / 1000 for t in range(128)] for i in range(count)]
            made[f"{name}/Inertial Signals/{signal}_{name}.txt"] = text(table)
        made[f"{name}/y_{name}.txt"] = text([[i + 1] for i in range(count)])
        made[f"{name}/subject_{name}.txt"] = text([[7 * i + 1] for i in range(count)])
    return made


@pytest.fixture
def tiny_v1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in v1_files().items():
        write(tmp_path / "data" / "UCI HAR Dataset" / name, content)

    def tiny_file(file: SourceFile) -> SourceFile:
        content = v1_files()[file.path]
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        return SourceFile(file.path, len(content), digest) if file.checksum else file

    changed = dataclasses.replace(uci_har_v1.SOURCE, files=tuple(map(tiny_file, uci_har_v1.SOURCE.files)))
    monkeypatch.setattr(uci_har_v1, "SOURCE", changed)
    monkeypatch.setattr(uci_har_v1, "COUNTS", {"train": 3, "test": 2})
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


def test_published_windows_are_read_in_papers_order_of_signals(tiny_v1: Path):
    """The published windows are read in the papers order of signals."""
    parts: list[tuple[Literal["train", "test"], int]] = [("train", 3), ("test", 2)]
    for name, count in parts:
        found = uci_har_v1.windows(name, tiny_v1)
        window, step, signal = np.ogrid[:count, :128, :9]
        assert np.allclose(found.values, 100.0 * signal + window + step / 1000, atol=1e-9)
        assert found.activities.tolist() == list(range(1, count + 1)) and found.people.tolist() == [1, 8, 15][:count]
    assert uci_har_v1.SIGNALS[::4] == ("body_acc_x", "body_gyro_y", "total_acc_z")
    batch = har.load("train", windows="uci_har_v1", classes=6, data_dir=tiny_v1)
    assert batch.inputs.shape == (3, 128, 9) and batch.targets.tolist() == [0, 1, 2]
    assert batch.inputs.mean((0, 1)).abs().max() < 1e-5


@pytest.mark.parametrize("damage", ["label", "cut off", "nan", "missing"])
def test_other_published_windows_are_refused(tiny_v1: Path, damage: str):
    folder = tiny_v1 / "UCI HAR Dataset" / "train"
    signal = folder / "Inertial Signals" / "total_acc_y_train.txt"
    if damage == "label":
        (folder / "y_train.txt").write_text("6\n6\n6\n")
    elif damage == "missing":
        signal.unlink()
    else:
        content = signal.read_bytes()
        signal.write_bytes(content[: len(content) // 2] if damage == "cut off" else b"nan" + content[5:])
    expected = {"label": "y_train.txt is damaged: its sha256", "missing": "lacks train/Inertial"}
    with pytest.raises(UserError, match=expected.get(damage, "total_acc_y_train.txt (must have 3|is no table)")):
        har.load("train", windows="uci_har_v1", data_dir=tiny_v1)


HAPT_MEANS = (0.0002, -0.0002, 0.0000, 0.0050, -0.0023, -0.0082, 0.8056, 0.0282, 0.0858)
HAPT_SDS = (0.1928, 0.1180, 0.1017, 0.4027, 0.3775, 0.2502, 0.4132, 0.3907, 0.3570)


def test_the_real_recordings_give_the_windows_that_they_should():
    folder = named_data_dir(None)
    if folder is None or access.find(hapt.SOURCE, hapt.LABELS, folder) is None:
        pytest.skip("STABLEBENCH_DATA names no folder with the recordings (hapt/)")
    parts = har.prepare("hapt", folder)
    assert parts["train_activities"].bincount().tolist() == [0, 1226, 1073, 987, 1293, 1423, 1413]
    assert parts["test_activities"].bincount().tolist() == [0, 496, 471, 420, 508, 556, 545]
    assert set(parts["test_people"].tolist()) == hapt.TEST_PEOPLE
    assert set(parts["train_people"].tolist()) == set(range(1, 31)) - hapt.TEST_PEOPLE
    # an independent preparation's figures; they were given with four digits
    assert parts["mean"].tolist() == pytest.approx(HAPT_MEANS, abs=1.0e-4)
    assert parts["sd"].tolist() == pytest.approx(HAPT_SDS, abs=1.0e-4)
    assert har.load("train", data_dir=folder).targets.bincount().tolist() == [3636, 3779]
    assert har.load("test", data_dir=folder).targets.bincount().tolist() == [1472, 1524]
    cards: list[tuple[str, Literal[2, 6]]] = [("har2", 2), ("har6", 6)]
    for name, classes in cards:
        card = registry.task_card(name)
        targets = har.load("test", classes=classes, data_dir=folder).targets
        share = targets.bincount().max().item() / len(targets)
        assert card.baseline("accuracy", resolve_params(card)) == pytest.approx(share, abs=5e-6)
        source = Task(card, resolve_params(card), folder)
        validation, train = (
            source._validation_order[: card.protocol.validation],
            source._validation_order[-(card.protocol.train or 0) :],
        )
        people = parts["train_people"]
        assert set(people[validation].tolist()) == set(har.VALIDATION_PEOPLE)
        assert not set(people[train].tolist()) & set(har.VALIDATION_PEOPLE) and len(train) == len(source._train.inputs)
