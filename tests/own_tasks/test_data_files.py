"""A data file of the user's own: what it may hold, and one message for each way in which it is wrong."""

import importlib.util
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_files import arrays, write_npz

from stablebench.data.own.sources import OwnFile
from stablebench.errors import UserError
from stablebench.schema.own_data import Hints, OwnData


def examples(path: Path, hints: Hints | None = None, **data: Any) -> OwnFile:
    return OwnFile(path.name, path.read_bytes(), OwnData(file=path.name, **data), hints or Hints())


def test_classes_are_numbered_and_split_by_seed(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", y=np.array(["cat", "dog", "eel"])[arrays()["y"]])
    file = examples(tmp_path / "a.npz")
    assert file.kind.classes and file.counts == {"train": 42, "validation": 9, "test": 9}
    assert (file.sizes().inputs, file.sizes().outputs, file.sizes().steps) == (2, 3, 7)
    rows = torch.cat(list(file.rows.values()))
    assert sorted(rows.tolist()) == list(range(60))
    train = file.load("train")
    assert torch.equal(train.targets, file.rows["train"] % 3)
    assert np.allclose(train.inputs, arrays()["x"][file.rows["train"]].astype(np.float32))
    assert torch.equal(examples(tmp_path / "a.npz").rows["test"], file.rows["test"])
    other = examples(tmp_path / "a.npz", shares={"seed": 1, "test": 0.5})
    assert other.counts == {"train": 21, "validation": 9, "test": 30}
    assert not torch.equal(other.rows["test"][:9], file.rows["test"])


def test_a_file_may_say_its_parts(tmp_path: Path) -> None:
    words = np.array(["train"] * 40 + ["val"] * 8 + ["test"] * 12)
    write_npz(tmp_path / "a.npz", split=words)
    assert examples(tmp_path / "a.npz").counts == {"train": 40, "validation": 8, "test": 12}
    write_npz(tmp_path / "b.npz", split=None, fold=np.array([0] * 40 + [2] * 20))
    assert examples(tmp_path / "b.npz", split="fold").counts == {"train": 34, "validation": 6, "test": 20}
    x, y = arrays()["x"], arrays()["y"]
    apart = {"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:]}
    write_npz(tmp_path / "c.npz", x=None, y=None, **apart)
    file = examples(tmp_path / "c.npz")
    assert file.counts == {"train": 34, "validation": 6, "test": 20}
    assert np.allclose(file.load("test").inputs, x[40:].astype(np.float32))


def test_padding_counts_for_nothing(tmp_path: Path) -> None:
    """What lies behind a sequence's length may be anything, and neither it nor its target is scored."""
    x, lengths = arrays()["x"], 2 + np.arange(60) % 6
    steps = np.arange(7) < lengths[:, None]
    x = np.where(steps[:, :, None], x, np.nan)
    write_npz(tmp_path / "a.npz", x=x, y=np.where(steps, x.sum(2), np.inf), lengths=lengths)
    batch = (file := examples(tmp_path / "a.npz")).load("train")
    assert file.kind.readout == "every" and not file.kind.classes
    assert batch.mask is not None and batch.lengths is not None
    assert torch.equal(batch.mask.sum(1), batch.lengths)
    assert batch.inputs.isfinite().all() and batch.targets.isfinite().all() and batch.targets.shape[2] == 1
    assert not batch.inputs[~batch.mask].any()


@pytest.mark.parametrize(
    ("x", "y", "hints", "shows"),
    [
        ((60, 7), (60,), {}, ("values", "last", 1, 1)),
        ((60, 7), (60, 3), {}, ("values", "last", 1, 3)),
        ((60, 7), (60, 7), {}, ("values", "every", 1, 1)),
        ((60, 7), (60, 7), {"readout": "last"}, ("values", "last", 1, 7)),
        ((60, 7, 4), (60, 7, 2), {}, ("values", "every", 4, 2)),
        ((60, 7), (60, 2), {"input": "static"}, ("static", "last", 7, 2)),
    ],
)
def test_shapes_show_what_is_read(x, y, hints, shows, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    write_npz(tmp_path / "a.npz", x=rng.normal(size=x), y=rng.normal(size=y))
    file = examples(tmp_path / "a.npz", Hints(**hints))
    assert (file.kind.input, file.kind.readout, file.sizes().inputs, file.sizes().outputs) == shows


def test_whole_numbers_are_tokens_unless_the_card_says_values(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", x=np.arange(60 * 7).reshape(60, 7) % 9)
    assert (examples(tmp_path / "a.npz").kind.input, examples(tmp_path / "a.npz").sizes().inputs) == ("tokens", 9)
    values = examples(tmp_path / "a.npz", Hints(input="values"))
    assert values.load("test").inputs.dtype == torch.float32 and values.sizes().inputs == 1
    write_npz(tmp_path / "b.npz", x=np.arange(60 * 7).reshape(60, 7) * 50)
    with pytest.raises(UserError, match="`x`: has whole numbers up to 20,950: say in the card whether they are"):
        examples(tmp_path / "b.npz")


def test_a_table_has_a_row_for_a_sequence_or_for_a_step(tmp_path: Path) -> None:
    wide = "a,b,c,label\n" + "".join(f"{i},{i + 0.5},{-i},{'up' if i % 2 else 'down'}\n" for i in range(40))
    (tmp_path / "wide.csv").write_text(wide)
    file = examples(tmp_path / "wide.csv")
    assert file.load("train").inputs.shape == (28, 3, 1) and file.sizes().outputs == 2
    lines = [f"{name};{step};{step * 2.0};{len(name)}" for name in map("x".__mul__, range(1, 31)) for step in range(3)]
    (tmp_path / "long.csv").write_text("id;u;v;y\n" + "\n".join([*lines, "x;3;6.0;1"]))
    file = examples(tmp_path / "long.csv", Hints(loss="mse"), sequence="id", targets="y")
    batch = file.load("train")
    assert file.sizes().inputs == 2 and batch.inputs.shape[1] == 4 and batch.targets.shape[1:] == (1,)
    assert batch.lengths is not None and set(batch.lengths.tolist()) <= {3, 4}


def changed(name: str, place: Any, value: Any) -> Any:
    """Return an array with one value replaced."""
    array = arrays()[name].astype(float)
    array[place] = value
    return array


OBJECTS = np.empty(60, dtype=object)
OBJECTS[:] = [np.zeros(3 + i % 2) for i in range(60)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": changed("x", (17, 3, 1), np.nan)}, "`x`, row 17: must be finite numbers, got nan at step 3, feature 1"),
        ({"y": changed("y", 5, np.inf)}, r"a\.npz: `y`, row 5: must be finite numbers, got inf"),
        ({"x": changed("x", (2, 0, 0), 1e300)}, r"`x`, row 2: must be finite numbers, and at most 3\.4e38 in size"),
        ({"x": OBJECTS}, "`x` is an array of Python objects, which is never unpickled"),
        ({"y": arrays()["y"][:-1]}, "`x` has 60 rows and `y` 59: row 59 of the longer one"),
        ({"lengths": np.full(60, 7)[:-2]}, "`x` has 60 rows and `lengths` 58"),
        ({"lengths": np.where(np.arange(60) == 9, 8, 7)}, r"`lengths`, row 9: must be 1 \.\.\. 7, the steps of"),
        ({"lengths": np.full(60, 2.5)}, "`lengths`, row 0: must be whole numbers, got 2.5"),
        ({"x": np.zeros((60, 7, 2), complex)}, "`x`: must be numbers, got the type complex128"),
        ({"x": np.full((60, 7), "a")}, "`x`: must be numbers, got the type <U1"),
        ({"y": np.zeros(60, "datetime64[s]")}, "`y`: must be numbers, got the type datetime64"),
        ({"x": np.zeros(60)}, r"`x`: must be \(rows, time, features\), got shape \(60,\)"),
        ({"x": np.zeros((60, 0, 2))}, "`x`: must have steps and features"),
        ({"x": np.zeros((0, 7, 2)), "y": np.zeros(0)}, "`x`: must have a row for each sequence, got none"),
        ({"y": np.zeros((60, 4), int)}, r"`y`: must be \(rows,\), or \(rows, 7\) for one a step, got shape \(60, 4\)"),
        ({"y": np.zeros(60, int)}, r"`y`: must have at least two classes, got \[0\]"),
        ({"y": None}, "no array is called `targets` or `y` or `Y`; name the one with the targets in the card"),
        ({"x": None, "z": np.zeros(3)}, "Its arrays: y, z"),
        ({"split": np.array(["train"] * 59 + ["tset"])}, "`split`, row 59: must be train, validation or test"),
        ({"split": np.array(["train"] * 60)}, "the test part is empty"),
        ({"x": np.zeros((60, 7), int) - 1}, "`x`, row 0: tokens must be >= 0, got -1 at step 0; numbers that"),
        (
            {"split": np.array(["train"] * 40 + ["test"] * 20), "y": np.array([0, 1] * 20 + [2] * 20)},
            "`y`: no training example has the class 2",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_file_array_and_row(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", **content)
    with pytest.raises(UserError, match=message) as caught:
        examples(tmp_path / "a.npz")
    assert str(caught.value).startswith("a.npz: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "data", "message"),
    [
        (b"PK\x03\x04 nothing", {}, "a.npz: must be an .npz file"),
        (b"\x80\x04N.", {}, "a.npz: must be an .npz file"),
        (b"", {}, "a.npz: must be an .npz file"),
        (None, {"inputs": "xs"}, "there is no array `xs`. Did you mean x?"),
        (None, {"inputs": ["x", "y"]}, "a list names columns of a table"),
        (None, {"classes": 2}, r"`y`, row 2: must be a class 0 ... 1, got 2"),
    ],
)
def test_other_files_and_names_are_refused(content: bytes | None, data: Any, message: str, tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz")
    if content is not None:
        (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match=message.replace(".", r"\.").replace("?", r"\?")):
        examples(tmp_path / "a.npz", **data)


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.npz") as file:
        place = file.getinfo("x.npy").header_offset
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[place + 400] ^= 255
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(UserError, match="`x` is damaged"):
        examples(tmp_path / "a.npz")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    ran: list[str] = []

    class Runs:
        def __reduce__(self) -> Any:
            return (ran.append, ("ran",))

    objects = np.empty(60, dtype=object)
    objects[0] = Runs()
    write_npz(tmp_path / "a.npz", y=objects)
    with pytest.raises(UserError, match="`y` is an array of Python objects"):
        examples(tmp_path / "a.npz")
    assert ran == []


ROWS = "".join(f"{i},{i},{i % 2}\n" for i in range(20))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,y\n" + ROWS + "1,2\n", "line 22: must have 3 cells, as the first line, got 2"),
        ("a,b,y\n" + ROWS + "1.5,,1\n", "`inputs`, line 22: must be finite numbers, got nan at step 1"),
        ("a,b,y\n" + ROWS + "1,x,1\n", "column `b`, line 22: must be a number, got 'x'"),
        (ROWS, "line 1: must name the columns, got numbers"),
        ("a,a,y\n" + ROWS, "line 1: the column `a` stands twice"),
        ("a,b,y\n", "must have a line that names the columns, and rows below it"),
        ("a,b,z\n" + ROWS, "no column is called `targets` or `y` or `Y`"),
        ("id,b,y\n" + ROWS, "the column `id` seems to name the rows, and would be an input"),
        (",b,y\n" + ROWS, "the column `` seems to name the rows"),
    ],
)
def test_a_table_s_mistakes_are_named_with_their_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        examples(tmp_path / "a.csv", Hints(input="values"))


def test_a_column_that_a_card_names_is_an_input(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,b,y\n" + ROWS)
    file = examples(tmp_path / "a.csv", Hints(input="values"), inputs=["id", "b"], targets="y")
    assert file.load("train").inputs.shape[1:] == (2, 1)


def test_parquet_without_a_reader_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    before = importlib.util.find_spec
    readers = ("pyarrow", "polars")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in readers else before(name, *a))
    with pytest.raises(UserError, match=r"needs pyarrow or polars, and neither is installed: `pip install pyarrow`"):
        examples(tmp_path / "a.parquet")


def test_parquet_is_read_by_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of several lengths become padded sequences; a stand-in takes the place of the reader."""

    class Column(list):
        def to_numpy(self) -> np.ndarray:
            column = np.empty(len(self), dtype=object)
            column[:] = self
            return column if not isinstance(self[0], int) else np.array(self)

    class Table(dict):
        column_names = ("s", "y")
        column = dict.__getitem__

    table = Table(s=Column([np.arange(2.0 + i % 3) for i in range(30)]), y=Column([i % 2 for i in range(30)]))
    reader = type("reader", (), {"read_table": staticmethod(lambda file: table)})
    before = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", lambda name: reader if name == "pyarrow.parquet" else before(name))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    batch = examples(tmp_path / "a.parquet").load("train")
    assert batch.inputs.shape[1:] == (4, 1) and batch.lengths is not None and set(batch.lengths.tolist()) == {2, 3, 4}
