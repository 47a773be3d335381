"""Train runs as tasks of a Ray cluster; the run store lies on a file system that its machines share.

A task does what a process of this machine does. One whose machine is lost is restarted elsewhere from its checkpoint.
"""
# pyright: reportMissingImports=false
# ray is an extra

import contextlib
import os
import secrets
import socket
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from stablebench.errors import UserError, first_line
from stablebench.execution.events import RunCallbacks, RunEnd
from stablebench.execution.single_run import run_one
from stablebench.execution.watch import RunWatch
from stablebench.process.extras import require
from stablebench.process.signals import Interrupt
from stablebench.runs.progress import Lines
from stablebench.runs.store import run_folder
from stablebench.specs.request import Resolved
from stablebench.training.run import ExecutionOptions

_LOOK_S = 0.5
"""Seconds between two looks at the cluster and the run store."""
_LOG_S = 60.0
"""Seconds between two lines in a task's log."""
_RESTARTS = 2
"""How often a run is restarted whose machine or process was lost."""
_CONNECT_S = 10.0
"""Seconds that a cluster gets to answer."""
_PASSED_ON = (
    *("STABLEBENCH_DATA", "STABLEBENCH_CACHE", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"),
    *("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_BASE_URL", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"),
)
"""Environment variables that the runs see as they are here."""


def run_on_ray(
    address: str, runs: list[Resolved], options: ExecutionOptions, workers: int, callbacks: RunCallbacks
) -> int:
    """Train runs on a Ray cluster, at most `workers` at a time; each takes as many cores as it has threads.

    Args:
        address: The cluster's, `host:port`; `auto` for the one that this machine is part of.
        runs: The runs.
        options: How they are run; `runs_dir` and `data_dir` must be the same folders on every machine.
        workers: Runs that are handed to the cluster at once.
        callbacks: Called as they begin, go on and end.

    Returns:
        0, or 129, 130 or 143 after a signal; those that ran have then written their checkpoints.

    Raises:
        UserError: Ray is not installed, there is no such cluster, no machine of it has cores enough, or one of them
            does not see the run store.
    """
    with _connected(address):
        _refuse_too_large(runs)
        _check_shared(options.runs_dir.resolve())
        tasks = _Tasks(runs, options, callbacks)
        with Interrupt() as interrupt:
            while (tasks.waiting and interrupt.signum is None) or tasks.pending:
                if interrupt.signum is None:
                    tasks.submit(workers)
                tasks.collect()
                if interrupt.signum is not None:
                    tasks.stop()
    return interrupt.exit_code


class _Tasks:
    """The runs that are handed to a cluster and what is known of them.

    Args:
        runs: All runs.
        options: How they are run.
        callbacks: Called as they begin, go on and end.
    """

    def __init__(self, runs: list[Resolved], options: ExecutionOptions, callbacks: RunCallbacks) -> None:
        import ray

        self._ray, self._runs, self._options, self._callbacks = ray, runs, options, callbacks
        data_dir = None if options.data_dir is None else options.data_dir.resolve()
        there = replace(
            options, runs_dir=options.runs_dir.resolve(), data_dir=data_dir, wait=True, restart_elsewhere=True
        )
        self._there = ray.put(there)
        self._task = ray.remote(max_calls=1, max_retries=_RESTARTS, scheduling_strategy="SPREAD")(_run_remotely)
        self.waiting = deque(range(len(runs)))
        """Runs to hand over."""
        self.pending: dict[Any, int] = {}
        self._watches: dict[int, RunWatch] = {}
        self._began: set[int] = set()
        self._stopped = False

    def submit(self, most: int) -> None:
        """Hand runs to the cluster until it has so many."""
        while self.waiting and len(self.pending) < most:
            index = self.waiting.popleft()
            spec = self._runs[index].spec
            self._watches[index] = RunWatch(self._options.folder or run_folder(self._options.runs_dir, spec))
            wanted = {"num_cpus": spec.threads, "num_gpus": 1 if spec.device == "cuda" else 0}
            task = self._task.options(name=self._runs[index].label, **wanted)
            self.pending[task.remote(index, self._runs[index], self._there)] = index

    def collect(self) -> None:
        """Report what the run store shows of the runs, and which tasks are over."""
        over, _ = self._ray.wait(list(self.pending), num_returns=len(self.pending), timeout=_LOOK_S)
        for index in self.pending.values():
            for message in self._watches[index].news():
                self._begin(index)
                self._callbacks.on_update(index, message)
        for task in over:
            index = self.pending.pop(task)
            if (end := self._end(task, index)) is not None:
                self._begin(index)
                self._callbacks.on_end(end)

    def _begin(self, index: int) -> None:
        if index not in self._began:
            self._began.add(index)
            self._callbacks.on_start(index)

    def _end(self, task: Any, index: int) -> RunEnd | None:
        """Return how a run ended; None of one that was taken back before it began."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(task)
        except errors.RayTaskError as error:
            why = str(error.cause if error.cause is not None else error)
        except errors.RayError as error:
            why = f"the task exited without reporting a result ({type(error).__name__}: {first_line(error)})"
        if self._stopped and index not in self._began:
            return None
        end = self._watches[index].end_without_report(index, why, self._options.track)
        return replace(end, status="interrupted") if self._stopped else end

    def stop(self) -> None:
        """Have the runs end after their checkpoints, and take back those that wait; once."""
        if not self._stopped:
            self._stopped = True
            for task in self.pending:
                self._ray.cancel(task)  # as Ctrl-C does, in a task that runs


def _run_remotely(index: int, resolved: Resolved, options: ExecutionOptions) -> RunEnd:
    """Train a run in this process, on whatever machine this is."""
    return run_one(index, resolved, options, Lines(sys.stderr, _LOG_S))


def _check_shared(runs_dir: Path) -> None:
    """Check that every machine of the cluster sees the run store of this one.

    Raises:
        UserError: One does not, or this machine cannot write there.
    """
    mark = runs_dir / f".shared-{secrets.token_hex(8)}"
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError as error:
        raise UserError(f"--ray: {runs_dir}: cannot be written ({error.strerror}).") from None
    try:
        blind = _machines_without(mark)
    finally:
        mark.unlink(missing_ok=True)
    if blind:
        raise UserError(
            f"--ray: the run store {runs_dir} must lie on a file system that all machines of the cluster share and may "
            f"write to; {', '.join(blind)} cannot. Name another one with --runs-dir."
        )


def _machines_without(mark: Path) -> list[str]:
    """Return the names of the machines that do not see a file, or may not write next to it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(_sees)
    looks = []
    for node in filter(lambda node: node["Alive"], ray.nodes()):
        there = task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
        looks.append((node["NodeManagerHostname"], there.remote(str(mark))))
    blind = set()
    for name, look in looks:
        with contextlib.suppress(ray.exceptions.RayError):  # a machine that is lost just now
            if not ray.get(look):
                blind.add(name)
    return sorted(blind)


def _sees(mark: str) -> bool:
    return os.path.exists(mark) and os.access(os.path.dirname(mark), os.W_OK)


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """Context with a connection to a cluster; one that the process has already is used and left as it is."""
    require("ray", "--ray")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a task without GPUs leaves these
    import ray

    if ray.is_initialized():
        yield
        return
    _refuse_silence(address)
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", runtime_env={"env_vars": passed_on})
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise _no_cluster(address, first_line(error)) from None
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_silence(address: str) -> None:
    """Check that something listens at `host:port`: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from None


def _no_cluster(address: str, why: str) -> UserError:
    return UserError(
        f"--ray {address}: no Ray cluster answers there ({why}). `ray start --head` starts one on this machine."
    )


def _refuse_too_large(runs: list[Resolved]) -> None:
    import ray

    most = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    wanted = max((run.spec.threads for run in runs), default=0)
    if wanted > most:
        raise UserError(f"--ray: a run takes {wanted} cores, and no machine of the cluster has more than {most:g}.")
    if any(run.spec.device == "cuda" for run in runs) and not ray.cluster_resources().get("GPU"):
        raise UserError("--ray: the runs ask for --device cuda, and no machine of the cluster has a GPU.")
