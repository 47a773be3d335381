"""Runs the checks of a model: all of them, or the fast ones before a run."""

from torch import nn

from stablebench.contract import certificate, cost_checks, pass_checks, state_checks
from stablebench.contract.checked_model import CheckedModel, as_layer
from stablebench.contract.result import Check, CheckResult
from stablebench.errors import StablebenchError
from stablebench.models.contract import where_in
from stablebench.models.restore import restored

_FIRST: tuple[Check, ...] = (state_checks.constructor, pass_checks.structure)
"""If one of these is broken, the other checks cannot run."""
_FAST: tuple[Check, ...] = (
    state_checks.registered,
    pass_checks.in_place,
    pass_checks.gradients,
    pass_checks.batch_independence,
    pass_checks.look_ahead,
)
_WHOLE: tuple[Check, ...] = (
    state_checks.registered,
    pass_checks.in_place,
    pass_checks.gradients,
    certificate.batch_independence,
    certificate.look_ahead,
    certificate.calls_apart,
    pass_checks.finite,
    pass_checks.layer_output,
    pass_checks.types,
    state_checks.changed_by_a_pass,
    state_checks.same_numbers,
    state_checks.draws,
    state_checks.copies,
    state_checks.engine,
    cost_checks.step_latency,
    cost_checks.state_bytes,
    cost_checks.exportable,
)
"""The certificate's are those of a few fast ones, more thorough."""
_CELLS_ONLY = (state_checks.constructor, pass_checks.in_place, pass_checks.layer_output, state_checks.engine)
"""Checks of what a layer of the user's that runs all time steps itself has not."""


def run_checks(subject: CheckedModel, *, fast: bool = False) -> list[CheckResult]:
    """Return the results of the checks. Global random states are as before afterwards.

    Args:
        subject: The model, at the sizes of the check.
        fast: Whether to run only the checks that precede a training run.
    """
    results = []
    subject = subject if fast else as_layer(subject) or subject
    for check in _FIRST:
        if subject.layer and check in _CELLS_ONLY:
            continue
        results.append(check(subject))
        if results[-1].verdict == "broken":
            return results
    checks = [check for check in (_FAST if fast else _WHOLE) if not (subject.layer and check in _CELLS_ONLY)]
    return results + [_run_check(check, subject) for check in checks]


def _run_check(check: Check, subject: CheckedModel) -> CheckResult:
    """Return the result of a check; an error of the model is a broken one."""
    with restored(nn.Module()):  # the random states
        try:
            return check(subject)
        except StablebenchError as error:
            return CheckResult(_name(check), "broken", str(error))
        except Exception as error:
            message = f"fails with {type(error).__name__}: {str(error).partition(chr(10))[0]}"
            return CheckResult(_name(check), "broken", message, where_in(subject.entry.cls, error))


def _name(check: Check) -> str:
    return check.__name__.replace("_", " ")
