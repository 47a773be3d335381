"""How a command prints its result, and where runs are stored: the options that nearly all commands take."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from stablebench.cli.shared.commands import OUTPUT, option
from stablebench.errors import UserError
from stablebench.tables import Format as TableFormat

RunsDir = Annotated[Path, option("The run store.", OUTPUT, metavar="DIR")]
Format = Annotated[TableFormat, option("How tables are printed.", OUTPUT, "--format")]
TextFormat = Annotated[Literal["text", "json"], option("How the result is printed.", OUTPUT, "--format")]
AsJson = Annotated[bool, option("Print one JSON document on stdout, as --format json does.", OUTPUT, "--json")]
Quiet = Annotated[bool, option("Suppress progress output.", OUTPUT, "--quiet", "-q")]


@dataclass(frozen=True)
class _Printed:
    """`as_json` holds with either of `--json` and `--format json`."""

    fmt: Any = "text"
    as_json: AsJson = False

    def __post_init__(self) -> None:
        plain = type(self).fmt
        if self.as_json and self.fmt not in (plain, "json"):
            raise UserError(f"--format {self.fmt} and --json: give one of the two.")
        object.__setattr__(self, "as_json", self.as_json or self.fmt == "json")


@dataclass(frozen=True)
class PrintedText(_Printed):
    """How lines are printed: as text or JSON."""

    fmt: TextFormat = "text"


@dataclass(frozen=True)
class PrintedTables(_Printed):
    """How tables are printed."""

    fmt: Format = "table"


@dataclass(frozen=True)
class _StoreOptions:
    runs_dir: RunsDir = Path("runs")
    quiet: Quiet = False


@dataclass(frozen=True)
class OutputOptions(PrintedText, _StoreOptions):
    """Where runs are stored and how lines are printed."""


@dataclass(frozen=True)
class TableOutputOptions(PrintedTables, _StoreOptions):
    """Where runs are stored and how tables are printed."""
