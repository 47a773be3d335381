"""A suite in full: what it runs."""

from stablebench import registry
from stablebench.cli.shared.text import format_values
from stablebench.cli.show.description import WRAPPED_COLUMNS, Description
from stablebench.tables import Table


def describe(name: str) -> Description:
    """Return what a suite runs."""
    suite = registry.suite(name)
    n_runs = sum(len(t.models or suite.models) for t in suite.tasks) * len(suite.seeds)
    text = (
        f"{name}: {suite.summary}\n"
        f"Seeds {', '.join(map(str, suite.seeds))}; {n_runs} runs of {suite.threads} thread"
        + ("s" if suite.threads > 1 else "")
        + (f"\nEvery run: {format_values(suite.overrides)}" if suite.overrides else "")
        + "".join(f"\nBudget {b}: {h:g} hour{'s' * (h != 1)} of a core" for b, h in suite.core_hours.items())
    )
    rows = [
        [t.task + (f" --T {t.T}" if t.T else ""), ", ".join(t.models or suite.models), format_values(t.overrides)]
        for t in suite.tasks
    ]
    tables = [Table(["task", "models", "values"], rows, wrap=frozenset({"models", "values"}))]
    own = [[m, format_values(values)] for m, values in suite.model_overrides.items()]
    tables.append(Table(["model", "values"], own, title="Single models", wrap=WRAPPED_COLUMNS))
    return Description({"name": name, **suite.model_dump(mode="json"), "cells": n_runs}, text, tables)
