"""The code of a user's own model that a run carries, `RUN/code/`: written when it begins, run when it is read again.

A run's copy is run without being named only where this user has named the same code here before (`user_code.known`):
the run folder of a stranger runs nothing because it is read.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from stablebench.errors import UserError
from stablebench.models import registry as model_registry
from stablebench.models.user_code import known
from stablebench.models.user_code.code import Code
from stablebench.runs.store import RunFolder
from stablebench.schema.run_spec import RunSpec
from stablebench.specs.request import Resolved
from stablebench.training.code_copy import code_in, write_code
from stablebench.training.run_card import name_card


def take_code(resolved: Resolved, note: Callable[[str], None]) -> None:
    """Load the code of a user's own model as it was when the run was resolved, in another process.

    Args:
        resolved: The run.
        note: Told where the files have changed since.

    Raises:
        UserError: It cannot be loaded, or needs packages in other versions than are installed here.
    """
    code, name = resolved.code, resolved.spec.model.name
    if code is None:
        model_registry.model_entry(name)
        return
    if others := code.other_versions():
        raise UserError(f"{name}: its run was asked for with other packages than there are here: {', '.join(others)}.")
    model_registry.name_code(name, code)
    if any(Path(module.path).exists() for module in code.modules) and (changed := code.changed_files()):
        note(f"{', '.join(changed)} changed since the run was asked for; it runs the code as it was")


def keep_code(folder: RunFolder, spec: RunSpec) -> None:
    """Write the code of a run's model into its folder, unless it is there: the files first, then what they are.

    The caller holds the folder's lock.

    Raises:
        StablebenchError: The disk does not take it.
    """
    code = model_registry.model_of_spec(spec.model.name, spec.model.source).code
    if code is not None:
        write_code(code_dir(folder), code)


def code_dir(folder: RunFolder) -> Path:
    """Return where a run keeps its model's code."""
    return folder.path / "code"


def name_code(
    folder: RunFolder,
    spec: RunSpec,
    model: str | None = None,
    *,
    task: str | None = None,
    same_packages: bool = False,
) -> list[str]:
    """Load the code of a run's own model and the card of its own task, so that the run can be built.

    They are what `model` and `task` name, else the run's copies.

    Args:
        folder: The run.
        spec: Its spec.
        model: What `--model` names; the run's copy in `code/` counts as named then, whoever made it.
        task: What `--task` names, likewise.
        same_packages: Whether other versions of the packages that it imports are refused.

    Returns:
        What the user should know: packages that are not what they were.

    Raises:
        UserError: `model` names no code or other code than the run's, the copy is damaged, or it is code that this
            user has not named here before.
    """
    if model is not None and ":" not in model:
        raise UserError(f"--model {model}: a run has its own model; --model names the code of one, file.py:Class.")
    return name_card(folder, spec, task, same_packages=same_packages) + _name_model(folder, spec, model, same_packages)


def _name_model(folder: RunFolder, spec: RunSpec, model: str | None, same_packages: bool) -> list[str]:
    if spec.model.source is None or ":" not in spec.model.name:
        if model is not None:
            model_registry.model_entry(model)
        return []
    carried = None if model is not None and not _is_copy(folder, spec, model) else carried_code(folder)
    if carried is None:
        if model is not None:
            _hold_named(folder, spec, model_registry.model_entry(model))
        return []
    if carried.digest != spec.model.source:
        raise UserError(f"{code_dir(folder)}: it is not the code of this run, whose digest is {spec.model.source}.")
    if model is None and not (known.is_known(carried.digest) and not any(m.is_extension for m in carried.modules)):
        raise UserError(
            f"{spec.model.name}: this run's model is code outside stablebench, which is only run when it is named: add "
            f"--model {_own_reference(folder, carried, spec)}, {_which(carried)}, which was not named on this machine "
            "before; read it first where the run comes from someone else."
        )
    others = carried.other_versions()
    if others and same_packages:
        raise UserError(
            f"{folder.path}: going on would not give the same numbers ({', '.join(others)}). `train --resume RUN "
            "--force-resume` goes on all the same."
        )
    model_registry.name_code(spec.model.name, carried)
    known.remember(carried.digest)
    return others


def _hold_named(folder: RunFolder, spec: RunSpec, entry: model_registry.ModelEntry) -> None:
    """Refuse code that is not the run's, and say what differs where the run carries its own."""
    if entry.source == spec.model.source or entry.code is None or entry.name.rpartition(":")[2] != spec.model.label:
        return  # another class is refused where the run is built
    carried = None
    with suppress(UserError):
        carried = carried_code(folder)
    if carried is None or carried.digest != spec.model.source:
        return
    changes = ", ".join(carried.changes(entry.code))
    raise UserError(
        f"{entry.name}: the file changed since this run began ({changes}). Leave --model out, or name "
        f"{_own_reference(folder, carried, spec)}, to take the code that the run carries."
    )


def _which(code: Code) -> str:
    return "the run's own copy" if code.modules else f"of {', '.join(code.packages) or 'an installed package'}"


def _own_reference(folder: RunFolder, code: Code, spec: RunSpec) -> str:
    place = next((module.path for module in code.modules if module.name == code.entry), code.entry)
    return f"{place}:{spec.model.label}"


def _is_copy(folder: RunFolder, spec: RunSpec, model: str) -> bool:
    """Return whether `--model` names a file of the run's copy, or the same class of an installed package."""
    path = Path(model.rpartition(":")[0])
    if path.suffix == ".py" and path.resolve().is_relative_to(code_dir(folder).resolve()):
        return True
    if spec.model.source is not None and model.rpartition(":")[2] == spec.model.label:
        code, carried = model_registry.model_entry(model).code, None
        with suppress(UserError):
            carried = carried_code(folder)
        if code is not None and carried is not None and not carried.modules and carried.entry == code.entry:
            return True
    return False


def carried_code(folder: RunFolder) -> Code | None:
    """Return the code that a run carries, read and not run; None of a run that carries none.

    Raises:
        UserError: A file of it is missing, or the manifest is no manifest.
    """
    root = code_dir(folder)
    try:
        return code_in(root)
    except (OSError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise UserError(
            f"{root}: the run's copy of its model's code is damaged ({why}); name it with --model."
        ) from None
