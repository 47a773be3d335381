"""The state of a network: parameters and buffers, and, of a user's own model, its other attributes."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.network import AnyNetwork
from stablebench.process import device, python_random
from stablebench.runs.checkpoint import Checkpoint, why_not_stored
from stablebench.training import attribute_reader, attributes
from stablebench.training.attributes import Held

_EXTRA = "extra state"


@dataclass(frozen=True)
class NetworkState:
    """The state of a network.

    Args:
        tensors: Its parameters and buffers.
        outside: Tensors of its other attributes.
        document: The rest, as JSON; empty where only parameters and buffers are held.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    outside: dict[str, Tensor] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)

    def copied(self) -> "NetworkState":
        """Return it with tensors of its own."""
        tensors, outside = ({k: v.detach().clone() for k, v in t.items()} for t in (self.tensors, self.outside))
        return NetworkState(tensors, outside, copy.deepcopy(self.document))

    @classmethod
    def of_checkpoint(cls, saved: Checkpoint, best: bool = False) -> "NetworkState":
        """Return the state that a checkpoint holds, or that of the weights best on validation."""
        document = saved.state.get("best_attributes" if best else "attributes") or {}
        outside = saved.part("best_attributes" if best else "attributes")
        return cls(saved.part("best" if best else "network"), outside, document)


class StateKeeper:
    """Takes the state of a network, and puts it back.

    Args:
        network: The network, as it was built.
        whole: Whether to hold the other attributes of its models, too: those of a user's own code.

    Raises:
        UserError: The network has something that no checkpoint holds.
    """

    def __init__(self, network: AnyNetwork, whole: bool) -> None:
        self._network, self._whole = network, whole
        self._parameters = dict(network.named_parameters())
        self._refuse_what_is_not_stored()
        self._opaque = self._attributes().opaque if whole else {}
        self._said: set[str] = set()

    def _models(self) -> dict[str, nn.Module]:
        names = {id(module): name for name, module in self._network.named_modules()}
        return {names[id(model)]: model for model in self._network.models}

    def _attributes(self) -> Held:
        return attributes.take(self._models())

    def _refuse_what_is_not_stored(self) -> None:
        for name, module in self._network.named_modules():
            own = type(module)
            gives, takes = own.get_extra_state, own.set_extra_state
            if gives is not nn.Module.get_extra_state and takes is nn.Module.set_extra_state:
                raise UserError(
                    f"model: {own.__name__} ({name}) has `get_extra_state` and no `set_extra_state`, so that its "
                    "checkpoints could not be restored; write both."
                )
        passing = {
            f"{name}.{key}": module._buffers[key]
            for name, module in self._network.named_modules()
            for key in module._non_persistent_buffers_set
        }
        for name, value in {**self._network.state_dict(), **passing}.items():
            if isinstance(value, Tensor):
                if (why := why_not_stored(value)) is not None:
                    raise UserError(
                        f"model: no checkpoint can hold `{name}`: {why}. Make it a dense tensor with values, or "
                        "compute it where it is needed."
                    )
            elif value is not None and (opaque := attributes.encoded(value, name).opaque):
                kinds = ", ".join(sorted({type(each.value).__name__ for each in opaque.values()}))
                raise UserError(
                    f"model: no checkpoint can hold `{name}` ({kinds}): extra state must be numbers, strings, "
                    "tensors, and lists and dictionaries of them."
                )

    def state(self) -> NetworkState:
        """Return the state; its tensors are those of the network."""
        tensors, extra, outside = {}, {}, {}
        for name, value in self._network.state_dict().items():
            if isinstance(value, Tensor):
                tensors[name] = value
            else:
                held = attributes.encoded(value, f"{_EXTRA} {name}")
                extra[name] = held.document
                outside |= held.tensors
        document: dict[str, Any] = {"extra": extra} if extra else {}
        if self._whole:
            held = self._attributes()
            outside |= held.tensors
            document["modules"] = held.document
            document["frozen"] = [name for name, p in self._network.named_parameters() if not p.requires_grad]
        return NetworkState(tensors, outside, document)

    def put_back(self, state: NetworkState) -> list[str]:
        """Give the network a state, and return the attributes that could not be given back.

        Raises:
            UserError: The state is another network's.
        """
        _write_tensors(self._network, state)
        document = state.document
        if "frozen" in document:
            for name, parameter in self._network.named_parameters():
                parameter.requires_grad_(name not in document["frozen"])
        if "modules" not in document:
            return []
        return attribute_reader.put_back(self._models(), Held(document["modules"], state.outside))

    def unheld(self) -> list[str]:
        """Return the attributes that changed and cannot be held, each once."""
        if not self._whole:
            return []
        now = self._attributes().opaque
        changed = [name for name in now if name not in self._opaque or now[name].differs(self._opaque[name])]
        new = [name for name in changed if name not in self._said]
        self._said |= set(new)
        return new

    def refuse_other_parameters(self) -> None:
        """Check that the network has the parameters it began with.

        Raises:
            UserError: One was replaced, added or removed, which the optimiser does not see.
        """
        now = dict(self._network.named_parameters())
        for name in dict.fromkeys([*self._parameters, *now]):
            before, after = self._parameters.get(name), now.get(name)
            if before is after:
                continue
            what = "removed" if after is None else "added" if before is None else "replaced"
            raise UserError(
                f"model: the parameter `{name}` was {what} while training, which the optimiser does not see; change "
                f"its values in place, `self.{name.rpartition('.')[2]}.data.copy_(...)`."
            )

    @contextmanager
    def undisturbed(self, where: torch.device) -> Iterator[None]:
        """Context behind which the network and all generators of random numbers are as they were before it."""
        before = self.state().copied()
        random = [(device.random_state(d), d) for d in {where, torch.device("cpu")}]
        try:
            with python_random.kept():
                yield
        finally:
            self.put_back(before)
            for state, place in random:
                device.set_random_state(place, state)


