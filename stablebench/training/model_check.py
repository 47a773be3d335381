"""The fast checks of a user's model before runs of it begin. They change no number of a run."""

from collections.abc import Callable, Iterable

import torch

from stablebench.contract.checked_model import CheckedModel, run_from
from stablebench.contract.run import run_checks
from stablebench.errors import ContractError
from stablebench.models import registry as model_registry
from stablebench.models.restore import restored
from stablebench.models.structure import surroundings
from stablebench.schema.run_spec import RunSpec
from stablebench.specs.request import Resolved

_HIDDEN, _STEPS = 8, 6
"""Largest width, and steps or layers, of the instance that is checked, where the model can be built with them."""


def check_before_run(spec: RunSpec, note: Callable[[str], None]) -> None:
    """Check a user's model on a small instance; a registered one is held by tests.

    Args:
        spec: Of a run of it.
        note: Takes a line per warning.

    Raises:
        ContractError: It breaks the contract.
    """
    if spec.model.source is None:
        return
    entry = model_registry.model_of_spec(spec.model.name, spec.model.source)
    precision = getattr(torch, spec.precision)
    problem: Exception | None = None
    for hidden in dict.fromkeys((min(_HIDDEN, spec.model.hidden), spec.model.hidden)):
        subject = CheckedModel(entry, hidden, _STEPS, spec.model.params, dtype=precision)
        problem = _why_not_built(subject)
        if problem is None:
            break
    else:
        if isinstance(problem, ContractError):
            raise problem
        return  # the run itself says what fails
    try:
        with restored(surroundings(entry.cls)):
            results = [one for one in run_checks(subject, fast=True) if not one.message.startswith("fails with")]
    except Exception:  # of tensors that cannot be held, say: the run itself says what fails
        return
    label = entry.name
    if broken := [one.line() for one in results if one.verdict == "broken"]:
        raise ContractError(f"--model {label}: {'; '.join(broken)}. `stablebench check {label}` has all of it.")
    for one in results:
        if one.verdict == "warning":
            note(f"warning: {label}: {one.line()}")


def broken_models(runs: Iterable[Resolved], note: Callable[[str], None]) -> dict[tuple[str, str | None], str]:
    """Check the users' models of runs, each once; return why one breaks the contract, by its name and its source.

    Args:
        runs: The runs.
        note: Takes a line per warning.
    """
    broken = {}
    for model, run in {(run.spec.model.name, run.spec.model.source): run for run in runs}.items():
        try:
            check_before_run(run.spec, note)
        except ContractError as error:
            broken[model] = str(error)
    return broken


def _why_not_built(subject: CheckedModel) -> Exception | None:
    """Return why the model cannot be built and run at the subject's sizes, or None if it can."""
    try:
        with restored(surroundings(subject.entry.cls)):
            model = subject.build()
            run_from(model, subject.inputs(model))
    except Exception as error:
        return error
    return None
