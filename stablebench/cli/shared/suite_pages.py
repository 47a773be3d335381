"""`report --summary`: the pages of suites, from leaderboards' files."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from stablebench.cli.ui.output import say
from stablebench.errors import UserError

if TYPE_CHECKING:
    from stablebench.schema.leaderboard import Leaderboard

_REMARK = ".remark.md"
"""Next to `NAME.json`, `NAME.remark.md` is printed on the suite's page under its heading."""


def write_suite_pages(what: list[str], index: Path, force: bool) -> None:
    """Write an index, a page a suite and the coverage of published numbers from leaderboards' files.

    Args:
        what: Files, or folders whose `.json` files are leaderboards.
        index: The index; the pages go to the folder of its name without its suffix.
        force: Whether pages that are there may be overwritten.

    Raises:
        UserError: There is no leaderboard, one cannot be read, two are of one suite, or a page exists.
    """
    from stablebench.cli.shared.output_file import refuse_existing
    from stablebench.leaderboard.coverage import coverage
    from stablebench.report.suite_pages import coverage_page, page_name, suite_page, suites_index
    from stablebench.runs.atomic import write_atomically

    folder = index.with_suffix("")
    if folder == index:
        raise UserError(f"--output {index}: must have a suffix, as in suites.md; the pages go to the folder {index}.")
    boards: dict[str, Leaderboard] = {}
    remarks: dict[str, str] = {}
    for file in _files(what):
        board = _read(file)
        if board.suite in boards:
            raise UserError(f"{file}: another file is a leaderboard of {board.suite} too; leave one of them out.")
        boards[board.suite] = board
        remark = file.with_name(file.stem + _REMARK)
        remarks[board.suite] = remark.read_text(encoding="utf-8") if remark.is_file() else ""
    states = coverage(boards)
    command = " ".join(["stablebench report --summary", *map(shlex.quote, what), "-o", shlex.quote(str(index))])
    pages = {folder / f"{page_name(name)}.md": suite_page(board, remarks[name]) for name, board in boards.items()}
    pages |= {folder / "coverage.md": coverage_page(states)}
    pages |= {index: suites_index(boards, states, folder.name, command)}
    for path in pages:
        refuse_existing(path, force)
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in pages.items():
        write_atomically(path, text.encode())
    decided = sum(one.decided for one in states)
    say(f"{index}: {len(boards)} suites; {decided} of {len(states)} published entries have a verdict")


def _files(what: list[str]) -> list[Path]:
    if not what:
        raise UserError("--summary: name leaderboards' files, or folders of them: `compare SUITE --output FILE.json`.")
    files = []
    for name in map(Path, what):
        if not name.exists():
            raise UserError(f"{name}: there is no such file or folder.")
        boards = sorted(name.glob("*.json")) if name.is_dir() else [name]
        if not boards:
            raise UserError(f"{name}: holds no leaderboard (*.json): `compare SUITE --output {name}/SUITE.json`.")
        files += boards
    return files


def _read(file: Path) -> "Leaderboard":
    from stablebench.schema.leaderboard import Leaderboard

    try:
        return Leaderboard.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{file}: is not a leaderboard that `compare` wrote: {where} {first['msg']}.") from error
