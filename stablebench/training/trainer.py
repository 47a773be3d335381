"""The one training loop, and what surrounds it: evaluations, checkpoints, the record, resuming."""

import math
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from stablebench import engines
from stablebench.data.batch import Batch
from stablebench.data.metrics import is_better, stalls
from stablebench.data.task import Task
from stablebench.engines import numerics
from stablebench.errors import (
    OtherEnvironment,
    StablebenchError,
    UserError,
    described,
    device_failure,
    first_line,
    not_deterministic,
    ran_out_of_memory,
)
from stablebench.models.base import State, count_parameters
from stablebench.models.build import build_network, resolve_device, start_embedding
from stablebench.models.deep_network import DeepNetwork
from stablebench.models.network import Network
from stablebench.models.recompute_check import check_recomputing
from stablebench.models.user_code.namespace import uncovered
from stablebench.process import device, python_random
from stablebench.process import settings as process
from stablebench.process.c_compiler import CompilationInterrupted, CompilerError
from stablebench.process.c_library import compiling_s
from stablebench.process.signals import Interrupt, Interrupted
from stablebench.runs import checkpoint
from stablebench.runs.checkpoint import Checkpoint
from stablebench.runs.held_folder import FolderLost
from stablebench.runs.progress import Progress, Reporter
from stablebench.runs.store import Curve, RunFolder
from stablebench.schema.run_record import Environment, Evaluation, Result, RunRecord, SelfCheck, Status
from stablebench.specs.resolve import Resolved
from stablebench.training import failures, reproducibility
from stablebench.training.checked_engine import checked, engine_differs
from stablebench.training.cuda_graph import GraphedStep, Parts, estimated_nodes
from stablebench.training.evaluation import evaluate, kept_pieces, loss_sum, to_device
from stablebench.training.monitor import MonitorConfig, TrainingProbe
from stablebench.training.network_state import NetworkState, StateKeeper
from stablebench.training.resume import contiguous_clone, latest_valid_checkpoint, states_of
from stablebench.training.targets import TargetTracker
from stablebench.training.throughput import Throughput
from stablebench.training.updates.optimiser import Updater

_CURVE_EVERY = 10
"""Updates between two training lines of the curve."""
_CALLS = 20
"""torch calls of one time step, about: how large a CUDA graph of a training step would be."""
T = TypeVar("T")


class Diverged(Exception):
    """The loss, the gradient or the weights are no longer finite."""


