"""Run runs as tasks of a Ray cluster whose machines share no file system.

Each run trains in a fresh process on some machine. Its progress, and with every checkpoint its files, go to a mailbox
on this machine, which writes them to the run store. A run whose machine is lost is begun once more elsewhere from
what came last.
"""
# pyright: reportMissingImports=false
# ray is an extra

import contextlib
import os
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stablebench.errors import StablebenchError, UserError, first_line
from stablebench.execution.events import RunCallbacks, RunEnd
from stablebench.execution.local import run_one
from stablebench.execution.run_files import Files, RunFolderSync, all_files, write_files
from stablebench.process.extras import require
from stablebench.process.signals import Interrupt
from stablebench.runs.lock import RunLock, RunTaken
from stablebench.runs.progress import Progress, Silent
from stablebench.runs.store import RunFolder, run_folder
from stablebench.specs.resolve import Resolved
from stablebench.training.run import Options, has_ended

_UPDATE_S = 0.5
"""Seconds between two reports of a run."""
_TRIES = 3
"""How often a run is begun whose machine or process was lost."""
_CONNECT_S = 10.0
"""Seconds that a cluster gets to answer."""
_PASSED_ON = ("STABLEBENCH_DATA", "STABLEBENCH_CACHE", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME")
"""Environment variables that the runs see as they are here."""


class _Mailbox:
    """An actor on this machine that keeps what runs send until it is taken."""

    def __init__(self) -> None:
        self._messages: list[tuple[int, int, Any]] = []
        self._stopped = False

    def put(self, index: int, attempt: int, message: Any) -> bool:
        """Keep a message, and return whether the runs are to end."""
        self._messages.append((index, attempt, message))
        return self._stopped

    def take(self) -> list[tuple[int, int, Any]]:
        """Return the messages since the last time, in their order."""
        taken, self._messages = self._messages, []
        return taken

    def stop(self) -> None:
        """Tell the runs to end."""
        self._stopped = True


@dataclass(frozen=True)
class _Began:
    """The first message of a run."""

    host: str


class _ToMailbox:
    """A reporter that sends progress, and files with every checkpoint; the answer may be to end the run."""

    def __init__(self, put: Callable[[Any], bool], files: RunFolderSync) -> None:
        self._put, self._files, self._sent = put, files, 0.0

    def start(self, title: str) -> None:
        """Do nothing: the other side knows what it started."""

    def update(self, progress: Progress) -> bool:
        """Send it if the last one is old enough."""
        if time.monotonic() - self._sent < _UPDATE_S:
            return True
        self._sent = time.monotonic()
        try:
            stop = self._put(progress)
            if self._files.new_checkpoint():
                stop = self._put(self._files.look())
        except Exception:  # nobody is there to take what this run finds
            stop = True
        return not stop

    def note(self, text: str) -> None:
        """Send a line."""
        with contextlib.suppress(Exception):
            self._put(text)

    def stop(self) -> None:
        """Do nothing."""


def _remote_run(index: int, attempt: int, resolved: Resolved, options: Options, files: Files, mailbox: Any) -> None:
    """Run one run in this process, on whatever machine this is, and send how it ended with all that it wrote."""
    import platform

    import ray

    from stablebench.process.settings import prepare_process

    def put(message: Any) -> bool:
        return ray.get(mailbox.put.remote(index, attempt, message))

    prepare_process(resolved.spec.threads, resolved.spec.precision, resolved.spec.deterministic)
    with tempfile.TemporaryDirectory(prefix="stablebench-") as work:
        os.chdir(work)  # what the run may leave behind goes with it
        folder = run_folder(Path(work) / "runs", resolved.spec)
        write_files(folder, files)
        changed = RunFolderSync(folder)
        put(_Began(platform.node()))
        own = Options(
            folder.path.parents[2],
            options.data_dir,
            folder=folder,
            probe=options.probe,
            track=options.track,
            anew_elsewhere=True,
            self_check=options.self_check,
        )
        end = run_one(index, resolved, own, _ToMailbox(put, changed))
        put(changed.look())
        put(end)
        os.chdir("/")


@dataclass
class _Pending:
    """A run that was handed to the cluster."""

    index: int
    attempt: int
    folder: RunFolder
    held: contextlib.ExitStack
    began: bool = False
    end: RunEnd | None = None


class _Cluster:
    """The runs on a cluster and what is known of them.

    Args:
        runs: All runs.
        options: How they are run.
        callbacks: Called as they begin, go on and end.
    """

    def __init__(self, runs: list[Resolved], options: Options, callbacks: RunCallbacks) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray = ray
        self._runs, self._options, self._callbacks = runs, options, callbacks
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox = ray.remote(_Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
        self._task = ray.remote(max_calls=1, max_retries=0, scheduling_strategy="SPREAD")(_remote_run)
        self.pending: dict[Any, _Pending] = {}
        self.waiting = deque((index, 1) for index in range(len(runs)))
        """Runs to hand over, each with which time that is."""
        self._said_held: set[int] = set()
        self._stopped = False

    def submit(self, most: int) -> None:
        """Hand runs to the cluster until it has so many; those that another process runs are looked at again later."""
        for _ in range(len(self.waiting)):
            if len(self.pending) >= most:
                return
            self._submit(*self.waiting.popleft())

    def _submit(self, index: int, attempt: int) -> None:
        """Hand a run to the cluster, with what the run store has of it."""
        resolved = self._runs[index]
        folder = self._options.folder or run_folder(self._options.runs_dir, resolved.spec)
        held = contextlib.ExitStack()
        try:
            held.enter_context(folder.lock(self._options.grace_s))
            if has_ended(folder):  # another process has run it in the meantime
                held.close()
                self._callbacks.on_start(index)
                self._callbacks.on_end(run_one(index, resolved, self._options, Silent()))
                return
            content = (index, attempt, resolved, self._options, all_files(folder), self._mailbox)
        except RunTaken:
            held.close()
            self.waiting.append((index, attempt))
            if index not in self._said_held:
                self._said_held.add(index)
                who = RunLock(folder.path).holder() or "another process"
                self._callbacks.on_update(index, f"waiting for {who}, which is running {folder.path}")
            return
        except StablebenchError as error:
            held.close()
            self._callbacks.on_start(index)
            self._callbacks.on_end(RunEnd(index, "failed", str(error)))
            return
        wanted = {"num_cpus": resolved.spec.threads, "num_gpus": 1 if resolved.spec.device == "cuda" else 0}
        reference = self._task.options(name=_name(resolved), **wanted).remote(*content)
        self.pending[reference] = _Pending(index, attempt, folder, held, began=attempt > 1)

    def collect(self) -> None:
        """Take what runs have sent, then see to those whose task is over."""
        over = []
        if self.pending:
            over, _ = self._ray.wait(list(self.pending), num_returns=len(self.pending), timeout=_UPDATE_S)
        else:
            time.sleep(_UPDATE_S)
        known = {(one.index, one.attempt): one for one in self.pending.values()}
        for index, attempt, message in self._ray.get(self._mailbox.take.remote()):
            if (index, attempt) in known:  # else it comes from a machine that was given up
                self._take(known[index, attempt], message)
        for reference in over:
            self._over(reference)

    def _take(self, one: _Pending, message: Any) -> None:
        if isinstance(message, _Began):
            if not one.began:
                one.began = True
                self._callbacks.on_start(one.index)
            self._callbacks.on_update(one.index, f"runs on {message.host}")
        elif isinstance(message, RunEnd):
            one.end = message
        elif isinstance(message, dict):
            try:
                write_files(one.folder, message)
            except StablebenchError as error:
                self._callbacks.on_update(one.index, f"its files were not kept: {error}")
        else:
            self._callbacks.on_update(one.index, message)

    def _over(self, reference: Any) -> None:
        one = self.pending.pop(reference)
        one.held.close()
        end = one.end or self._lost(reference, one)
        if end is not None:
            if not one.began:
                self._callbacks.on_start(one.index)
            self._callbacks.on_end(end)

    def _lost(self, reference: Any, one: _Pending) -> RunEnd | None:
        """Begin a run once more that ended without a word; return its end where that is of no use."""
        errors = self._ray.exceptions
        if self._stopped and not one.began:
            return None  # it was taken back; what Ray says of that depends on how far it had come
        try:
            self._ray.get(reference)
            why = "its task ended without a word"
        except errors.RayTaskError as error:
            return RunEnd(one.index, "failed", str(error.cause if error.cause is not None else error))
        except errors.RayError as error:
            why = f"{type(error).__name__}: {first_line(error)}"
        if self._stopped:
            return RunEnd(one.index, "interrupted", f"its machine was lost ({why})")
        if one.attempt >= _TRIES:
            return RunEnd(one.index, "failed", f"its machine was lost {_TRIES} times ({why})")
        if one.began:
            self._callbacks.on_update(one.index, f"its machine was lost ({why}); restarting it from what came last")
        self._submit(one.index, one.attempt + 1)
        return None

    def stop(self) -> None:
        """Tell the runs that run to end, and take back those that wait."""
        self._stopped = True
        self._ray.get(self._mailbox.stop.remote())
        for reference, one in self.pending.items():
            if not one.began:
                self._ray.cancel(reference)

    def close(self) -> None:
        """Let go of what is still held, and of the mailbox."""
        for one in self.pending.values():
            one.held.close()
        self._ray.kill(self._mailbox)


def run_on_ray(address: str, runs: list[Resolved], options: Options, workers: int, callbacks: RunCallbacks) -> int:
    """Run runs on a Ray cluster, at most `workers` at a time; each takes as many cores as it has threads.

    Args:
        address: The cluster's, `host:port`; `auto` for the one that this machine is part of.
        runs: The runs.
        options: How they are run. Data sets are read from the same `data_dir` on every machine.
        workers: Runs that are handed to the cluster at once.
        callbacks: Called as they begin, go on and end.

    Returns:
        0, or 129, 130 or 143 after a signal; the runs that ran have then written their checkpoints to the run store.

    Raises:
        UserError: Ray is not installed, there is no such cluster, or no machine of it has cores enough.
    """
    with _connected(address):
        _refuse_too_large(runs)
        cluster = _Cluster(runs, options, callbacks)
        asked_to_end = False
        try:
            with Interrupt() as interrupt:
                while (cluster.waiting and interrupt.signum is None) or cluster.pending:
                    if interrupt.signum is None:
                        cluster.submit(workers)
                    cluster.collect()
                    if interrupt.signum is not None and not asked_to_end:
                        asked_to_end = True
                        cluster.stop()
        finally:
            cluster.close()
    return interrupt.exit_code


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """Context with a connection to a cluster; one that the process has already is used and left as it is."""
    require("ray", "ray", "--ray")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a task without GPUs leaves their variables alone
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
    """Hold that something listens at `host:port`: Ray itself would try for minutes."""
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


def _name(resolved: Resolved) -> str:
    return f"{resolved.spec.model.label} on {resolved.spec.task.name} seed {resolved.spec.seed}"
