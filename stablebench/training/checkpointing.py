"""The checkpoints of a run: written while it trains, and what a resumed run is restored from."""

from typing import Any

import torch

from stablebench.errors import OtherEnvironment, UserError
from stablebench.process import device, python_random
from stablebench.runs import checkpoint
from stablebench.runs.checkpoint import Checkpoint
from stablebench.runs.curve import Curve
from stablebench.training.network_state import NetworkState
from stablebench.training.parts import RunParts
from stablebench.training.resume import latest_valid_checkpoint
from stablebench.training.state import fallback_reason


def save(parts: RunParts, curve: Curve) -> None:
    """Write the checkpoint of a run as it is now, and drop older ones.

    Args:
        parts: The run.
        curve: Its curve, whose length the checkpoint states.

    Raises:
        FolderLost: The folder was renamed or removed.
        StablebenchError: The disk does not take it.
        UserError: A parameter of the network was replaced, added or removed.
    """
    parts.folder.check()
    curve.sync()  # the checkpoint states its length
    parts.keeper.refuse_other_parameters()
    _report_unheld(parts)
    parts.state.curve_length = curve.length
    network = parts.keeper.state()
    tensors = {"network": network.tensors, "optimiser": parts.updater.tensors(), "attributes": network.outside}
    if parts.flosser is not None:
        tensors["floss"] = parts.flosser.updater.tensors()
    random = {place.type: device.random_state(place) for place in _places(parts.device)}
    tensors |= {"random": random, "generators": python_random.states()}
    facts = {
        "spec_hash": parts.spec.spec_hash(),
        "seed": parts.spec.seed,
        "attributes": network.document,
        "environment": parts.environment.now.model_dump(),
    }
    checkpoint.save(parts.folder.checkpoint_path(parts.state.step), parts.state.to_checkpoint(tensors, facts))
    parts.folder.drop_old_checkpoints()


def save_best(parts: RunParts) -> None:
    """Write the weights that are best on validation.

    Raises:
        FolderLost: The folder was renamed or removed.
        StablebenchError: The disk does not take it.
    """
    parts.folder.check()
    best = parts.state.best_network
    weights = {f"network.{name}": tensor for name, tensor in best.tensors.items()}
    weights |= {f"attributes.{name}": tensor for name, tensor in best.outside.items()}
    facts: dict[str, Any] = {"step": parts.state.best[1] if parts.state.best else parts.state.step}
    facts |= {"attributes": best.document} if best.document else {}
    checkpoint.save(parts.folder.best_path, Checkpoint(weights, facts))


def restore(parts: RunParts, force: bool) -> None:
    """Seed all generators, and restore the newest whole checkpoint, if there is one.

    Args:
        parts: The run, as it was built.
        force: Whether to resume although engine, device or versions differ; the record says so.

    Raises:
        OtherEnvironment: They differ, and `force` is false.
        UserError: The checkpoint is another spec's, or all are damaged.
    """
    saved = latest_valid_checkpoint(parts.folder, parts.reporter)
    torch.manual_seed(parts.spec.seed)
    python_random.seed(parts.spec.seed)
    if saved is None:
        return
    if saved.state["spec_hash"] != parts.spec.spec_hash() or saved.state["seed"] != parts.spec.seed:
        raise UserError(f"{parts.folder.path}: its checkpoint belongs to another spec.")
    reason = fallback_reason(saved)
    if reason is not None and parts.engine.name != "reference":
        parts.reporter.note(f"the {parts.engine.name} engine failed before ({reason}); the reference engine goes on")
        parts.engine.fall_back(reason)
    parts.engine.compile_as(saved.state["environment"])
    differ = _refuse_other_environment(parts, saved, force)
    lost = parts.keeper.put_back(NetworkState.of_checkpoint(saved))
    if before := saved.state["environment"].get("irreproducible"):
        parts.environment.add_irreproducible(before, "this run: ")
    elif lost:
        names = ", ".join(f"`{name}`" for name in lost)
        parts.environment.add_irreproducible(f"no checkpoint can hold {names}")
    parts.updater.load(saved.part("optimiser"))
    if parts.flosser is not None:
        parts.flosser.updater.load(saved.part("floss"))
    random = saved.part("random")
    for place in _places(parts.device):
        if place.type in random:
            device.set_random_state(place, random[place.type])
    python_random.set_states(saved.part("generators"))
    parts.state.restore(saved, parts.device)
    parts.state.resumed_elsewhere += differ
    if parts.state.best_network.tensors:
        save_best(parts)  # the file may be of a later step, or damaged
    parts.reporter.note(f"resumed at step {saved.step}")


def _refuse_other_environment(parts: RunParts, saved: Checkpoint, force: bool) -> list[str]:
    """Return what differs between the environments of a checkpoint and of this process, for the record."""
    differ = parts.environment.differences(saved.state["environment"])
    if differ and not force:
        raise OtherEnvironment(
            f"{parts.folder.path}: resuming here would not give the same numbers ({'; '.join(differ)}). "
            "`train --resume RUN --force-resume` goes on all the same, and the record says so.",
            differ,
        )
    for line in differ:
        parts.reporter.note(f"resumed under another environment: {line}")
    return [f"step {saved.step}: {line}" for line in differ]


def _report_unheld(parts: RunParts) -> None:
    names = parts.keeper.unheld()
    if names:
        what = f"{', '.join(f'`{name}`' for name in names)} changes while training"
        parts.environment.add_irreproducible(
            f"{what} and no checkpoint can hold it: a resumed run need not equal an unbroken one"
        )


def _places(device: torch.device) -> list[torch.device]:
    """Return the devices whose generators a run draws from."""
    return list(dict.fromkeys((torch.device("cpu"), device)))
