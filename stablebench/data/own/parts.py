"""From the arrays or columns of a data file to sequences, targets, lengths and parts: what is called what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stablebench.data.own.arrays import Arrays
from stablebench.errors import UserError
from stablebench.schema.own_data import OwnData

INPUTS = ("inputs", "x", "X", "sequences", "data", "series")
TARGETS = ("targets", "y", "Y", "labels", "target", "label", "class")
LENGTHS = ("lengths", "length")
SPLITS = ("split", "splits")
_ROW_NAMES = ("", "id", "ids", "index", "row", "unnamed: 0", "__index_level_0__")  # the last two as pandas writes them
PARTS = {"train": 0, "validation": 1, "test": 2}
_SPELLINGS = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}
_PART_OF = {word: part for part, words in _SPELLINGS.items() for word in words}


@dataclass(frozen=True)
class Parts:
    """Sequences and what belongs to each, row by row, as they came.

    Args:
        where: The file, or the function that drew them.
        inputs: (rows, time), (rows, time, features) or (rows, features).
        targets: (rows,), (rows, time), (rows, out) or (rows, time, out).
        lengths: (rows,) or None.
        split: (rows,) words or 0, 1, 2; None where the file does not say.
        names: What inputs, targets, lengths and split are called.
        rows: What each row is called; None for its number.
    """

    where: str
    inputs: np.ndarray
    targets: np.ndarray
    lengths: np.ndarray | None = None
    split: np.ndarray | None = None
    names: tuple[str, str, str, str] = ("inputs", "targets", "lengths", "split")
    rows: Sequence[str] | None = None

    def row(self, index: int) -> str:
        """Return what a row, from 0, is called."""
        return f"row {index}" if self.rows is None else self.rows[index]

    def wrong(self, name: str, row: int | None, text: str) -> UserError:
        """Return the error for an array, or one row of it."""
        where = "" if row is None else f", {self.row(row)}"
        return UserError(f"{self.where}: `{name}`{where}: {text}")


def parts_of(arrays: Arrays, data: OwnData) -> Parts:
    """Return the sequences of a file.

    Raises:
        UserError: An array is missing, or the rows of two do not match.
    """
    if arrays.is_table:
        return _of_table(arrays, data)
    inputs, targets = _single(data.inputs, "inputs"), _single(data.targets, "targets")
    whole = _present(arrays, inputs, INPUTS)
    if whole is None and (apart := _apart(arrays, inputs, targets, data.lengths)) is not None:
        return apart
    if whole is None:
        raise _missing(arrays, "inputs", INPUTS)
    named = _present(arrays, targets, TARGETS)
    if named is None:
        raise _missing(arrays, "targets", TARGETS)
    lengths = _present(arrays, data.lengths, LENGTHS)
    split = _split_name(arrays, data)
    return _matched(_read(arrays, whole, named, lengths, split))


def _read(arrays: Arrays, inputs: str, targets: str, lengths: str | None, split: str | None = None) -> Parts:
    x, y = arrays.named(inputs), arrays.named(targets)
    others = [None if name is None else arrays.named(name) for name in (lengths, split)]
    return Parts(arrays.path, x, y, *others, names=(inputs, targets, lengths or "lengths", split or "split"))


def _single(names: str | list[str] | None, key: str) -> str | None:
    if isinstance(names, list):
        raise UserError(f"data.{key}: a list names columns of a table; an .npz file has one array, got {names}.")
    return names


def _split_name(arrays: Arrays, data: OwnData) -> str | None:
    """Return what says of each row which part it is of; shares in the card come before what the file says."""
    if data.shares is not None and data.split is None:
        return None
    return _present(arrays, data.split, SPLITS)


def _present(arrays: Arrays, name: str | None, usual: tuple[str, ...]) -> str | None:
    """Return the name that the card gives, else the first usual one that is there."""
    if name is not None and name in arrays.names:
        return name
    if name is not None and not any(f"{name}_train" == other for other in arrays.names):
        arrays.named(name)
    return None if name is not None else next((other for other in usual if other in arrays.names), None)


def _missing(arrays: Arrays, key: str, usual: tuple[str, ...]) -> UserError:
    there = ", ".join(map(str, arrays.names[:12])) or "none"
    what = "columns" if arrays.is_table else "arrays"
    return UserError(
        f"{arrays.path}: no {what[:-1]} is called {' or '.join(f'`{name}`' for name in usual[:3])}; name the one with "
        f"the {key} in the card, `data: {{file: ..., {key}: NAME}}`. Its {what}: {there}."
    )


def _apart(arrays: Arrays, inputs: str | None, targets: str | None, lengths: str | None) -> Parts | None:
    """Return the sequences of a file with an array for each part: x_train, y_train, x_test, y_test."""

    def name_in(part: str, usual: tuple[str, ...]) -> str | None:
        candidates = [f"{base}_{word}" for base in usual for word in _SPELLINGS[part]]
        candidates += [f"{word}_{base}" for base in usual for word in _SPELLINGS[part]]
        return next((name for name in candidates if name in arrays.names), None)

    stacked: dict[str, list[np.ndarray]] = {"inputs": [], "targets": [], "lengths": [], "split": []}
    rows: list[str] = []
    shown: dict[str, str] = {}
    usual = [
        (given,) if given else names for given, names in ((inputs, INPUTS), (targets, TARGETS), (lengths, LENGTHS))
    ]
    for part in PARTS:
        x, y, real = (name_in(part, names) for names in usual)
        if x is None:
            continue
        if y is None:
            raise UserError(f"{arrays.path}: there is `{x}`, and no targets of that part, such as `y_{part}`.")
        own = _matched(_read(arrays, x, y, real))
        count = len(own.inputs)
        for key, array in zip(stacked, (own.inputs, own.targets, own.lengths), strict=False):
            if array is not None:
                stacked[key].append(array)
        stacked["split"].append(np.full(count, PARTS[part]))
        rows += [f"row {i} of `{x}`" for i in range(count)]
        shown |= {"inputs": shown.get("inputs", x), "targets": shown.get("targets", y)}
        for key, first in (("inputs", stacked["inputs"][0]), ("targets", stacked["targets"][0])):
            if stacked[key][-1].shape[1:] != first.shape[1:]:
                name = x if key == "inputs" else y
                raise UserError(
                    f"{arrays.path}: `{name}` must have the shape of `{shown[key]}` but for its rows, "
                    f"{first.shape[1:]}, got {stacked[key][-1].shape[1:]}; pad both to one length and give `lengths`."
                )
    if not stacked["inputs"]:
        return None
    if stacked["lengths"] and len(stacked["lengths"]) < len(stacked["inputs"]):
        raise UserError(f"{arrays.path}: each part must have its lengths, `lengths_train` and so on, or none of them.")
    joined: dict[str, Any] = {key: np.concatenate(values) if values else None for key, values in stacked.items()}
    return Parts(arrays.path, **joined, names=(shown["inputs"], shown["targets"], "lengths", "split"), rows=rows)


def _matched(parts: Parts) -> Parts:
    """Return parts, having checked that all have as many rows."""
    rows = len(parts.inputs) if parts.inputs.ndim else 0
    if not rows:
        raise parts.wrong(parts.names[0], None, "must have a row for each sequence, got none.")
    for name, array in zip(parts.names[1:], (parts.targets, parts.lengths, parts.split), strict=True):
        if array is not None and (array.ndim == 0 or len(array) != rows):
            count = len(array) if array.ndim else 0
            raise UserError(
                f"{parts.where}: `{parts.names[0]}` has {rows} rows and `{name}` {count}: row {min(rows, count)} of "
                "the longer one has no partner."
            )
    return parts


def _of_table(arrays: Arrays, data: OwnData) -> Parts:
    """Return the sequences of a table: one row a sequence, or one row a step where `sequence` names the column."""
    wanted = [data.targets] if isinstance(data.targets, str) else data.targets
    if wanted is None:
        named = _present(arrays, None, TARGETS)
        if named is None:
            raise _missing(arrays, "targets", TARGETS)
        wanted = [named]
    lengths, split = _present(arrays, data.lengths, LENGTHS), _split_name(arrays, data)
    taken = {*wanted, lengths, split, data.sequence}
    inputs = [data.inputs] if isinstance(data.inputs, str) else data.inputs
    if inputs is None:
        inputs = [name for name in arrays.names if name not in taken]
        if row_names := [name for name in inputs if name.lower() in _ROW_NAMES]:
            raise UserError(
                f"{arrays.path}: the column `{row_names[0]}` seems to name the rows, and would be an input: leave it "
                "out, or name the columns of the inputs in a card, `data: {file: ..., inputs: [...]}`. Where a "
                "sequence has several rows, `data.sequence` is the column that names the sequences."
            )
    if not inputs:
        raise UserError(f"{arrays.path}: there is no column left for the inputs.")
    columns = {name: arrays.named(name) for name in [*inputs, *wanted]}
    for name in inputs:
        if columns[name].dtype.kind in "US":
            bad = next((i for i, cell in enumerate(columns[name]) if not _number(str(cell))), 0)
            raise UserError(
                f"{arrays.path}: column `{name}`, {arrays.row(bad)}: must be a number, got '{columns[name][bad]}'. "
                "`data.inputs` names the columns of the inputs, `data.sequence` that of the sequences' names."
            )
    x, y = [columns[name] for name in inputs], [columns[name] for name in wanted]
    target = y[0] if len(y) == 1 else np.stack(y, 1)
    names = (inputs[0] if len(inputs) == 1 else "inputs", wanted[0], lengths or "lengths", split or "split")
    parts = None if split is None else arrays.named(split)
    real = None if lengths is None else arrays.named(lengths)
    rows = [arrays.row(i) for i in range(len(target))]
    if data.sequence is None:
        x_rows, own = (np.stack(x, 1), None) if not any(c.dtype == object for c in x) else _padded(x, arrays, inputs)
        return _matched(Parts(arrays.path, x_rows, target, real if own is None else own, parts, names, rows))
    ids, first, of_row = np.unique(arrays.named(data.sequence), return_index=True, return_inverse=True)
    order = np.argsort(first)  # in the order of the file
    steps = [np.flatnonzero(of_row == number) for number in order]
    constant = all(np.all(target[own] == target[own[0]]) for own in steps)
    longest = max(map(len, steps))
    stacked = np.stack(x, 1)
    padded = np.zeros((len(ids), longest, len(x)), stacked.dtype)
    at_steps = np.zeros((len(ids), longest, *target.shape[1:]), target.dtype)
    for i, own in enumerate(steps):
        padded[i, : len(own)], at_steps[i, : len(own)] = stacked[own], target[own]
        if parts is not None and np.any(parts[own] != parts[own[0]]):
            raise UserError(f"{arrays.path}: `{split}`, {arrays.row(int(own[0]))}: a sequence must be of one part.")
    heads = np.array([own[0] for own in steps])
    counts = np.array([len(own) for own in steps])
    return Parts(
        arrays.path,
        padded,
        target[heads] if constant else at_steps,
        None if np.all(counts == longest) else counts,
        None if parts is None else parts[heads],
        names,
        [rows[head] for head in heads],
    )


def _padded(columns: list[np.ndarray], arrays: Arrays, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return columns whose cells are lists as (rows, time, features), padded with zeros, and the lengths."""
    count = len(columns[0])
    cells = [[np.asarray([] if cell is None else cell) for cell in column] for column in columns]
    lengths = np.array([len(cell) if cell.ndim == 1 else 0 for cell in cells[0]])
    padded = np.zeros((count, max(lengths.max(initial=1), 1), len(columns)))
    for feature, column in enumerate(cells):
        for i, cell in enumerate(column):
            if cell.ndim != 1 or len(cell) != lengths[i] or not len(cell) or cell.dtype.kind not in "iufb":
                raise UserError(
                    f"{arrays.path}: `{names[feature]}`, {arrays.row(i)}: must be a list of numbers, as long as those "
                    "of the row's other columns."
                )
            padded[i, : len(cell), feature] = cell
    return padded, lengths


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def part_numbers(parts: Parts) -> np.ndarray | None:
    """Return of each row 0, 1 or 2: train, validation, test; None where the file does not say.

    Raises:
        UserError: A row says something else.
    """
    if parts.split is None:
        return None
    numbers = np.full(len(parts.split), -1)
    for i, word in enumerate(parts.split.tolist()):
        part = PARTS.get(_PART_OF.get(word.strip().lower(), "")) if isinstance(word, str) else word
        if part not in (0, 1, 2):
            raise parts.wrong(parts.names[3], i, f"must be train, validation or test (or 0, 1, 2), got {word!r}.")
        numbers[i] = part
    return numbers
