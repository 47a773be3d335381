"""The lengths that a suite's finished runs are scored at besides their own."""

from collections.abc import Sequence

from stablebench.errors import UserError
from stablebench.schema.suite import Suite, SuiteTask
from stablebench.specs.request import Resolved


def lengths_of(suite: Suite, runs: Sequence[Resolved], asked: Sequence[int] | None) -> list[list[int]]:
    """Return for each run the lengths that it is to be scored at; none for one without a length.

    Args:
        suite: The suite.
        runs: Its runs.
        asked: Lengths in place of the suite's; None for those.

    Raises:
        UserError: Lengths are asked for, and no task has one.
    """
    own: dict[str, SuiteTask] = {task.task: task for task in suite.tasks if task.lengths is not None}
    of_each = []
    for run in runs:
        spec = run.spec.task
        named = own.get(f"{spec.name}/{spec.variant}" if spec.variant else spec.name) or own.get(spec.file or "")
        lengths = list(asked) if asked is not None else (suite.lengths if named is None else named.lengths or [])
        of_each.append(sorted(set(lengths)) if run.card.length is not None and run.card.data.generator else [])
    if asked and runs and not any(of_each):
        raise UserError("--lengths: no task of these has a length that its examples can be drawn at; leave it out.")
    return of_each
