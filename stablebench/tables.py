"""Tables as text: for a terminal, Markdown, LaTeX, HTML, CSV, and plain JSON without NaN or infinity."""

import csv
import io
import json
import math
import os
import re
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, Literal

from stablebench.process import streams
from stablebench.visible import visible, visible_json

Format = Literal["table", "github", "latex", "html", "csv", "json"]
_GAP = 2
_BOLD = "\x1b[1m{}\x1b[0m"
_MIN_WRAPPED_WIDTH = 20
"""Characters that a column of words keeps; a table that needs fewer is printed row by row."""


@dataclass(frozen=True)
class Table:
    """A table of texts and numbers.

    Args:
        columns: Their headings.
        rows: One value per column; None is an empty cell.
        title: Stands above it.
        notes: Lines below it.
        bold: Cells that stand out, (row, column) from 0.
        wrap: Headings of the columns of words, which may be broken over lines.
        minor: Headings of the columns that a narrow terminal leaves out, the first one first.
        left_out: Those of them that it has left out; a line below says so.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    notes: Sequence[str] = ()
    bold: frozenset[tuple[int, int]] = frozenset()
    wrap: frozenset[str] = field(default_factory=frozenset)
    minor: Sequence[str] = ()
    left_out: Sequence[str] = ()


def json_text(document: Any) -> str:
    """Return JSON; what is not finite is null."""
    finite = json.loads(json.dumps(document), parse_constant=lambda _: None)
    return visible_json(json.dumps(finite, indent=2, ensure_ascii=False)) + "\n"


def render(tables: Sequence[Table], fmt: Format = "table", width: int | None = None) -> str:
    """Return tables as text.

    Args:
        tables: The tables.
        fmt: The format.
        width: Characters of a line in the format `table`; None for the terminal's, or as many as needed where stdout
            is no terminal.
    """
    if fmt == "json":
        objects = [{"title": t.title, "rows": [dict(zip(t.columns, r, strict=True)) for r in t.rows]} for t in tables]
        return json_text(objects).rstrip("\n")
    if fmt == "csv":
        return _csv(tables)
    if fmt == "table":
        return "\n\n".join(_plain(t, width or terminal_width()) for t in tables)
    return "\n\n".join(_marked_up(t, fmt) for t in tables)


def terminal_width() -> int | None:
    """Return the terminal's width, None where stdout is no terminal."""
    if not _is_terminal():
        return None
    try:
        columns = int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size(streams.results().fileno()).columns
    except (ValueError, OSError):
        columns = shutil.get_terminal_size().columns
    return max(columns, _MIN_WRAPPED_WIDTH)


def _is_terminal() -> bool:
    stream = streams.results()
    return stream is not None and stream.isatty()


