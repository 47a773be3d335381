"""The one training loop: updates, evaluations, checkpoints, and how a run ends."""

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from stablebench.data.batch import Batch
from stablebench.errors import StablebenchError
from stablebench.process import device
from stablebench.process.c_library import compiling_s
from stablebench.process.signals import Interrupted, pass_on
from stablebench.runs.curve import Curve
from stablebench.runs.held_folder import FolderLost
from stablebench.runs.progress import Progress
from stablebench.schema.run_record import Result, RunRecord
from stablebench.training import checkpointing, failures
from stablebench.training.checked_engine import refuse_other_numbers
from stablebench.training.evaluation import evaluate, metric_names, with_scaled_accuracy
from stablebench.training.failures import Diverged, Failure
from stablebench.training.parts import RunParts
from stablebench.training.record import ProgressRecord, write_record
from stablebench.training.step import TrainingStep, floss_before
from stablebench.training.targets import TargetTracker
from stablebench.training.throughput import Throughput, WallClock

_CURVE_EVERY = 10
"""Updates between two training lines of the curve."""


class TrainingLoop:
    """Trains one run in its folder, from where its counters are.

    Args:
        parts: The run, as `build_run` made it.
    """

    def __init__(self, parts: RunParts) -> None:
        self.parts, self.state, self.step = parts, parts.state, TrainingStep(parts)
        self.exit_code, self.tests = 0, True
        """129, 130 or 143 once a signal came, also after the last update; whether a finished run is tested."""
        self._baseline = parts.card.baseline(parts.card.metric, parts.spec.task.params)
        self._targets = TargetTracker(parts.card, parts.spec.task.params)
        self._throughput, self._clock = Throughput(), WallClock(self.state.wall_s)
        self._saved_at: int | None = None
        self._progress = ProgressRecord(parts)

    def run(self) -> RunRecord:
        """Train until the budget is spent, the target holds, the run diverges, or a signal or the reporter ends it.

        Returns:
            The record, as it was written.
        """
        parts = self.parts
        try:
            with parts.interrupt:  # to the end, or the next signal would end it before its checkpoint is written
                self.curve = Curve(parts.folder.curve_path, self.state.curve_length, parts.trackers.add)
                try:
                    return self._record_run()
                except FolderLost as lost:
                    raise self._keep_after_loss(lost) from None
                finally:
                    self.curve.close()
                    parts.trackers.close()
                    parts.reporter.stop()
        finally:
            self.exit_code = parts.interrupt.exit_code  # only now: one may come while the record is written
            parts.restore_random()

    def _record_run(self) -> RunRecord:
        """Train, and record how it ended."""
        self._progress.write()
        self.parts.trackers.begin()
        try:
            return self._train()
        except FolderLost:
            raise
        except (Exception, KeyboardInterrupt) as error:
            failure = failures.classify(error, self.parts)
            if isinstance(error, Interrupted):
                if self._saved_at != self.state.step:
                    self._save()
            record = self._record_failure(failure)
            if failure.raise_as is error:
                raise
            if failure.raise_as is not None:
                raise failure.raise_as from error
            assert record is not None  # it is missing only after a failure, which is raised
            return record

    def _train(self) -> RunRecord:
        state, budget, interrupt = self.state, self.parts.spec.train, self.parts.interrupt
        self._clock = WallClock(state.wall_s)
        if state.step == 0:
            floss_before(self.parts, self._clock)
            self._measure()
        if state.evaluation_is_due(budget):  # a signal ended the last session during it
            self._evaluate()
            self._measure()
        while state.step < budget.steps and not self._targets.target_holds(state.evaluations, budget.stop_at_target):
            loss = self._update()
            if state.evaluation_is_due(budget):
                self._evaluate()
            self._measure()
            goes_on = self._report(loss)
            if interrupt.signum is not None or not goes_on:
                raise Interrupted
            if state.step % budget.checkpoint_every == 0:
                self._save()
                self._progress.write(at_once=True)
        self._save()
        result = self._result(finished=True)
        state.wall_s = self._clock.seconds
        self.curve.sync()
        failures.forget_traceback(self.parts.folder.path)
        return write_record(self.parts, "finished", result=result)

    def _update(self) -> float:
        """Make one update and return its loss."""
        state = self.state
        began, compiled = time.perf_counter(), compiling_s()
        loss, norm = self.step.make()
        seconds = time.perf_counter() - began - (compiling_s() - compiled)
        state.train_s += seconds
        self._throughput.add(seconds)
        state.add_update(loss, norm)
        if state.step % _CURVE_EVERY == 0:
            self._throughput.end_block()
            self.curve.append(step=state.step, split="train", **state.curve_line(loss, norm), wall_s=state.wall_s)
        state.wall_s = self._clock.seconds
        return loss

    def _evaluate(self) -> None:
        """Evaluate on the validation split, and keep the weights if they are the best."""
        parts, state = self.parts, self.state
        refuse_other_numbers(parts)
        metrics = self._metrics(parts.validation)
        if not all(math.isfinite(value) for value in metrics.values()):
            raise Diverged(f"the validation loss is {metrics['loss']} after update {state.step}")
        is_best = state.add_evaluation(metrics)
        self.curve.append(step=state.step, split="validation", **metrics, wall_s=state.wall_s)
        if is_best and parts.task.protocol.select_on == "validation":
            state.best_network = parts.keeper.state().copied()
            checkpointing.save_best(parts)
        self._progress.write()

    def _measure(self) -> None:
        """Write to the curve what the probe measures; its seconds are none of the run's."""
        state, probe = self.state, self.parts.probe
        if probe is None or not probe.due(state.step):
            return
        with self._clock.paused():
            self.curve.append(step=state.step, split="probe", **probe.measure(self.parts.network), wall_s=state.wall_s)

    def _metrics(self, pieces: Callable[[], Iterable[Batch]]) -> dict[str, float]:
        """Return loss and metrics of a split."""
        parts, card = self.parts, self.parts.card
        names, chunk = metric_names(card), max(parts.spec.train.batch_size, 100)
        carried, between = parts.task.carries_states, parts.interrupt.check

        def compute() -> dict[str, float]:
            return evaluate(parts.network, pieces(), card.loss, names, chunk, carried=carried, between=between)

        return parts.engine.attempt(compute, lambda: None, parts.on_engine_failure)

    def _report(self, loss: float) -> bool:
        """Report where the run is, and return whether it goes on."""
        parts, state, card = self.parts, self.state, self.parts.card
        value = state.evaluations[-1].metrics[card.metric] if state.evaluations else None
        steps, speed = parts.spec.train.steps, self._throughput.current
        now = Progress(state.step, steps, loss, card.metric, value, self._baseline, speed, state.train_s)
        return parts.reporter.update(now)

    def _save(self) -> None:
        checkpointing.save(self.parts, self.curve)
        self._saved_at = self.state.step

    def _result(self, finished: bool) -> Result:
        """Return what the run came to.

        Args:
            finished: Whether it is tested: with the best weights, where the card tests those.
        """
        parts, state = self.parts, self.state
        values: dict[str, Any] = {**self._targets.time_to_target(state.evaluations)}
        if state.best is not None:
            values["best"], values["best_step"] = state.best
        if finished:
            values["tested_step"] = state.step
            if parts.task.protocol.select_on == "validation" and state.best_network.tensors and state.best:
                parts.keeper.put_back(state.best_network)
                values |= {"tested": "best", "tested_step": state.best[1]}
        if finished and self.tests:
            values["test"] = self._metrics(lambda: parts.task.pieces("test"))
            if not all(math.isfinite(value) for value in values["test"].values()):
                raise Diverged("the test loss is not finite")
            values["test"] = with_scaled_accuracy(values["test"], parts.card, parts.spec.task.params)
        return Result(**values, steps_per_s=self._throughput.median, peak_bytes=device.peak_bytes(parts.device))

    # -- runs that do not finish ---------------------------------------------------------------------------------

    def _record_failure(self, failure: Failure) -> RunRecord | None:
        """Record how the run ended; None where the disk does not take it, which may be the failure."""
        if failure.status == "diverged":
            self.parts.reporter.note(f"diverged at step {self.state.step}: {failure.message}")
            return write_record(self.parts, "diverged", result=self._result(finished=False), error=failure.message)
        if failure.status == "interrupted":
            return write_record(self.parts, "interrupted", error=failure.message)
        try:
            result = Result(peak_bytes=device.peak_bytes(self.parts.device))
            return write_record(self.parts, "failed", result=result, error=failure.message)
        except StablebenchError:
            path = self.parts.folder.record_path
            self.parts.reporter.note(f"{path}: could not be written, it is still as it was before")
            return None

    def _keep_after_loss(self, lost: FolderLost) -> StablebenchError:
        """Save a run whose folder was only renamed, and return the error that it ends with."""
        if lost.now is None:
            step = self.state.step
            return StablebenchError(f"{lost.path}: {lost.what}; nothing of the run is kept after step {step}.")
        self.parts.folder.follow(lost.now)
        self.curve.follow(self.parts.folder.curve_path)
        if self._saved_at != self.state.step:
            self._save()
        self._record_failure(Failure("failed", f"{lost.what} ({lost.path} before)"))
        return StablebenchError(
            f"{lost.path}: {lost.what}. It ends at step {self.state.step}, with a checkpoint; "
            f"`stablebench train --resume {lost.now}` goes on from there."
        )


def run_part(loop: TrainingLoop) -> RunRecord:
    """Train a run that is a part of something, which a signal ends, too, however the run itself ended.

    Returns:
        The record, as it was written.

    Raises:
        KeyboardInterrupt: SIGINT came.
        SystemExit: Another signal came.
    """
    try:
        return loop.run()
    finally:
        pass_on(loop.exit_code)
