"""The task card of the user's own that a run carries, `RUN/code/task-card/`: the card, and its generator's code.

The rule is that of a model's code (`training.run_code`): a generator that this user has not named here before is not
run because a run carries it. Data are not copied: where they lay is noted, and their digest must be the run's.
"""

import json
from pathlib import Path

from pydantic import ValidationError

from stablebench.errors import UserError
from stablebench.models.user_code import known
from stablebench.runs.atomic import write_atomically
from stablebench.runs.store import RunFolder
from stablebench.schema.card import TaskCard
from stablebench.schema.run_spec import RunSpec
from stablebench.schema.strict import Strict
from stablebench.schema.yaml_file import read_text
from stablebench.specs.own_card import OwnCard, OwnFiles
from stablebench.specs.own_task import card_named, is_loaded, load
from stablebench.training.code_copy import code_in, write_code

_CARD, _ORIGIN = "card.yaml", "origin.json"


class _Origin(Strict):
    """Where a run's card came from.

    Args:
        path: The card, as it was named.
        folder: The folder that its paths start from.
        source: The run's `spec.task.source`.
        data_sha256: The digest of its data file; None of a generator.
    """

    path: str
    folder: str
    source: str
    data_sha256: str | None = None


def card_dir(folder: RunFolder) -> Path:
    """Return where a run keeps its card; no module can have this name."""
    return folder.path / "code" / "task-card"


def keep_card(folder: RunFolder, card: TaskCard) -> None:
    """Write a card of the user's own into a run's folder, unless it is there: the origin last.

    The caller holds the folder's lock.

    Raises:
        StablebenchError: The disk does not take it.
    """
    if not isinstance(card, OwnCard):
        return
    root, files = card_dir(folder), card.files
    if not (root / _CARD).is_file():
        write_atomically(root / _CARD, files.text.encode())
    if files.code is not None:
        write_code(root, files.code)
    if (root / _ORIGIN).is_file():
        return
    origin = _Origin(path=files.path, folder=files.folder, source=card.source, data_sha256=files.data_sha256)
    write_atomically(root / _ORIGIN, json.dumps(origin.model_dump(), indent=1).encode())


def name_card(folder: RunFolder, spec: RunSpec, task: str | None = None, *, same_packages: bool = False) -> list[str]:
    """Load the card of a run's own task, so that the run can be built: what `task` names, else the run's copy.

    Args:
        folder: The run.
        spec: Its spec.
        task: What `--task` names; the run's copy counts as named then, whoever made it.
        same_packages: Whether other versions of the packages that its code imports are refused.

    Returns:
        What the user should know: packages that are not what they were.

    Raises:
        UserError: `task` names another card, the copy is damaged, its data are not there, or it is code that this user
            has not named here before.
    """
    source, root = spec.task.source, card_dir(folder)
    if source is None:
        if task is not None:
            raise UserError(f"--task {task}: the run has its own task, {spec.task.name}; leave --task out.")
        return []
    if task is not None and Path(task).resolve() != (root / _CARD).resolve():
        card, _ = card_named(task)
        if card.source != source:
            raise UserError(
                f"--task {task}: the card, its code or its data are not those of this run; leave --task out, or name "
                f"{root / _CARD}, to take the card that the run carries."
            )
        return []
    if is_loaded(source):
        return []
    files = _carried(root, source)
    code = files.code
    if code is not None and task is None:
        if not known.is_known(code.digest) or any(module.is_extension for module in code.modules):
            raise UserError(
                f"{spec.task.name}: this run's task is code outside stablebench, which is only run when it is named: "
                f"add --task {root / _CARD}, the run's own copy, which was not named on this machine before; read it "
                "first where the run comes from someone else."
            )
    others = [] if code is None else code.other_versions()
    if others and same_packages:
        raise UserError(
            f"{folder.path}: going on would not give the same numbers ({', '.join(others)}). `train --resume RUN "
            "--force-resume` goes on all the same."
        )
    if load(files).source != source:
        raise UserError(f"{root}: it is not the card of this run, whose digest is {source}.")
    if code is not None:
        known.remember(code.digest)
    return others


def _carried(root: Path, source: str) -> OwnFiles:
    """Return the files of a card that a run carries, read and not run.

    Raises:
        UserError: One is missing or damaged.
    """
    try:
        origin = _Origin.model_validate_json((root / _ORIGIN).read_bytes())
        code = code_in(root)
    except (OSError, ValidationError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise UserError(
            f"{root}: the run's copy of its task's card is damaged ({why}); name the card with --task."
        ) from None
    if origin.source != source:
        raise UserError(f"{root}: it is not the card of this run, whose digest is {source}.")
    return OwnFiles(str(origin.path), origin.folder, read_text(root / _CARD), code, origin.data_sha256)
