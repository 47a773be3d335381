"""What code computed the seeds of a row: other compilers and instruction sets round differently."""

from collections.abc import Sequence

from stablebench.schema.leaderboard import LeaderboardRow
from stablebench.schema.run_record import RunRecord

_NAMED = 4
"""Rows of a list that are written out."""


def computed_by(records: Sequence[RunRecord]) -> dict[str, list[int]]:
    """Return the seeds by what computed them, in words; seeds whose records do not state it are left out.

    Args:
        records: The runs of a row.
    """
    seeds: dict[str, list[int]] = {}
    for record in records:
        code = _describe(record)
        if code is not None:
            seeds.setdefault(code, []).append(record.spec.seed)
    return seeds


def code_notes(rows: Sequence[LeaderboardRow]) -> list[str]:
    """Return a line for each row whose seeds were computed by code that rounds differently, or on several processors.

    Args:
        rows: Rows of a leaderboard's table.
    """
    notes: list[str] = []
    for row in rows:
        if len(row.computed_by) > 1:
            codes = "; ".join(
                f"{code} (seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))})"
                for code, seeds in row.computed_by.items()
            )
            notes.append(f"{row.name}: its seeds were rounded differently: {codes}.")
        if on_several(row):
            notes.append(f"{row.name}: its seeds ran on {row.hardware}.")
    more = len(notes) - _NAMED
    return notes if more <= 0 else [*notes[:_NAMED], f"{more} more rows of that kind; `computed_by` of --json has all."]


def on_several(row: LeaderboardRow) -> bool:
    """Return whether a row's runs had several kinds of hardware: the median of their seconds is that of none."""
    return " and " in row.hardware


def speed_note(rows: Sequence[LeaderboardRow]) -> str | None:
    """Return on what hardware speeds and seconds were measured where it differs between rows; None where it does not.

    Args:
        rows: Rows of a leaderboard's table that show any; those of several kinds of hardware do not count.
    """
    by_hardware: dict[str, list[str]] = {}
    for row in rows:
        if not on_several(row):
            by_hardware.setdefault(row.hardware, []).append(row.name)
    if len(by_hardware) < 2:
        return None
    ordered = sorted(by_hardware.items(), key=lambda item: len(item[1]))
    parts = [f"{_few(names)} on {hardware}" for hardware, names in ordered[:-1]]
    return (
        f"Updates/s and seconds compare within one hardware only: {'; '.join(parts)}; all others on {ordered[-1][0]}."
    )


def _few(names: Sequence[str]) -> str:
    """Return names in a row, of many the first and how many more there are."""
    listed = names if len(names) <= _NAMED else [*names[:_NAMED], f"{len(names) - _NAMED} more"]
    return ", ".join(listed)


def _describe(record: RunRecord) -> str | None:
    ran = record.environment
    if ran.backend is None:
        return None
    parts = [ran.backend]
    if ran.compiler is not None:
        compiler = {"name": "", "version": "", "flags": "", "instructions": ""} | ran.compiler
        parts += [f"{compiler['name']} {compiler['version']}".strip(), compiler["flags"], compiler["instructions"]]
    settings = [
        value if name == "cpu_capability" else f"{name}={value}"
        for name, value in ran.rounding.items()
        if not name.endswith("_NUM_THREADS")  # torch's own number decides
    ]
    return ", ".join([*(part for part in parts if part), *(["torch for " + ", ".join(settings)] if settings else [])])
