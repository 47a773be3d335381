"""Reading a stored record, and telling one that is damaged from one that another version of stablebench wrote."""

import json
import os
import re
from pathlib import Path

from pydantic import ValidationError

from stablebench import __version__
from stablebench.errors import UserError
from stablebench.schema.run_record import RunRecord
from stablebench.schema.strict import problems

_MAX_BYTES = 100_000_000
"""Of a record: a million evaluations."""
_UNKNOWN = frozenset({"extra_forbidden", "literal_error"})
"""Errors of keys, names and words that another version may know: nothing says that the file is damaged."""


class OtherVersion(UserError):
    """A record that is whole, and says what this version of stablebench does not know."""


def read_record(path: Path | str) -> RunRecord:
    """Return the record of a file.

    Raises:
        OtherVersion: It is whole, and another version of stablebench wrote it.
        UserError: There is none, or it is not a whole record.
    """
    text = _text(path)
    try:
        return RunRecord.model_validate_json(text)
    except ValidationError as error:
        raise _explained(Path(path), text, error) from None


def _text(path: Path | str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            size = os.fstat(descriptor).st_size
            if size > _MAX_BYTES:
                raise UserError(f"{path}: at most {_MAX_BYTES:,} bytes are read, the file has {size:,}.")
            parts = []
            while part := os.read(descriptor, size + 1):
                parts.append(part)
        finally:
            os.close(descriptor)
        return str(b"".join(parts), "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{os.path.dirname(path)}: no run with a readable record.json ({error}).") from None
    except (OSError, ValueError) as error:  # a name with a zero byte
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{os.path.dirname(path)}: no run with a readable record.json ({reason}).") from None


def _explained(path: Path, text: str, error: ValidationError) -> UserError:
    """Return what is wrong with a record in up to six lines, the first of which says enough."""
    writer = _version_of(text)
    lines = problems(error, RunRecord, str(path))[:5]
    unknown = all(item["type"] in _UNKNOWN for item in error.errors(include_url=False, include_input=False))
    newer = writer is not None and _numbers(writer) > _numbers(__version__)
    if newer or (writer is not None and unknown):
        first = lines[0].removeprefix(f"{path}: ")
        by = f"written by stablebench {writer}, " if writer != __version__ else ""
        lines[0] = f"{path}: {by}of which this one ({__version__}) cannot read all: {first}"
        return OtherVersion("\n".join([*lines, "Read it with the version that wrote it. The file is left as it is."]))
    way_out = "The command that began the run sets the record aside and goes on from the run's checkpoints."
    return UserError("\n".join([*lines, way_out]))


def _version_of(text: str) -> str | None:
    """Return the version of stablebench that wrote a record, as far as it is JSON that says so."""
    try:
        version = json.loads(text)["environment"]["versions"]["stablebench"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return version if isinstance(version, str) and len(version) < 100 else None


def _numbers(version: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d{1,9}", version)]