class Trainer:
    """Trains one run in its folder, from the start or from its newest good checkpoint.

    The caller has set the process up (`process.prepare_process`) and holds the folder's lock.

    Args:
        resolved: The run.
        folder: Where it is kept.
        data_dir: Folder of the real data sets.
        reporter: Told how it goes.
        force: Resume although engine, device or versions differ; recorded.
        watch: What is measured along the run, on top of its curve; it changes no number of the run.
        self_check: Hold the engine against the reference before the first update.

    Raises:
        UserError: The spec cannot be built, its data are missing, or it may not be resumed here.
    """

    def __init__(
        self,
        resolved: Resolved,
        folder: RunFolder,
        *,
        data_dir: Path | None,
        reporter: Reporter,
        force: bool = False,
        watch: MonitorConfig | None = None,
        self_check: bool = True,
    ) -> None:
        self.spec, self.card, self.origin = resolved.spec, resolved.card, resolved.origin
        self.folder, self.reporter = folder, reporter
        self.device = resolve_device(self.spec.device)
        self.task = Task(self.card, self.spec.task.params, data_dir)
        self._goes_on = force and bool(folder.checkpoints())
        network = self._built()
        own_code = self.spec.model.source is not None
        self.keeper = StateKeeper(network, whole=own_code)
        irreproducible = process.why_not_reproducible(self.device.type, self.spec.deterministic)
        if own_code and irreproducible is None:
            irreproducible = reproducibility.why_built_differently(self.keeper, self._built)
        self.parameters = count_parameters(network.parameters())
        embedding = getattr(network, "embedding", None)
        self.embedding_parameters = 0 if embedding is None else count_parameters(embedding.parameters())
        self.network = network.to(self.device)
        self.engine = engines.choose(self.spec.engine, self.network, self.device)
        self.network.engine = self.engine.run
        if isinstance(self.network, Network) and self.network.recompute_every is not None:
            check_recomputing(self.network)
        per_epoch = self.task.steps_per_epoch(self.spec.train.batch_size)
        self.updater = Updater(self.network.parameter_groups(), self.spec.optim, per_epoch)
        self.graphed: GraphedStep | None = None
        if self.device.type == "cuda" and self.spec.engine == "fused" and not self.task.carries_states:
            time_steps = 1 if self.engine.name == "fused" else self.spec.horizon
            nodes = estimated_nodes(time_steps, calls=_CALLS)
            self.graphed = GraphedStep(self._gradients, self.updater.parameters, self.device, nodes)
        self.validation = kept_pieces(self.task, "validation")
        self.probe = None if watch is None else TrainingProbe(watch, self.task)
        self.carried: list[State] | None = None
        """The states behind the last update, where the next batch goes on in time."""

        self.environment = Environment(
            versions=process.versions(),
            device=self.device.type,
            hardware=process.hardware(self.device.type),
            engine=self.engine.name,
            threads=torch.get_num_threads(),
            flags=process.flags(),
            commit=process.commit(),
            platform=process.platform_name(),
            torch_config=process.torch_config(),
            packages=process.packages(),
            reproducible=irreproducible is None,
            irreproducible=irreproducible,
            rounding=numerics.settings(),
            **numerics.computed_by(self.engine, self.network),
        )
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.step = 0
        self.train_s = self.wall_s = 0.0
        self.evaluations: list[Evaluation] = []
        self._stalls = 0
        self.resumed_at: list[int] = []
        self.resumed_elsewhere: list[str] = []
        self.gave_way: str | None = None
        """Why a faster engine gave way to the reference, or None."""
        self.best: tuple[float, int] | None = None
        self._best_state = NetworkState()
        self._loss_max: float | None = None
        """The largest loss since the last training line of the curve."""
        self._norm_max: float | None = None
        """Likewise of the gradient's norm."""
        self._saved_at: int | None = None
        self.exit_code = 0
        """129, 130 or 143 once a signal ended the run."""
        self._goals = TargetTracker(self.card, self.spec.task.params)
        self._pace = Throughput()
        self._interrupt = Interrupt()
        self._random_back = python_random.taken()
        self._curve_length = self._take_up(force)
        passes = reproducibility.Passes()
        if own_code:
            passes = reproducibility.two_passes(self.keeper, self.device, self._forward)
        if self.environment.irreproducible is None:
            self._not_reproducible(passes.differ, "warning: ")
        self._draws = passes.moves is not None
        """Whether a user's model may draw from more generators than torch's."""
        if self._draws and self.graphed is not None and self.graphed.reason is None:
            self.graphed.reason = passes.moves  # a replay would not change it
        self.self_check: SelfCheck | None = checked(self, self_check)

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> RunRecord:
        """Train until the budget is spent, the target holds, the run diverges or a signal comes.

        Returns:
            The record, as it was written.
        """
        try:
            with self._interrupt:  # to the end, or the next signal would end it before its checkpoint is written
                return self._run_in_folder()
        finally:
            self._random_back()

    def _run_in_folder(self) -> RunRecord:
        """Train; where the run's folder is lost, keep what can be kept."""
        self.curve = Curve(self.folder.curve_path, self._curve_length)
        try:
            return self._run()
        except FolderLost as lost:
            raise self._kept_of(lost) from None
        finally:
            self.curve.close()
            self.reporter.stop()

    def _run(self) -> RunRecord:
        self._write_record("running")
        try:
            if self.step == 0:
                self._measure()
            sitting = time.perf_counter() - self.wall_s
            if self._evaluation_is_due():  # a signal ended the last sitting in the middle of it
                self._evaluate()
                sitting += self._measure()
            while self.step < self.spec.train.steps and not self._goals.target_holds(
                self.evaluations, self.spec.train.stop_at_target
            ):
                loss = self._update()
                self.wall_s = time.perf_counter() - sitting
                if self._evaluation_is_due():
                    self._evaluate()
                sitting += self._measure()
                goes_on = self._report(loss)
                if self._interrupt.signum is not None or not goes_on:
                    raise Interrupted
                if self.step % self.spec.train.checkpoint_every == 0:
                    self._save()
            self._save()
            result = self._result(test=True)
            self.wall_s = time.perf_counter() - sitting
            self.curve.sync()
            failures.forget_traceback(self.folder.path)
            return self._write_record("finished", result=result)
        except Interrupted:
            if self._saved_at != self.step:
                self._save()
            self.exit_code = self._interrupt.exit_code
            return self._write_record("interrupted", error=self._interrupt.said or "stopped on request")
        except Diverged as error:
            return self._diverged(str(error))
        except KeyboardInterrupt:
            self._write_record("interrupted", error="ended at once, before its checkpoint")
            raise
        except FolderLost:
            raise
        except Exception as error:
            kept = None if isinstance(error, StablebenchError) else failures.keep_traceback(self.folder.path, error)
            if ran_out_of_memory(error):
                why = f"out of memory: {first_line(error)}"
                self._fail(why)
                peak = device.peak_bytes(self.device)
                raise StablebenchError(
                    f"{self.folder.path}: out of memory at step {self.step}, with a peak of {peak:,} bytes; "
                    "take a smaller size, batch or --recompute-every."
                ) from error
            if (failed := device_failure(error)) is not None:  # nothing more can be asked of the device
                self._fail(f"the device failed: {failed}")
                raise StablebenchError(
                    f"{self.folder.path}: the device failed at step {self.step} ({failed}); started again, the run "
                    "goes on from its last checkpoint."
                ) from error
            if (what := not_deterministic(error)) is not None:
                self._fail(what)
                raise StablebenchError(f"{self.folder.path}: {what}; leave --deterministic out.") from error
            if not isinstance(error, StablebenchError) and not self._weights_are_finite():
                return self._diverged(f"the weights are not finite after update {self.step}, {type(error).__name__}")
            if isinstance(error, StablebenchError):
                self._fail(str(error))
                raise
            self._fail(described(error))
            raise failures.unexpected(self.folder.path, self.step, error, kept) from error

    def _kept_of(self, lost: FolderLost) -> StablebenchError:
        """Keep what there is of a run whose folder is gone: all of it where the folder was only renamed."""
        if lost.now is None:
            return StablebenchError(f"{lost.path}: {lost.said}; nothing of the run is kept after step {self.step}.")
        self.folder.follow(lost.now)
        self.curve.follow(self.folder.curve_path)
        if self._saved_at != self.step:
            self._save()
        self._fail(f"{lost.said} ({lost.path} before)")
        goes_on = f"`stablebench train --resume {lost.now}` goes on from there"
        return StablebenchError(f"{lost.path}: {lost.said}. It ends at step {self.step}, with a checkpoint; {goes_on}.")

    def _diverged(self, why: str) -> RunRecord:
        self.reporter.note(f"diverged at step {self.step}: {why}")
        return self._write_record("diverged", result=self._result(test=False), error=why)

    def _fail(self, why: str) -> None:
        """Record a failure, where the disk takes it; that it does not may be the failure."""
        try:
            self._write_record("failed", result=Result(peak_bytes=device.peak_bytes(self.device)), error=why)
        except StablebenchError:
            self.reporter.note(f"{self.folder.record_path}: could not be written, it still says what it said before")

    def _weights_are_finite(self) -> bool:
        return all(bool(p.isfinite().all()) for p in self.network.parameters())

    def _update(self) -> float:
        """Make one update and return its loss."""
        began, compiled = time.perf_counter(), compiling_s()
        size = self.spec.train.batch_size
        batch = to_device(self.task.train_batch(self.spec.seed, self.step, size), self.device)
        if self.task.begins_anew(self.step, size):
            self.carried = None
        value, norm_value = self._with_fallback(lambda: self._loss_and_norm(batch))
        if math.isfinite(value) and norm_value == math.inf:
            norm_value = self._large_norm()
        if not math.isfinite(value) or not math.isfinite(norm_value):
            what = "loss" if not math.isfinite(value) else "gradient norm"
            raise Diverged(f"the {what} is {value if what == 'loss' else norm_value} in update {self.step + 1}")
        self.updater.update(self.step, self._stalls)
        self.network.after_update()
        self.step += 1
        if self.step == 1:  # later ones are looked at where they are saved
            self.keeper.refuse_other_parameters()
        took = time.perf_counter() - began - (compiling_s() - compiled)
        self.train_s += took
        self._pace.add(took)
        self._loss_max = value if self._loss_max is None else max(value, self._loss_max)
        self._norm_max = norm_value if self._norm_max is None else max(norm_value, self._norm_max)
        if self.step % _CURVE_EVERY == 0:
            self._pace.end_block()
            seen = {"loss": value, "loss_max": self._loss_max}
            seen |= {"gradient_norm": norm_value, "gradient_norm_max": self._norm_max}
            self.curve.append(step=self.step, split="train", **seen, wall_s=self.wall_s)
            self._loss_max = self._norm_max = None
        return value

    def _large_norm(self) -> float:
        """Return the norm of a gradient whose squares pass its type, clipped if the spec says so."""
        norm = self.updater.norm_of_large()
        if math.isfinite(norm) and not self.updater.clips:
            raise Diverged(
                f"the gradient norm is {norm:.3g} in update {self.step + 1}: its square passes {self.spec.precision}; "
                "`optim.clip_norm` would bound it"
            )
        return norm

    def _loss_and_norm(self, batch: Batch) -> tuple[float, float]:
        """Fill the gradients and return the loss and the gradient's norm as numbers."""
        if self.graphed is None:
            self.updater.zero_grad()
            loss, norm = self._gradients(batch)
        else:
            loss, norm = self.graphed(batch)
        return loss.item(), norm.item()

    def _with_fallback(self, compute: Callable[[], T]) -> T:
        """Return what `compute` returns: where a kernel or the compiler fails, from the reference engine from then on.

        Where the device itself is gone, the error ends the run.
        """
        if self.engine.name == "reference":
            return compute()
        carried, random = self.carried, device.random_state(self.device)
        back = python_random.taken() if self._draws else None

        def undo() -> None:
            self.carried = carried
            device.set_random_state(self.device, random)
            if back is not None:
                back()

        try:
            return compute()
        except CompilationInterrupted:
            undo()
            raise Interrupted from None
        except Exception as error:
            failed = str(error) if isinstance(error, CompilerError) else device_failure(error)
            if failed is None or not device.answers(self.device):
                raise
        fast = self.engine.name
        self.reporter.note(f"warning: the {fast} engine failed ({failed}); the reference engine goes on")
        self.resumed_elsewhere.append(f"step {self.step}: engine: {fast} then, reference now ({failed})")
        self.give_way(failed)
        undo()
        return compute()

    def give_way(self, why: str) -> None:
        """Take the reference engine from now on."""
        self.gave_way = why
        self.engine = engines.choose("reference", self.network, self.device)
        self.network.engine = self.engine.run
        self.graphed = None
        now = {"engine": self.engine.name, **numerics.computed_by(self.engine, self.network)}
        self.environment = self.environment.model_copy(update=now)

    def _gradients(self, parts: Parts) -> tuple[Tensor, Tensor]:
        """Fill the gradients and return the loss and the gradient's norm."""
        batch = Batch(*parts)  # pyright: ignore[reportArgumentType]
        output, states = self.network(batch.inputs, self.carried, batch.lengths)
        if self.task.carries_states:
            self.carried = [tuple(contiguous_clone(part.detach()) for part in state) for state in states]
        total, count = loss_sum(self.card.loss, output, batch)
        loss = total / count
        penalty = self.network.penalty()
        (loss if penalty is None else loss + penalty).backward()
        return loss, self.updater.gradient_norm()

    def _evaluation_is_due(self) -> bool:
        at = self.step and (self.step % self.spec.train.eval_every == 0 or self.step == self.spec.train.steps)
        return bool(at) and (not self.evaluations or self.evaluations[-1].step != self.step)

    def _check_engine_again(self) -> None:
        """Refuse to go on with an engine that a user's model has got out of step with.

        What a step reads besides tensors may change while it trains, in ways that no look at it finds.

        Raises:
            StablebenchError: The engine does not compute what the reference does any more.
        """
        if self.spec.model.source is not None and self.self_check == "passed":
            what = engine_differs(self)
            if what is not None:
                raise StablebenchError(
                    f"{self.folder.path}: after update {self.step} the {self.engine.name} engine does not compute what "
                    f"the reference engine does ({what}): the model's step reads something that changes while it "
                    "trains. Its numbers since the last check may be wrong; run it with --engine reference."
                )

    def _evaluate(self) -> None:
        self._check_engine_again()
        metrics = self._metrics(self.validation)
        if not all(math.isfinite(v) for v in metrics.values()):
            raise Diverged(f"the validation loss is {metrics['loss']} after update {self.step}")
        self.evaluations.append(Evaluation(step=self.step, train_s=self.train_s, metrics=metrics))
        self._count_stalls()
        self.curve.append(step=self.step, split="validation", **metrics, wall_s=self.wall_s)
        value = metrics[self.card.metric]
        if self.best is None or is_better(self.card.metric, value, self.best[0]):
            self.best = (value, self.step)
            if self.task.protocol.select_on == "validation":
                self._best_state = self.keeper.state().copied()
                self._save_best()
        self._write_record("running")

    def _measure(self) -> float:
        """Write to the curve what the probe measures, and return the seconds it took, which are none of the run's."""
        began = time.perf_counter()
        if self.probe is not None and self.probe.due(self.step):
            found = self.probe.measure(self.network)
            self.curve.append(step=self.step, split="probe", **found, wall_s=self.wall_s)
        return time.perf_counter() - began

    def _count_stalls(self) -> None:
        self._stalls = stalls(self.card.metric, [e.metrics[self.card.metric] for e in self.evaluations])

    def _metrics(self, pieces: Callable[[], Iterable[Batch]]) -> dict[str, float]:
        names = list(dict.fromkeys(["loss", self.card.metric, *self.card.extra_metrics]))
        chunk = max(self.spec.train.batch_size, 100)
        carried = self.task.carries_states

        def compute() -> dict[str, float]:
            return evaluate(self.network, pieces(), self.card.loss, names, chunk, carried=carried, between=self._heed)

        return self._with_fallback(compute)

    def _heed(self) -> None:
        if self._interrupt.signum is not None:
            raise Interrupted

    def _report(self, loss: float) -> bool:
        value = self.evaluations[-1].metrics[self.card.metric] if self.evaluations else None
        baseline = self.card.baseline(self.card.metric, self.spec.task.params)
        speed = self._pace.current
        return self.reporter.update(
            Progress(self.step, self.spec.train.steps, loss, self.card.metric, value, baseline, speed, self.train_s)
        )

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def _tensors(self, network: NetworkState) -> dict[str, torch.Tensor]:
        best = self._best_state
        sources = {"network": network.tensors, "optimiser": self.updater.tensors()}
        sources["random"] = {"cpu": torch.get_rng_state()}
        sources["carried"] = {
            f"{layer}.{i}": part for layer, state in enumerate(self.carried or []) for i, part in enumerate(state)
        }
        sources |= {"best": best.tensors, "attributes": network.outside, "best_attributes": best.outside}
        sources["generators"] = python_random.states()
        if self.device.type == "cuda":
            sources["random"]["cuda"] = torch.cuda.get_rng_state()
        return {f"{part}.{name}": tensor for part, found in sources.items() for name, tensor in found.items()}

    def _save(self) -> None:
        self.folder.check()
        self.curve.sync()  # the checkpoint says how long it is
        self.keeper.refuse_other_parameters()
        self._say_what_is_not_held()
        network = self.keeper.state()
        state = {
            "step": self.step,
            "spec_hash": self.spec.spec_hash(),
            "seed": self.spec.seed,
            "train_s": self.train_s,
            "wall_s": self.wall_s,
            "started": self.started,
            "evaluations": [e.model_dump() for e in self.evaluations],
            "best": self.best,
            "curve_length": self.curve.length,
            "resumed_at": self.resumed_at,
            "resumed_elsewhere": self.resumed_elsewhere,
            "gave_way": self.gave_way,
            "loss_max": self._loss_max,
            "gradient_norm_max": self._norm_max,
            "attributes": network.document,
            "best_attributes": self._best_state.document,
            "environment": self.environment.model_dump(),
        }
        checkpoint.save(self.folder.checkpoint_path(self.step), Checkpoint(self._tensors(network), state))
        self.folder.drop_old_checkpoints()
        self._saved_at = self.step

    def _save_best(self) -> None:
        self.folder.check()
        best = self._best_state
        weights = {f"network.{name}": tensor for name, tensor in best.tensors.items()}
        weights |= {f"attributes.{name}": tensor for name, tensor in best.outside.items()}
        state: dict[str, Any] = {"step": self.best[1] if self.best else self.step}
        state |= {"attributes": best.document} if best.document else {}
        checkpoint.save(self.folder.best_path, Checkpoint(weights, state))

    def _say_what_is_not_held(self) -> None:
        names = self.keeper.unheld()
        if names:
            what = f"{', '.join(f'`{name}`' for name in names)} changes while training"
            self._not_reproducible(
                f"{what} and no checkpoint can hold it: a resumed run need not equal an unbroken one"
            )

    def _not_reproducible(self, why: str | None, kind: str = "") -> None:
        """Note, and have the record say, why another run of this spec may give other numbers; None if it may not."""
        before = self.environment.irreproducible
        if why is None or why in (before or ""):
            return
        self.reporter.note(f"{kind}{why}")
        update = {"reproducible": False, "irreproducible": why if before is None else f"{before}; {why}"}
        self.environment = self.environment.model_copy(update=update)

    def _built(self) -> Network | DeepNetwork:
        network = build_network(self.spec, self.card, self.task.sizes, weights_follow=self._goes_on)
        start_embedding(network, self.task)
        return network

    def _forward(self) -> list[Tensor]:
        """Return what the network makes of the batch of the next update."""
        seed, size = self.spec.seed, self.spec.train.batch_size
        batch = to_device(self.task.train_batch(seed, self.step, size), self.device)
        output, states = self.network(batch.inputs, self.carried, batch.lengths)
        penalty = self.network.penalty()
        parts = [part for state in states or () for part in state]
        return [output, *parts, *([] if penalty is None else [penalty])]

    def _take_up(self, force: bool) -> int:
        """Restore the newest good checkpoint and return the curve's length then; 0 where there is none."""
        found = latest_valid_checkpoint(self.folder, self.reporter)
        torch.manual_seed(self.spec.seed)
        python_random.seed(self.spec.seed)
        if found is None:
            return 0
        state = found.state
        if state["spec_hash"] != self.spec.spec_hash() or state["seed"] != self.spec.seed:
            raise UserError(f"{self.folder.path}: its checkpoint belongs to another spec.")
        if state.get("gave_way") is not None and self.engine.name != "reference":
            self.reporter.note(
                f"the {self.engine.name} engine failed before ({state['gave_way']}); the reference engine goes on"
            )
            self.give_way(state["gave_way"])
        self.resumed_elsewhere = [
            *state.get("resumed_elsewhere", []),
            *self._refuse_other_environment(state["environment"], found.step, force),
        ]
        lost = self.keeper.put_back(NetworkState.of_checkpoint(found))
        if before := state["environment"].get("irreproducible"):
            self._not_reproducible(before, "this run: ")
        elif lost:
            self._not_reproducible(f"no checkpoint can hold {', '.join(f'`{name}`' for name in lost)}")
        self.updater.load(found.part("optimiser"))
        random = found.part("random")
        torch.set_rng_state(random["cpu"])
        if self.device.type == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"])
        python_random.set_states(found.part("generators"))
        carried = found.part("carried")
        if carried:
            self.carried = states_of(carried, self.device)
        self.step, self.train_s, self.wall_s = found.step, state["train_s"], state["wall_s"]
        self.started = state["started"]
        self.evaluations = [Evaluation.model_validate(e) for e in state["evaluations"]]
        self._count_stalls()
        self.best = tuple(state["best"]) if state["best"] else None
        self._loss_max, self._norm_max = state.get("loss_max"), state.get("gradient_norm_max")
        self._best_state = NetworkState.of_checkpoint(found, best=True)
        if self._best_state.tensors:
            self._save_best()  # the file may be of a later step, or damaged
        self.resumed_at = [*state["resumed_at"], self.step]
        self.reporter.note(f"resumed at step {self.step}")
        return state["curve_length"]

    def _refuse_other_environment(self, before: dict[str, Any], step: int, force: bool) -> list[str]:
        now = self.environment.model_dump()
        differ = [
            f"{key}: {before[key]} then, {now[key]} now"
            for key in ("versions", "device", "hardware", "engine", "threads", "flags")
            if before[key] != now[key]
        ]
        differ += numerics.differences(before, now)
        if differ and not force:
            raise OtherEnvironment(
                f"{self.folder.path}: resuming here would not give the same numbers ({'; '.join(differ)}). "
                "`train --resume RUN --force-resume` goes on all the same, and the record says so.",
                differ,
            )
        for line in differ:
            self.reporter.note(f"resumed under another environment: {line}")
        return [f"step {step}: {line}" for line in differ]

    # -- the record ----------------------------------------------------------------------------------------------

    def _result(self, test: bool) -> Result:
        values: dict[str, Any] = {}
        if test:
            tested_best = self.task.protocol.select_on == "validation" and bool(self._best_state.tensors)
            if tested_best:
                self.keeper.put_back(self._best_state)
            values["tested"] = "best" if tested_best else "last"
            values["tested_step"] = self.best[1] if tested_best and self.best else self.step
            values["test"] = self._metrics(lambda: self.task.pieces("test"))
            if not all(math.isfinite(v) for v in values["test"].values()):
                raise Diverged("the test loss is not finite")
        values |= self._goals.arrivals(self.evaluations)
        if self.best is not None:
            values["best"], values["best_step"] = self.best
        return Result(**values, steps_per_s=self._pace.median, peak_bytes=device.peak_bytes(self.device))

    def _write_record(self, status: Status, result: Result | None = None, error: str | None = None) -> RunRecord:
        record = RunRecord(
            spec=self.spec,
            spec_hash=self.spec.spec_hash(),
            status=status,
            metric=self.card.metric,
            baseline=self.card.baseline(self.card.metric, self.spec.task.params),
            target=self.card.target_value(self.spec.task.params),
            target_metric=self.card.target.metric if self.card.target else None,
            card_sha256=self.card.sha256(),
            selection=self.card.selection(self.spec.task.params),
            parameters=self.parameters,
            embedding_parameters=self.embedding_parameters,
            step=self.step,
            train_s=self.train_s,
            wall_s=self.wall_s,
            started=self.started,
            evaluations=self.evaluations,
            result=result or Result(),
            environment=self.environment,
            resumed_at=self.resumed_at,
            resumed_elsewhere=self.resumed_elsewhere,
            origin=self.origin,
            self_check=self.self_check,
            probe=None if self.probe is None else str(self.probe.config),
            error=error,
            uncovered=[] if self.spec.model.source is None else uncovered(),
        )
        self.folder.write_record(record)
        return record
