"""What code computed the seeds of a row: other compilers and instruction sets round differently."""

from collections.abc import Sequence

from stablebench.schema.leaderboard import LeaderboardRow
from stablebench.schema.run_record import RunRecord


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
    notes = []
    for row in rows:
        if len(row.computed_by) > 1:
            codes = "; ".join(
                f"{code} (seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))})"
                for code, seeds in row.computed_by.items()
            )
            notes.append(f"{row.name}: its seeds were rounded differently: {codes}.")
        if " and " in row.hardware:
            notes.append(f"{row.name}: its seeds ran on {row.hardware}.")
    return notes


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
