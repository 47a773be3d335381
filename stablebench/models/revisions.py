"""Revisions of models: they distinguish runs that have different initial numbers under the same arguments."""

from typing import TYPE_CHECKING, Any

from stablebench.errors import UserError
from stablebench.models import registry as model_registry

if TYPE_CHECKING:
    from stablebench.models.registry import ModelEntry
    from stablebench.schema.run_spec import RunSpec


def model_revision(entry: "ModelEntry", layers: Any) -> int:
    """Return the revision of a model in this version of stablebench, >= 1.

    Stacked recurrent layers count as one more: they are drawn independently of each other since revision 2.

    Args:
        entry: The model.
        layers: Its layers; what can be none is refused when the spec is checked.
    """
    stacked = entry.family == "recurrent" and isinstance(layers, int) and layers > 1
    return entry.cls.revision + stacked


def other_revision(spec: "RunSpec") -> str | None:
    """Return the beginning of a sentence that names the revisions of a run and of this version; None if they are equal.

    Args:
        spec: The run; a user's own model must have been named.
    """
    return _other(model_registry.model_of_spec(spec.model.name, spec.model.source), spec)


def check_revision(entry: "ModelEntry", spec: "RunSpec") -> None:
    """Refuse to start a run that another revision of its model began.

    Raises:
        UserError: The run's initial weights cannot be drawn by this version.
    """
    if (other := _other(entry, spec)) is not None:
        raise UserError(
            f"{other}: it starts from other numbers, so the run can be neither made again nor begun here. `stablebench "
            "evaluate` scores its trained weights, `train --resume RUN --force-resume` goes on from its checkpoint; "
            "`train` without --resume makes a new run."
        )


def _other(entry: "ModelEntry", spec: "RunSpec") -> str | None:
    now = model_revision(entry, spec.model.layers)
    if spec.model.revision == now:
        return None
    stacked = f" with {spec.model.layers} layers" if spec.model.layers > 1 and entry.family == "recurrent" else ""
    made = f"this run was made by revision {spec.model.revision} of {spec.model.label}{stacked}"
    return f"{made}, this version has {now}"
