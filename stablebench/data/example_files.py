"""A task's examples as files: one a split, an example a row, its arrays as lists; numbers are exact.

JSON Lines needs nothing else installed, Parquet pyarrow. Examples are written some at a time, so that no split has to
fit into memory as lists.
"""
# pyright: reportMissingImports=false
# pyarrow is an extra

import contextlib
import hashlib
import importlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stablebench.data.batch import Batch
from stablebench.data.task import Task
from stablebench.errors import StablebenchError, UserError
from stablebench.process.extras import require
from stablebench.schema.own_data import OwnData

ExampleFormat = Literal["jsonl", "parquet"]
Columns = dict[str, np.ndarray]
"""Arrays by name, an example a row."""
_ROWS = 100
"""Examples that are lists at once."""


@dataclass(frozen=True)
class ExampleFile:
    """A file of examples.

    Args:
        split: `train`, `validation` or `test`.
        name: The file's name.
        examples: How many it has.
        n_bytes: Its size.
        sha256: Its digest.
        shapes: Of each field, the shape of one example; () for a single number.
        types: Of each field, numpy's name of its type.
    """

    split: str
    name: str
    examples: int
    n_bytes: int
    sha256: str
    shapes: dict[str, tuple[int, ...]]
    types: dict[str, str]


def check_exportable(task: Task, fmt: ExampleFormat) -> None:
    """Hold that a task's examples are generated, and can be written in a format.

    Raises:
        UserError: They are not, or pyarrow is not installed.
    """
    if not task.card.data.generator:
        whence = (
            "They are in the file that the task names."
            if isinstance(task.card.data, OwnData)
            else "Real data sets come from their publishers: `stablebench data list` has sources and terms."
        )
        raise UserError(
            f"task {task.card.task}: must be one whose examples are generated, these are a fixed data set. {whence}"
        )
    if fmt == "parquet":
        require("pyarrow", "--format parquet")


def splits_of(task: Task, train: int, seed: int) -> dict[str, Callable[[], Batch]]:
    """Return what gives the examples of each split.

    Args:
        task: The task.
        train: Training examples, >= 0; at 0 there is no such split.
        seed: Whose training examples: the first ones of a run of this seed at the card's batch size.
    """
    size = task.protocol.batch_size
    given: dict[str, Callable[[], Batch]] = {
        "validation": lambda: task.split("validation"),
        "test": lambda: task.split("test"),
    }
    if train:
        given = {"train": lambda: _first_examples(task, train, seed, size)} | given
    return given


def _first_examples(task: Task, count: int, seed: int, size: int) -> Batch:
    from stablebench.data.task import first, joined

    return first(joined([task.train_batch(seed, index, size) for index in range(-(-count // size))]), count)


def columns_of(batch: Batch) -> Columns:
    """Return the parts of a batch that are there."""
    return {name: part.numpy() for name, part in batch._asdict().items() if part is not None}


def write_examples(folder: Path, split: str, batch: Batch, fmt: ExampleFormat) -> ExampleFile:
    """Write the examples of a split to `<split>.<format>` of a folder; a file is whole or not there.

    Raises:
        StablebenchError: The disk does not take it.
    """
    columns = columns_of(batch)
    path = folder / f"{split}.{fmt}"
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        {"jsonl": _write_jsonl, "parquet": _write_parquet}[fmt](temporary, split, columns)
        digest = hashlib.sha256()
        with temporary.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
        n_bytes = temporary.stat().st_size
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise StablebenchError(f"{path}: cannot be written ({error.strerror}).") from error
    return ExampleFile(
        split,
        path.name,
        len(batch.inputs),
        n_bytes,
        digest.hexdigest(),
        {name: array.shape[1:] for name, array in columns.items()},
        {name: array.dtype.name for name, array in columns.items()},
    )


def _blocks(columns: Columns) -> Iterator[dict[str, list[Any]]]:
    for start in range(0, len(columns["inputs"]), _ROWS):
        yield {name: array[start : start + _ROWS].tolist() for name, array in columns.items()}


def _write_jsonl(path: Path, split: str, columns: Columns) -> None:
    with path.open("w", encoding="utf-8") as file:
        for block in _blocks(columns):
            for values in zip(*block.values(), strict=True):
                file.write(json.dumps({"split": split} | dict(zip(block, values, strict=True))) + "\n")


def _write_parquet(path: Path, split: str, columns: Columns) -> None:
    pyarrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    schema = pyarrow.schema({"split": pyarrow.string()} | {name: _arrow(a, pyarrow) for name, a in columns.items()})
    with parquet.ParquetWriter(path, schema) as writer:
        for block in _blocks(columns):
            rows = {"split": [split] * len(block["inputs"])} | block
            writer.write_table(pyarrow.table(rows, schema=schema))


def _arrow(array: np.ndarray, pyarrow: Any) -> Any:
    """Return pyarrow's type of one example: lists in lists, one a dimension."""
    kind = pyarrow.from_numpy_dtype(array.dtype)
    for _ in array.shape[1:]:
        kind = pyarrow.list_(kind)
    return kind


def totals(files: Iterable[ExampleFile]) -> str:
    """Return how many examples each file has, as text."""
    return ", ".join(f"{file.split} {file.examples:,}" for file in files)