def _fit_buffers(network: AnyNetwork, saved: dict[str, Tensor]) -> None:
    """Give the buffers of a user's model, which may change while it is trained, the shapes and types they are to have.

    One that has lost its value, or got its first one, is seen to as well.
    """
    made: dict[int, Tensor] = {}
    place = next(network.head.parameters()).device
    for prefix, module in network.named_modules(remove_duplicate=False):
        for key, buffer in module._buffers.items():
            if key in module._non_persistent_buffers_set:
                continue
            new = saved.get(f"{prefix}.{key}" if prefix else key)
            if new is None:
                module._buffers[key] = None
            elif buffer is None or (buffer.shape, buffer.dtype) != (new.shape, new.dtype):
                module._buffers[key] = made.setdefault(id(new), new.clone().to(place))


def _write_tensors(network: AnyNetwork, state: NetworkState) -> None:
    """Give a network its parameters and buffers."""
    saved = state.tensors
    if "modules" in state.document:
        _fit_buffers(network, saved)
    present = network.state_dict()
    dilated = {name for name, t in present.items() if isinstance(t, Tensor) and attribute_reader.overlaps(t)}
    extra = {
        name: attribute_reader.decoded(Held(document, state.outside), f"{_EXTRA} {name}")
        for name, document in state.document.get("extra", {}).items()
    }
    given: Mapping[str, Any] = {name: t for name, t in saved.items() if name not in dilated} | extra
    try:
        wrong = network.load_state_dict(given, strict=False)
    except RuntimeError as error:
        raise UserError(f"the checkpoint does not fit the model ({str(error).strip()}).") from None
    missing = set(wrong.missing_keys) - (dilated & saved.keys())
    if missing or wrong.unexpected_keys:
        names = ", ".join([*sorted(missing), *wrong.unexpected_keys])
        raise UserError(f"the checkpoint does not fit the model (only one of them has {names}).")
    for name in dilated & saved.keys():
        if present[name].shape != saved[name].shape:
            raise UserError(f"the checkpoint does not fit the model ({name} has another shape).")
        attribute_reader.write(present[name], saved[name])
