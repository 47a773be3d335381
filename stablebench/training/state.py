"""All that changes while a run trains, next to its weights and its optimiser: what a checkpoint holds of it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from stablebench.data.metrics import is_better, stalls
from stablebench.models.base import State
from stablebench.runs.checkpoint import Checkpoint
from stablebench.schema.floss import FlossRecord
from stablebench.schema.run_record import Evaluation
from stablebench.schema.run_spec import TrainSpec
from stablebench.training.network_state import NetworkState
from stablebench.training.resume import states_of

_FALLBACK_KEY = "gave_way"
"""The key of the fallback's reason in checkpoints, as version 0.1.0 wrote it."""
_AS_THEY_ARE = ("train_s", "wall_s", "started", "curve_length", "loss_max", "gradient_norm_max")
"""Counters that a checkpoint holds as they are; it also holds those that `to_checkpoint` puts into other words."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class TrainingState:
    """The counters of a run.

    Args:
        metric: Name of the task's metric.
        started: When the run began, ISO 8601.
        step: Updates made.
        train_s: Seconds of all updates, compilation excluded.
        wall_s: Seconds of all sessions, probes excluded.
        evaluations: On the validation split.
        stalls: Evaluations in a row without an improvement.
        best: The best validation value and its update; None before the first.
        best_network: The network then, where the card tests those weights.
        carried: The states after the last update, by layer, where the next batch continues in time.
        loss_max: The largest loss since the last training line of the curve.
        gradient_norm_max: The largest norm of a gradient since then.
        curve_length: Bytes of the curve at the last checkpoint.
        resumed_at: Updates after which the run was resumed.
        resumed_elsewhere: What differed in the environment then.
        extended: From which shorter runs it went on, with the updates.
        floss: What flossing did; None where there was none.
        fallback_reason: Why the reference engine runs the network instead of the chosen one, or None.
    """

    metric: str
    started: str = field(default_factory=_now)
    step: int = 0
    train_s: float = 0.0
    wall_s: float = 0.0
    evaluations: list[Evaluation] = field(default_factory=list)
    stalls: int = 0
    best: tuple[float, int] | None = None
    best_network: NetworkState = field(default_factory=NetworkState)
    carried: list[State] | None = None
    loss_max: float | None = None
    gradient_norm_max: float | None = None
    curve_length: int = 0
    resumed_at: list[int] = field(default_factory=list)
    resumed_elsewhere: list[str] = field(default_factory=list)
    extended: list[str] = field(default_factory=list)
    floss: FlossRecord | None = None
    fallback_reason: str | None = None

    def evaluation_is_due(self, budget: TrainSpec) -> bool:
        """Return whether the weights as they are now are to be evaluated, and have not been."""
        due = self.step and (self.step % budget.eval_every == 0 or self.step == budget.steps)
        return bool(due) and (not self.evaluations or self.evaluations[-1].step != self.step)

    def add_update(self, loss: float, gradient_norm: float) -> None:
        """Note the loss and the norm of an update for the curve's next training line."""
        self.loss_max = loss if self.loss_max is None else max(loss, self.loss_max)
        norm_max = self.gradient_norm_max
        self.gradient_norm_max = gradient_norm if norm_max is None else max(gradient_norm, norm_max)

    def curve_line(self, loss: float, gradient_norm: float) -> dict[str, float | None]:
        """Return a training line of the curve, with the maxima since the last one, and begin new maxima.

        Args:
            loss: Of the last update.
            gradient_norm: Of the last update.
        """
        line = {"loss": loss, "loss_max": self.loss_max}
        line |= {"gradient_norm": gradient_norm, "gradient_norm_max": self.gradient_norm_max}
        self.loss_max = self.gradient_norm_max = None
        return line

    def add_evaluation(self, metrics: dict[str, float]) -> bool:
        """Note an evaluation, and return whether it is the best so far."""
        self.evaluations.append(Evaluation(step=self.step, train_s=self.train_s, metrics=metrics))
        self._count_stalls()
        value = metrics[self.metric]
        if self.best is not None and not is_better(self.metric, value, self.best[0]):
            return False
        self.best = (value, self.step)
        return True

    def _count_stalls(self) -> None:
        self.stalls = stalls(self.metric, [e.metrics[self.metric] for e in self.evaluations])

    def to_checkpoint(self, parts: dict[str, dict[str, Tensor]], facts: dict[str, Any]) -> Checkpoint:
        """Return a checkpoint of the run.

        Args:
            parts: The tensors of the network, the optimiser and the generators of random numbers, by part.
            facts: What JSON can hold of the spec, the environment and the network.
        """
        carried = {
            f"{layer}.{i}": part for layer, state in enumerate(self.carried or []) for i, part in enumerate(state)
        }
        best = self.best_network
        parts = {**parts, "carried": carried, "best": best.tensors, "best_attributes": best.outside}
        tensors = {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
        counters = {name: getattr(self, name) for name in _AS_THEY_ARE} | {
            "step": self.step,
            "evaluations": [e.model_dump() for e in self.evaluations],
            "best": self.best,
            "resumed_at": self.resumed_at,
            "resumed_elsewhere": self.resumed_elsewhere,
            "extended": self.extended,
            "floss": None if self.floss is None else self.floss.model_dump(),
            _FALLBACK_KEY: self.fallback_reason,
            "best_attributes": best.document,
        }
        return Checkpoint(tensors, counters | facts)

    def restore(self, checkpoint: Checkpoint, device: torch.device) -> None:
        """Take over what a checkpoint holds.

        Args:
            checkpoint: The checkpoint; earlier versions wrote fewer keys.
            device: Where the network runs.
        """
        saved = checkpoint.state
        self.step = checkpoint.step
        for name in _AS_THEY_ARE:
            setattr(self, name, saved.get(name))
        self.evaluations = [Evaluation.model_validate(e) for e in saved["evaluations"]]
        self._count_stalls()
        self.best = tuple(saved["best"]) if saved["best"] else None
        self.best_network = NetworkState.of_checkpoint(checkpoint, best=True)
        if carried := checkpoint.part("carried"):
            self.carried = states_of(carried, device)
        self.resumed_at = [*saved["resumed_at"], self.step]
        self.resumed_elsewhere = saved.get("resumed_elsewhere", [])
        self.extended = saved.get("extended", [])
        self.floss = FlossRecord.model_validate(saved["floss"]) if saved.get("floss") else None
        self.fallback_reason = fallback_reason(checkpoint)


def best_of(metric: str, evaluations: list[Evaluation]) -> tuple[float, int] | None:
    """Return the best validation value of evaluations and its update, the first of equal ones."""
    best: tuple[float, int] | None = None
    for evaluation in evaluations:
        value = evaluation.metrics[metric]
        if best is None or is_better(metric, value, best[0]):
            best = (value, evaluation.step)
    return best


def fallback_reason(checkpoint: Checkpoint) -> str | None:
    """Return why the reference engine ran the network of a checkpoint instead of the chosen one, or None."""
    return checkpoint.state.get(_FALLBACK_KEY)
