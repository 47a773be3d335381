"""Writes docs/results/probe_study.md from docs/results/probe_study.json alone: which probes tell how runs end.

stablebench runs unpack docs/results/core --runs-dir core_runs
stablebench probe-study core --recipes core --runs-dir core_runs --task first_recall/t50,digits/permuted --json > new
python benchmarks/probe_study_page.py new        # keeps it as docs/results/probe_study.json, without paths
python benchmarks/probe_study_page.py            # writes the page again
"""

import argparse
import json
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stablebench.execution.probe_study.measures import SCALARS
from stablebench.execution.probe_study.study import KNOWN
from stablebench.tables import Table, render

ROOT = Path(__file__).resolve().parent.parent
STUDY = ROOT / "docs" / "results" / "probe_study.json"
PAGE = ROOT / "docs" / "results" / "probe_study.md"
CHANCE = 0.05
"""Share of intervals of 95 % that leave out 0 where there is nothing."""
Row = Mapping[str, Any]


def stored(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document of `probe-study --json` as it is kept: why runs were left out, without their paths."""
    counts = Counter(study["left_out"].values()) if isinstance(study["left_out"], dict) else None
    kept = study["left_out"] if counts is None else [{"why": why, "runs": n} for why, n in sorted(counts.items())]
    return {**study, "left_out": kept}


def written(count: float, one: str, many: str | None = None) -> str:
    """Return a number with its noun: `1 run`, `1,000 runs`."""
    return f"{count:,.0f} {one if count == 1 else many or one + 's'}"


def filled(sentence: str) -> str:
    """Return text in lines of at most 120 characters."""
    return textwrap.fill(sentence, 120, break_long_words=False, break_on_hyphens=False)


def per_cent(part: float) -> str:
    """Return a part of 1: `5 %`."""
    return f"{100 * part:.3g} %"


def listed(names: Sequence[str]) -> str:
    """Return names as `a, b and c`."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1] if names else "") if part)


def signed(value: float | None) -> str:
    """Return a number with its sign; nothing for None."""
    return "" if value is None else f"{value:+.2f}"


def interval(ends: Sequence[float] | None) -> str:
    """Return an interval; nothing for None."""
    return "" if ends is None else f"{ends[0]:+.2f} to {ends[1]:+.2f}"


def supported(row: Row) -> bool:
    """Whether the interval of a correlation with the score leaves out 0."""
    ends = row["score_interval"]
    return ends is not None and (ends[0] > 0 or ends[1] < 0)


def named(row: Row, times: Mapping[str, str]) -> str:
    """Return a probe with its time and figures."""
    skill = "" if row["skill"] is None else f", skill {signed(row['skill'])}"
    return f"`{row['scalar']}` {times[row['when']]} ({signed(row['score'])}{skill})"


def by_skill(rows: Sequence[Row], known: bool) -> Row | None:
    """Return the row with the most skill, of what needs no probe or of probes; None where none has any."""
    these = [row for row in rows if (row["scalar"] in KNOWN) == known and row["skill"] is not None]
    return max(these, key=lambda row: row["skill"], default=None)


def sentences(task: Mapping[str, Any], times: Mapping[str, str]) -> list[str]:
    """Return what the numbers of a task say."""
    rows = [row for row in task["correlations"] if row["score"] is not None]
    probes = [row for row in rows if row["scalar"] not in KNOWN]
    with_interval = [row for row in probes if row["score_interval"] is not None]
    lines = [f"{written(task['runs'], 'run')} of {written(task['models'], 'model')}."]
    if not with_interval:
        return [*lines, "Too few models for an interval, so that nothing is said of any probe."]
    good = [row for row in with_interval if supported(row)]
    lines.append(
        f"Of {written(len(with_interval), 'correlation')} of probes with the score {len(good)} have an interval "
        f"without 0; about {CHANCE * len(with_interval):.0f} would have by chance alone."
    )
    if good:
        lines.append(f"The largest: {listed([named(row, times) for row in good[:3]])}.")
    best, plain = by_skill(rows, known=False), by_skill(rows, known=True)
    if best is not None and best["skill"] > 0:
        lines.append(f"A model that is left out is predicted best by {named(best, times)}.")
    else:
        lines.append("No probe predicts a model that is left out better than the mean of the others does.")
    if plain is not None and best is not None:
        better = "more" if best["skill"] > plain["skill"] else "no more"
        lines.append(f"That is {better} than the best of what needs no probe, {named(plain, times)}.")
    names = list(dict.fromkeys(row["scalar"] for row in with_interval))
    lost = [
        name
        for name in names
        if not any((supported(row) or (row["skill"] or 0) > 0) for row in with_interval if row["scalar"] == name)
    ]
    if lost:
        lines.append(
            f"Nothing at either time, neither an interval without 0 nor skill above 0: "
            f"{listed([f'`{name}`' for name in sorted(lost)])}."
        )
    return lines


def on_all_tasks(tasks: Sequence[Mapping[str, Any]], times: Mapping[str, str]) -> str:
    """Return which correlations hold, with one sign, on all tasks."""
    signs: dict[tuple[str, str], list[bool]] = {}
    for task in tasks:
        for row in task["correlations"]:
            if row["scalar"] not in KNOWN and supported(row):
                signs.setdefault((row["scalar"], row["when"]), []).append(row["score"] > 0)
    same = [key for key, found in signs.items() if len(found) == len(tasks) and len(set(found)) == 1]
    if not same:
        return f"No probe's correlation has an interval without 0, with one sign, on all {len(tasks)} tasks."
    names = listed([f"`{scalar}` {times[when]} ({'+' if signs[scalar, when][0] else '-'})" for scalar, when in same])
    return f"With an interval without 0, and one sign, on all {len(tasks)} tasks: {names}."


def table(task: Mapping[str, Any], times: Mapping[str, str]) -> str:
    """Return the correlations of a task."""
    columns = ["probe", "when", "score", "95 %", "updates", "95 % ", "skill", "models", "runs"]
    rows = [
        [
            row["scalar"],
            times[row["when"]],
            signed(row["score"]),
            interval(row["score_interval"]),
            signed(row["updates"]),
            interval(row["updates_interval"]),
            signed(row["skill"]),
            row["models"],
            row["runs"],
        ]
        for row in task["correlations"]
        if row["score"] is not None
    ]
    return github(columns, rows)


def github(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table as GitHub shows it."""
    return render([Table(list(columns), [list(row) for row in rows])], "github").strip("\n") + "\n"


def missing(study: Mapping[str, Any]) -> str:
    """Return the section on what was not measured."""
    lines = [f"- Without singular values and Lyapunov exponents: {wide}." for wide in study["without_singular_values"]]
    lines += [
        f"- Without {gap['measure']}: {gap['model']}, {written(gap['runs'], 'run')}. {gap['why']}"
        for gap in study["failed"]
    ]
    lines += [f"- {written(gap['runs'], 'run')} left out. {gap['why']}" for gap in study["left_out"]]
    constant = sorted(
        {
            f"`{row['scalar']}` {row['when']} on {task['task']}"
            for task in study["tasks"]
            for row in task["correlations"]
            if row["score"] is None
        }
    )
    if constant:
        lines.append(f"- The same for all runs that have it, or of fewer than three: {listed(constant)}.")
    shown = {row["scalar"] for task in study["tasks"] for row in task["correlations"]}
    none = [f"`{one.name}`" for one in SCALARS if one.name not in shown]
    if none:
        lines.append(f"- No run has {listed(none)}.")
    return "## What is missing\n\n" + ("\n".join(lines) or "Nothing.") + "\n"


def page(study: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        study: As `stored` returns it.
    """
    tasks, seeds = study["tasks"], study["seeds"]
    times = {"initial": "at initialisation", "early": f"after {per_cent(study['early'])}"}
    runs = sum(task["runs"] for task in tasks)
    names = ",".join(task["task"] for task in tasks)
    many = f"seeds {listed([str(seed) for seed in seeds])}" if len(seeds) > 1 else f"seed {seeds[0]} alone"
    count = "" if seeds != list(range(len(seeds))) else f" --seeds {len(seeds)}"
    length = "" if study["T"] is None else f" --probe-T {study['T']}"
    luck = "With one seed a model, luck of a run counts as the model's. " if len(seeds) == 1 else ""
    intro = (
        f"**{written(runs, 'run')} of the suite `core` on {written(len(tasks), 'task')}, {many}.** {luck}Every model "
        f"has the recipe that `tune core` found for it. Probes are of {written(study['examples'], 'example')}, at "
        f"initialisation and after {per_cent(study['early'])} of the updates. This page and every sentence on it is "
        "made of [what that command printed](probe_study.json); "
        "[statistics.md](../statistics.md#whether-probes-predict) says what is computed."
    )
    text = f"""# Whether probes predict

```
stablebench runs unpack docs/results/core --runs-dir core_runs
stablebench probe-study core --recipes core --runs-dir core_runs --task {names}{count}{length} --json
python benchmarks/probe_study_page.py
```

{filled(intro)}

Score: Spearman's rank correlation with the test score, a diverged run the worst. Updates: that with the updates to the
task's target, or baseline where it has none; below 0 is sooner. 95 %: bootstrap interval, models resampled; none below
five models, whose rows come last. Skill: how much better the rank of a model that is left out is predicted than by the
others' mean; 0 is no help, 1 exact.

"""
    if len(tasks) > 1:
        text += filled(on_all_tasks(tasks, times)) + "\n\n"
    for task in tasks:
        text += (
            f"## {task['task']}\n\n"
            + "\n".join(map(filled, sentences(task, times)))
            + "\n\n"
            + table(task, times)
            + "\n"
        )
    meanings = [[one.name, one.meaning] for one in SCALARS] + [[name, meaning] for name, meaning in KNOWN.items()]
    return text + missing(study) + "\n## What the probes are\n\n" + github(["probe", "meaning"], meanings)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes docs/results/probe_study.md.")
    parser.add_argument("study", type=Path, nargs="?", help="what `probe-study --json` printed, to be kept")
    given = parser.parse_args().study
    kept = stored(json.loads((given or STUDY).read_text(encoding="utf-8")))
    text = page(kept)
    STUDY.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(text, encoding="utf-8")
