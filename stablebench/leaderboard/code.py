"""What code computed the seeds of a row: other compilers and instruction sets round differently."""

from typing import Any

from stablebench.schema.run_record import RunRecord


def computed_by(records: list[RunRecord]) -> dict[str, list[int]]:
    """Return the seeds by what computed them, in words; those whose records do not say are left out.

    Args:
        records: The runs of a row.
    """
    found: dict[str, list[int]] = {}
    for record in records:
        said = _in_words(record)
        if said is not None:
            found.setdefault(said, []).append(record.spec.seed)
    return found


def code_notes(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for each row whose seeds were computed by code that rounds differently.

    Args:
        rows: Rows of a leaderboard's table.
    """
    notes = []
    for row in rows:
        by_code = row.get("computed_by", {})
        if len(by_code) > 1:
            said = "; ".join(
                f"{code} (seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))})"
                for code, seeds in by_code.items()
            )
            notes.append(f"{row['name']}: its seeds were rounded differently: {said}.")
    return notes


def _in_words(record: RunRecord) -> str | None:
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
