"""Rows as a file that other programs read: Parquet, CSV or JSON Lines, as the file's ending says."""
# pyright: reportMissingImports=false
# pyarrow and polars are an extra

import importlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stablebench.errors import UserError
from stablebench.process.extras import require
from stablebench.runs.atomic import write_atomically
from stablebench.tables import Table, render

Rows = Sequence[Mapping[str, Any]]
_LARGEST = 2**63 - 1
"""The largest whole number that a column of such numbers takes."""


def columns_of(rows: Rows) -> dict[str, list[Any]]:
    """Return the values of rows by column, in the order in which the columns first come; None where a row has none."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def check_table_file(path: Path, hint: str = "") -> None:
    """Hold that rows can be written to a file of this name.

    Args:
        path: The file.
        hint: What the message ends with where the ending is another one.

    Raises:
        UserError: Its ending is none of the three, or nothing that writes Parquet is installed.
    """
    if path.suffix.lower() not in _WRITERS:
        raise UserError(f"{path}: must end in {', '.join(_WRITERS)}.{hint}")
    if path.suffix.lower() == ".parquet":
        require("pyarrow", str(path), "polars")


def write_rows(path: Path, rows: Rows) -> None:
    """Write rows to a file, which is whole or not there.

    A column has one type: what mixes types, and what holds lists, is JSON text in Parquet. A number that is not finite
    is empty in CSV and null in JSON.

    Args:
        path: The file; its ending says the format.
        rows: Values by column.

    Raises:
        UserError: The ending is none of `.parquet`, `.csv`, `.jsonl`, or nothing that writes Parquet is installed.
        StablebenchError: The disk does not take it.
    """
    check_table_file(path)
    write_atomically(path, _WRITERS[path.suffix.lower()](columns_of(rows)))


def _csv(columns: dict[str, list[Any]]) -> bytes:
    table = Table(list(columns), list(zip(*columns.values(), strict=True)))
    return (render([table], "csv") + "\n").encode()


def _jsonl(columns: dict[str, list[Any]]) -> bytes:
    lines = []
    for values in zip(*columns.values(), strict=True):
        text = json.dumps(dict(zip(columns, values, strict=True)), ensure_ascii=False)
        finite = json.loads(text, parse_constant=lambda _: None)
        lines.append(json.dumps(finite, ensure_ascii=False) + "\n")
    return "".join(lines).encode()


def _parquet(columns: dict[str, list[Any]]) -> bytes:
    uniform = {name: of_one_type(values) for name, values in columns.items()}
    file = io.BytesIO()
    if require("pyarrow", "Parquet", "polars") == "pyarrow":
        pyarrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
        parquet.write_table(pyarrow.table(uniform), file)
    else:
        importlib.import_module("polars").DataFrame(uniform).write_parquet(file)
    return file.getvalue()


def of_one_type(values: list[Any]) -> list[Any]:
    """Return a column's values as one type: whole numbers next to others become floats, all else JSON text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    too_large = kinds == {int} and any(abs(value) > _LARGEST for value in values if value is not None)
    if len(kinds) <= 1 and kinds <= {bool, int, float, str} and not too_large:
        return values
    return [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]


_WRITERS: dict[str, Callable[[dict[str, list[Any]]], bytes]] = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}
