"""The engine of a network while it trains: where it fails, the reference engine computes the same and stays."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import torch

from stablebench import engines
from stablebench.engines import Choice, numerics
from stablebench.engines.fused.c import tuning as tunings
from stablebench.engines.fused.c.tuning import Tuning
from stablebench.errors import UserError, device_failure
from stablebench.models.network import AnyNetwork
from stablebench.models.recompute import ModuleSnapshot
from stablebench.process import device, python_random
from stablebench.process.c_compiler import CompilationInterrupted, CompilerError
from stablebench.process.signals import Interrupted

T = TypeVar("T")


class FallbackEngine:
    """Runs a network with an engine, and with the reference engine once that one has failed.

    Args:
        asked: `auto`, `reference`, `scan`, `fused` or `chunkwise`.
        network: The network, on `where`; its engine is set here.
        where: Its device.

    Raises:
        UserError: There is no such engine, or it cannot run the network.
    """

    def __init__(self, asked: str, network: AnyNetwork, where: torch.device) -> None:
        self.asked = asked
        self._network, self._where = network, where
        self.draws_elsewhere = False
        """Whether the network may draw from other generators than torch's, which are then restored, too."""
        self._succeeded: set[bool] = set()
        """The modes, training or not, in which a pass has succeeded: first passes fail, where kernels are compiled."""
        self.reason: str | None = None
        """Why the reference engine runs the network instead of the chosen one, or None."""
        self._use(engines.choose(asked, network, where))

    def _use(self, choice: Choice, tuning: Tuning | None = None) -> None:
        self.choice = choice
        self._network.engine = choice.run if tuning is None else partial(choice.run, tuning=tuning)
        self.facts: dict[str, Any] = {"engine": choice.name, **numerics.computed_by(choice, self._network, tuning)}
        """What the record's environment says of it."""

    def compile_as(self, begun: dict[str, Any]) -> None:
        """Compute as a run was begun, unless the user names how, or it cannot be: compiled steps made as those were.

        A matrix memory that was begun by the fused engine, before there were chunks, goes on with it.

        Args:
            begun: The environment that it was begun in, as in its record.
        """
        if self.asked == "auto" and self.name == "chunkwise" and begun["engine"] == "fused":
            with suppress(UserError):  # it cannot be compiled here
                self._use(engines.choose("fused", self._network, self._where))
        if self.choice.backend == "native C" and begun["engine"] == self.name and tunings.named() is None:
            tuning = tunings.of_flags((begun.get("compiler") or {}).get("flags"))
            if tuning is not None:
                self._use(self.choice, tuning)

    @property
    def name(self) -> str:
        """What the record calls the engine that runs the network now."""
        return self.choice.name

    def fall_back(self, reason: str) -> None:
        """Run the network with the reference engine from now on.

        Args:
            reason: Why, in one line.
        """
        self.reason = reason
        self._use(engines.choose("reference", self._network, self._where))

    def attempt(
        self, compute: Callable[[], T], restore: Callable[[], None], on_failure: Callable[[str, str], None]
    ) -> T:
        """Return what `compute` returns; where a kernel or the compiler fails, from the reference engine.

        Where the device itself no longer answers, the error is raised.

        Args:
            compute: Runs the network.
            restore: Restores what `compute` may have changed, besides generators of random numbers and what the network
                itself holds. Running means of the network are put back after a first pass that failed.
            on_failure: Called with the name of the engine that failed, and why, before the second attempt.

        Raises:
            Interrupted: A signal ended a compilation.
            Exception: What `compute` raises that is no failure of an engine.
        """
        if self.name == "reference":
            return compute()
        mode = self._network.training
        before = None if mode in self._succeeded else ModuleSnapshot(self._network)
        random = device.random_state(self._where)
        restore_python = python_random.taken() if self.draws_elsewhere else None

        def restore_all() -> None:
            restore()
            if before is not None:
                before.restore()
            device.set_random_state(self._where, random)
            if restore_python is not None:
                restore_python()

        try:
            result = compute()
            self._succeeded.add(mode)
            return result
        except CompilationInterrupted:
            restore_all()
            raise Interrupted from None
        except Exception as error:
            reason = str(error) if isinstance(error, CompilerError) else device_failure(error)
            if reason is None or not device.answers(self._where):
                raise
        on_failure(self.name, reason)
        restore_all()
        self.fall_back(reason)
        return compute()
