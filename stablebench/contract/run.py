"""Runs the checks of a model: all of them, or the fast ones before a run."""

from torch import nn

from stablebench.contract import keeping, passes
from stablebench.contract.finding import Check, Finding
from stablebench.contract.subject import Subject
from stablebench.errors import StablebenchError
from stablebench.models.contract import where_in
from stablebench.models.restore import restored

_FIRST: tuple[Check, ...] = (keeping.constructor, passes.structure)
"""The others need that these hold."""
_FAST: tuple[Check, ...] = (
    keeping.registered,
    passes.in_place,
    passes.gradients,
    passes.batch_independence,
    passes.look_ahead,
)
_MORE: tuple[Check, ...] = (
    passes.finite,
    passes.emits_alone,
    passes.types,
    keeping.left_behind,
    keeping.same_numbers,
    keeping.draws,
    keeping.copies,
    keeping.engine,
)


def findings(subject: Subject, *, fast: bool = False) -> list[Finding]:
    """Return what the checks find. Global random states are as before afterwards.

    Args:
        subject: The model.
        fast: Whether to run those alone that a run begins with.
    """
    found = []
    for check in _FIRST:
        found.append(check(subject))
        if found[-1].verdict == "broken":
            return found
    return found + [_checked(check, subject) for check in (_FAST if fast else (*_FAST, *_MORE))]


def _checked(check: Check, subject: Subject) -> Finding:
    """Return what a check finds; a failure of the model is one."""
    with restored(nn.Module()):  # the random states
        try:
            return check(subject)
        except StablebenchError as error:
            return Finding(_name(check), "broken", str(error))
        except Exception as error:
            said = f"fails with {type(error).__name__}: {str(error).partition(chr(10))[0]}"
            return Finding(_name(check), "broken", said, where_in(subject.entry.cls, error))


def _name(check: Check) -> str:
    return check.__name__.replace("_", " ")