def cell(value: Any) -> str:
    """Return a value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else ""
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(v) for v in value)
    return visible(" ".join(str(value).split()))


def _csv(tables: Sequence[Table]) -> str:
    """One block a table, blank lines between; numbers in full."""
    blocks = []
    for table in tables:
        text = io.StringIO()
        rows = [["table", *map(cell, table.columns)]]
        for row in table.rows:
            values = [repr(v) if isinstance(v, float) and math.isfinite(v) else cell(v) for v in row]
            rows.append([cell(table.title), *values])
        csv.writer(text, lineterminator="\n").writerows(row if len(tables) > 1 else row[1:] for row in rows)
        blocks.append(text.getvalue())
    return "\n".join(blocks).rstrip("\n")


def _marked_up(table: Table, fmt: Literal["github", "latex", "html"]) -> str:
    import html

    from tabulate import tabulate

    escape = {"github": _markdown, "latex": _latex, "html": html.escape}[fmt]
    strong = {"github": "**{}**", "latex": "\\textbf{{{}}}", "html": "<b>{}</b>"}[fmt]
    texts = [
        [strong.format(escape(c)) if (i, j) in table.bold else escape(c) for j, c in enumerate(map(cell, row))]
        for i, row in enumerate(table.rows)
    ]
    heads = [escape(cell(c)) for c in table.columns]
    if fmt == "latex":
        heads, *texts = [[*map(_no_argument, row[:1]), *row[1:]] for row in (heads, *texts)]
    numeric = [_is_numeric(table, j) for j in range(len(heads))]
    body = tabulate(
        texts,
        headers=heads,
        tablefmt={"github": "github", "latex": "latex_raw", "html": "unsafehtml"}[fmt],
        colalign=["right" if n else "left" for n in numeric] if texts else None,
        disable_numparse=True,
    )
    if fmt == "latex":
        return _in_paper(table, body)
    title = {"github": "**{}**\n\n", "html": "<h3>{}</h3>\n"}[fmt]
    note = {"github": "\n\n{}", "html": "\n<p>{}</p>"}[fmt]
    above = title.format(escape(cell(table.title))) if table.title else ""
    return above + body + "".join(note.format(escape(cell(n))) for n in table.notes)


def _in_paper(table: Table, body: str) -> str:
    """Return a LaTeX table with its title as the caption and its notes below it, as wide as the table."""
    for rule in ("toprule", "midrule", "bottomrule"):  # of booktabs; tabulate's own format with them escapes once more
        body = body.replace("\\hline", f"\\{rule}", 1)
    lines = ["% \\usepackage{booktabs,threeparttable}", "\\begin{table}", "\\centering", "\\begin{threeparttable}"]
    lines += [f"\\caption{{{_latex(cell(table.title))}}}"] if table.title else []
    lines.append(body)
    if table.notes:
        items = [f"\\item {_no_argument(_latex(cell(note)))}" for note in table.notes]
        lines += ["\\begin{tablenotes}", "\\footnotesize", *items, "\\end{tablenotes}"]
    return "\n".join([*lines, "\\end{threeparttable}", "\\end{table}"])


def _markdown(text: str) -> str:
    """Return a text of which Markdown makes no tag, no link and no cell of its own."""
    text = "".join("\\" + c if c in "|`[*\\" else c for c in text)
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def _latex(text: str) -> str:
    special = {"±": r"$\pm$", "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}  # other signs in TeX's old fonts
    return "".join(special.get(c, "\\" + c if c in "&%$#_{}" else c) for c in text)


def _no_argument(text: str) -> str:
    """Return a text that stands behind a LaTeX command such that its bracket or star is no argument of the command."""
    return "{}" + text if text.startswith(("[", "*")) else text


def _is_numeric(table: Table, column: int) -> bool:
    values = [row[column] for row in table.rows if row[column] is not None]
    return bool(values) and all(isinstance(v, (int, float)) or cell(v)[:1].isdigit() for v in values)


def _plain(table: Table, width: int | None) -> str:
    lines = wrapped(table.title, width) if table.title else []
    narrow = table
    while (shrunk := _shrink(narrow, width)) is None and narrow.minor:
        narrow = _without(narrow, narrow.minor[0])
    if shrunk is None:  # row by row there is room for all columns
        lines += _by_row(_texts(table), width)
    else:
        table = narrow
        lines += _aligned(table, _texts(table), shrunk, width)
    notes = [*table.notes]
    if table.left_out:
        notes.append(f"Left out of {width} characters: {', '.join(table.left_out)}.")
    return "\n".join([*lines, *(line for note in notes for line in wrapped(note, width))])


def _texts(table: Table) -> list[list[str]]:
    """Return the cells as texts, headings first."""
    return [[cell(v) for v in row] for row in [table.columns, *table.rows]]


def _without(table: Table, column: str) -> Table:
    removed = list(table.columns).index(column)

    def shorter(row: Sequence[Any]) -> list[Any]:
        return [value for j, value in enumerate(row) if j != removed]

    return replace(
        table,
        columns=shorter(table.columns),
        rows=[shorter(row) for row in table.rows],
        bold=frozenset((i, j - (j > removed)) for i, j in table.bold if j != removed),
        minor=[name for name in table.minor if name != column],
        left_out=[*table.left_out, column],
    )


def wrapped(text: str, width: int | None, indent: str = "") -> list[str]:
    """Return a line of text as lines of at most `width` characters, those after the first indented."""
    return textwrap.wrap(
        visible(text.replace("\n", " ")), width or 10**9, subsequent_indent=indent, break_on_hyphens=False
    ) or [""]


def _shrink(table: Table, width: int | None) -> list[int] | None:
    """Return column widths that fit, the columns of words made narrower; None if that does not suffice."""
    widths = [max(map(len, column)) for column in zip(*_texts(table), strict=True)]
    over = sum(widths) + _GAP * (len(widths) - 1) - (width or 10**9)
    for j, name in enumerate(table.columns):
        if over > 0 and name in table.wrap:
            cut = min(over, max(0, widths[j] - _MIN_WRAPPED_WIDTH))
            widths = [*widths[:j], widths[j] - cut, *widths[j + 1 :]]
            over -= cut
    return widths if over <= 0 else None


def _aligned(table: Table, texts: list[list[str]], widths: list[int], width: int | None) -> list[str]:
    """Return the texts, headings first, in columns; those that are wider than their column are broken over lines."""
    styled = width is not None and _is_terminal() and not os.environ.get("NO_COLOR")
    right = [_is_numeric(table, j) for j in range(len(widths))]
    lines: list[str] = []
    for i, row in enumerate(texts, start=-1):  # -1: the headings
        broken = [[text] if len(text) <= w else textwrap.wrap(text, w) for text, w in zip(row, widths, strict=True)]
        for parts in zip_longest(*broken, fillvalue=""):
            padded = [p.rjust(w) if r else p.ljust(w) for p, w, r in zip(parts, widths, right, strict=True)]
            if styled:
                padded = [_BOLD.format(p) if i < 0 or (i, j) in table.bold else p for j, p in enumerate(padded)]
            lines.append((" " * _GAP).join(padded).rstrip())
    return lines


def _by_row(texts: list[list[str]], width: int | None) -> list[str]:
    """Each row as a block of lines, for a terminal that is too narrow for the columns."""
    heads, *rows = texts
    lines: list[str] = []
    for row in rows:
        lines += ["", row[0]] if lines else [row[0]]
        for name, text in zip(heads[1:], row[1:], strict=True):
            lines += wrapped(f"  {name}: {text}" if name else f"  {text}", width, "    ") if text else []
    return lines
