"""The arrays of a data file of the user's own: .npz, .csv or .parquet. Nothing in a file is unpickled or run."""

import csv
import importlib
import importlib.util
import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stablebench.errors import UserError, did_you_mean, first_line

DELIMITERS = ",;\t"
_DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, ValueError, NotImplementedError)


@dataclass(frozen=True)
class Arrays:
    """The arrays of a file, by name.

    Args:
        path: The file, as messages name it.
        names: Their names, in the order of the file.
        read: Returns one of them.
        first_line: Line of the first row, of a text with one row a line; None of a file without lines.
    """

    path: str
    names: tuple[str, ...]
    read: Callable[[str], np.ndarray]
    first_line: int | None = None
    is_table: bool = False

    def row(self, index: int) -> str:
        """Return what a row, from 0, is called."""
        return f"row {index}" if self.first_line is None else f"line {index + self.first_line}"

    def named(self, name: str) -> np.ndarray:
        """Return an array that must be there.

        Raises:
            UserError: It is not there, or holds no plain values.
        """
        if name not in self.names:
            what = "column" if self.is_table else "array"
            raise UserError(
                f"{self.path}: there is no {what} `{name}`.{did_you_mean(name, self.names)} "
                f"It has {', '.join(map(str, self.names[:12])) or 'none'}."
            )
        return self.read(name)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        UserError: It cannot be read.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except MemoryError:
        raise UserError(f"{path}: has {path.stat().st_size:,} bytes, more than there is memory.") from None


def arrays_of(path: str, data: bytes) -> Arrays:
    """Return the arrays of a file.

    Args:
        path: The file, whose ending says what it is.
        data: Its content.

    Raises:
        UserError: It is no such file.
    """
    ending = Path(path).suffix.lower()
    if ending == ".npz":
        return _of_npz(path, data)
    columns, first = (_csv_columns(path, data), 2) if ending == ".csv" else (_parquet_columns(path, data), None)
    return Arrays(path, tuple(columns), columns.__getitem__, first, is_table=True)


def _of_npz(path: str, data: bytes) -> Arrays:
    try:
        file: Any = np.load(io.BytesIO(data), allow_pickle=False)
    except _DAMAGED:
        file = None
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise UserError(f"{path}: must be an .npz file, as `numpy.savez(path, x=..., y=...)` writes it.")

    def read(name: str) -> np.ndarray:
        try:
            return np.asarray(file[name])
        except MemoryError:
            raise UserError(f"{path}: `{name}` has more values than there is memory.") from None
        except _DAMAGED as error:
            if "Object arrays" in str(error):
                raise UserError(
                    f"{path}: `{name}` is an array of Python objects, which is never unpickled. Sequences of several "
                    "lengths are stored padded to one length, as numbers, next to an array `lengths`."
                ) from None
            raise UserError(f"{path}: `{name}` is damaged ({first_line(error)}).") from None

    return Arrays(path, tuple(file.files), read)


def _csv_columns(path: str, data: bytes) -> dict[str, np.ndarray]:
    """Return the columns of a text whose first line names them; the delimiter is a comma, semicolon or tab."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: must be UTF-8 text (byte {error.start} is not).") from None
    delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
    try:
        lines = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}: is not valid CSV ({error}).") from None
    while lines and not any(lines[-1]):
        lines.pop()
    if len(lines) < 2:
        raise UserError(f"{path}: must have a line that names the columns, and rows below it.")
    header = [name.strip() for name in lines[0]]
    if all(map(_is_number, header)):
        raise UserError(f"{path}: line 1: must name the columns, got numbers ({', '.join(header[:3])} ...).")
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise UserError(f"{path}: line 1: the column `{twice[0]}` stands twice.")
    for number, cells in enumerate(lines[1:], start=2):
        if len(cells) != len(header):
            raise UserError(
                f"{path}: line {number}: must have {len(header)} cells, as the first line, got {len(cells)}."
            )
    return {name: _typed(cells) for name, cells in zip(header, zip(*lines[1:], strict=True), strict=True)}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _typed(cells: tuple[str, ...]) -> np.ndarray:
    """Return cells as whole numbers, else numbers (an empty one is NaN), else words."""
    words = np.array([cell.strip() for cell in cells])
    for kind, texts in ((np.int64, words), (np.float64, np.where(words == "", "nan", words))):
        try:
            return texts.astype(kind)
        except (ValueError, OverflowError):
            continue
    return words


def _parquet_columns(path: str, data: bytes) -> dict[str, np.ndarray]:
    reader = next((name for name in ("pyarrow", "polars") if importlib.util.find_spec(name)), None)
    if reader is None:
        raise UserError(
            f"{path}: a .parquet file needs pyarrow or polars, and neither is installed: `pip install pyarrow`, or "
            "save the data as .npz or .csv."
        )
    try:
        if reader == "pyarrow":
            table = importlib.import_module("pyarrow.parquet").read_table(io.BytesIO(data))
            columns = {name: table.column(name).to_numpy() for name in table.column_names}
        else:
            frame = importlib.import_module("polars").read_parquet(io.BytesIO(data))
            columns = {name: frame[name].to_numpy() for name in frame.columns}
    except Exception as error:  # whatever a reader raises about a file that is none
        raise UserError(f"{path}: is no readable .parquet file ({first_line(error)}).") from None
    return {name: _plain(column) for name, column in columns.items()}


def _plain(column: np.ndarray) -> np.ndarray:
    """Return a column of texts as such; one of lists stays as it is."""
    column = np.asarray(column)
    if column.dtype == object and all(isinstance(cell, str) for cell in column):
        return column.astype(str)
    return column
