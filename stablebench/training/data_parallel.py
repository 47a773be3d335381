"""One run on several processes, started by `torchrun`: each computes a part of every batch, gradients are summed.

The parts of a batch are weighed by what they count, so that loss and gradient are those of the whole batch, up to
rounding. The first process alone evaluates and writes to the run store; the others work in a folder that is thrown
away. Nothing need be shared between machines: what a resumed run goes on from is sent.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from stablebench.data.batch import Batch
from stablebench.errors import UserError
from stablebench.process import python_random
from stablebench.process.settings import prepare_process
from stablebench.process.signals import Interrupt, Interrupted
from stablebench.runs.progress import Silent
from stablebench.runs.store import RunFolder
from stablebench.schema.run_spec import RunSpec

if TYPE_CHECKING:
    from stablebench.models.network import AnyNetwork
    from stablebench.specs.resolve import Resolved
    from stablebench.training.run import Options

_WAIT = timedelta(hours=6)
"""How long a process waits for the others: the first may be evaluating."""
_LOOK_S = 0.05
"""Seconds between two looks at what the other processes say while the first computes."""
_CLOSE = 1e-3
"""Relative difference, of a part of a batch computed alone and with the rest, above which the model mixes examples."""


class Shards:
    """The processes of a run, and this one among them; one alone changes nothing.

    Args:
        rank: This process, from 0.
        size: How many there are.
        device: Where they exchange tensors.
        store: Where they leave each other words while one computes and the others wait; None for one alone.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: str = "cpu", store: Store | None = None) -> None:
        self.rank, self.size, self._device, self._store = rank, size, device, store
        self._weight = 1.0
        self._announced = False
        self._computed = 0
        """What the first process computed for all, counted."""
        self._looked_at = 0.0

    def flags(self) -> dict[str, Any]:
        """Return what a record says of it."""
        return {} if self.size == 1 else {"processes": self.size}

    # -- an update -----------------------------------------------------------------------------------------------

    def part(self, batch: Batch) -> Batch:
        """Return this process's part of a batch; of one with fewer examples than processes, all of it."""
        count = len(batch.inputs)
        if self.size == 1 or count < self.size:
            self._weight = 1.0 / self.size
            return batch
        start, end = (count * rank // self.size for rank in (self.rank, self.rank + 1))
        self._weight = (end - start) / count
        return Batch(*(None if part is None else part[start:end] for part in batch))  # pyright: ignore[reportArgumentType]

    def total(self, count: int) -> int:
        """Return what all parts count together."""
        if self.size == 1:
            return count
        counted = torch.tensor(count, dtype=torch.int64, device=self._device)
        dist.all_reduce(counted)
        return int(counted.item())

    def weighed(self, penalty: Tensor) -> Tensor:
        """Return the share of a penalty that this process adds to its loss: of the batch, its share of examples."""
        return penalty if self.size == 1 else penalty * self._weight

    def reduce(self, loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """Sum the gradients of all processes in place, and return the sum of their losses."""
        if self.size == 1:
            return loss
        loss = loss.detach().clone()
        gradients = [p.grad for p in parameters if p.grad is not None]
        real = [torch.view_as_real(g) if g.is_complex() else g for g in gradients]
        for dtype in {g.dtype for g in real}:
            alike = [g for g in real if g.dtype == dtype]
            flat = torch.cat([g.reshape(-1) for g in alike])
            dist.all_reduce(flat)
            for gradient, summed in zip(alike, flat.split([g.numel() for g in alike]), strict=True):
                gradient.copy_(summed.view_as(gradient))
        dist.all_reduce(loss)
        return loss

    def agreed(self, signum: int | None) -> int | None:
        """Return the signal that any process has had: all end after the same update."""
        if self.size == 1:
            return signum
        seen = torch.tensor(signum or 0, device=self._device)
        dist.all_reduce(seen, op=dist.ReduceOp.MAX)
        return int(seen.item()) or None

    # -- the first process and the others ------------------------------------------------------------------------

    def of_first(self, compute: Callable[[], Any], interrupt: Interrupt) -> Any:
        """Return what the first process computes.

        Args:
            compute: Computes it, and raises `Interrupted` where a signal came.
            interrupt: The signals of this process; one that any process has had ends `compute`, and all get it.

        Raises:
            Interrupted: A signal ended it.
            SystemExit: In the others, where the first process raised an error instead.
        """
        if self.size == 1:
            return compute()
        self._computed += 1
        found: list[Any] = [None]
        if self.rank > 0:
            self._wait_for_first(interrupt)
            dist.broadcast_object_list(found, src=0)
        else:
            try:
                found = [(compute(), None)]
            except Interrupted:
                found = [(None, interrupt.signum)]
            finally:
                self._said("done", "")
                dist.broadcast_object_list(found, src=0)
        if found[0] is None:
            raise SystemExit(1)
        value, signum = found[0]
        if signum is not None:
            interrupt.signum = signum
            raise Interrupted
        return value

    def heard(self) -> int | None:
        """Return, in the first process, the signal that another has had while this one computes for all."""
        if self.size == 1 or self._store is None or time.monotonic() - self._looked_at < _LOOK_S:
            return None
        self._looked_at = time.monotonic()
        key = f"signal {self._computed}"
        return int(self._store.get(key)) if self._store.check([key]) else None

    def _wait_for_first(self, interrupt: Interrupt) -> None:
        """Wait, in the others, until the first process has computed; a signal that comes meanwhile is told to it.

        A collective call would wait too, but no signal is heeded in one.
        """
        told, pause_s = False, 0.001
        while self._store is not None and not self._store.check([f"done {self._computed}"]):
            if interrupt.signum is not None and not told:
                told = True
                self._said("signal", str(interrupt.signum))
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LOOK_S)

    def _said(self, what: str, value: str) -> None:
        if self._store is not None:
            self._store.set(f"{what} {self._computed}", value)

    def align(self, network: "AnyNetwork", batch: Callable[[], Batch]) -> None:
        """Hold that the network can be trained on parts of a batch, and give all processes the first one's weights.

        Args:
            network: The network, as this process begins with it.
            batch: What returns a batch to try.

        Raises:
            UserError: It mixes the examples of a batch.
        """
        if self.size == 1:
            return
        self._refuse_mixing(network, batch())
        with torch.no_grad():
            for tensor in network.state_dict().values():
                sent = tensor.to(self._device).contiguous()
                sent = torch.view_as_real(sent) if sent.is_complex() else sent
                dist.broadcast(sent, src=0)
                tensor.copy_(torch.view_as_complex(sent) if tensor.is_complex() else sent)

    def announce(self, folder: RunFolder) -> None:
        """Tell the others, from the first process, to begin, with what the run goes on from."""
        if self.size > 1 and not self._announced:
            self._announced = True
            dist.broadcast_object_list([_content(folder)], src=0)

    def dismiss(self) -> None:
        """Tell the others, from the first process, that there is nothing to do, unless they have begun."""
        if self.size > 1 and self.rank == 0 and not self._announced:
            self._announced = True
            dist.broadcast_object_list([None], src=0)

    def hear(self) -> dict[str, bytes] | None:
        """Return what the first process tells: the run's files, or None where there is nothing to do."""
        heard: list[Any] = [None]
        dist.broadcast_object_list(heard, src=0)
        return heard[0]

    @torch.no_grad()
    def _refuse_mixing(self, network: "AnyNetwork", batch: Batch) -> None:
        device = next(network.parameters()).device
        with torch.random.fork_rng(devices=[]), python_random.kept():
            whole, part = (
                network(b.inputs.to(device), None, None if b.lengths is None else b.lengths.to(device))[0]
                for b in (batch, self.part(batch))
            )
        start = len(batch.inputs) * self.rank // self.size if len(batch.inputs) >= self.size else 0
        whole = whole[start : start + len(part)]
        if whole.dim() == 3:  # the time steps behind the longest sequence are left out
            whole, part = (output[:, : min(whole.shape[1], part.shape[1])] for output in (whole, part))
        largest = whole.abs().max().item()
        if not (whole - part).abs().max().item() <= _CLOSE * max(largest, 1.0):
            raise UserError(
                "torchrun: the model's output for an example depends on the other examples of the batch (statistics "
                "of the batch, or noise), so parts of a batch do not add up to it; train it with one process."
            )


@contextmanager
def joined(spec: RunSpec, streams: bool) -> Iterator[Shards]:
    """Join the processes that `torchrun` started, or be one alone.

    Where the first process ends before the run has begun, the others are told to end too.

    Args:
        spec: The run.
        streams: Whether the states behind one batch are those before the next.

    Raises:
        UserError: The run cannot be divided among processes, or there are fewer GPUs than processes.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if size == 1:
        yield Shards()
        return
    cuda = spec.device == "cuda" or (spec.device == "auto" and torch.cuda.is_available())
    try:
        _refuse(spec, streams, size, cuda)
    except UserError:
        if rank == 0:
            raise
        raise SystemExit(UserError.exit_code) from None  # the first has said it
    prepare_process(spec.threads, spec.precision, spec.deterministic)
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    store, _, _ = next(rendezvous("env://", rank, size, timeout=_WAIT))
    dist.init_process_group(
        "nccl" if cuda else "gloo", timeout=_WAIT, store=PrefixStore("torch", store), rank=rank, world_size=size
    )
    shards = Shards(rank, size, "cuda" if cuda else "cpu", PrefixStore("stablebench", store))
    try:
        _refuse_other_specs(spec, shards)
        yield shards
    finally:
        shards.dismiss()
        dist.destroy_process_group()


def _refuse_other_specs(spec: RunSpec, shards: Shards) -> None:
    """Hold that all processes run the same, a user's own code included, which each reads for itself."""
    hashes: list[Any] = [None] * shards.size
    dist.all_gather_object(hashes, spec.spec_hash())
    if len(set(hashes)) > 1:
        if shards.rank == 0:
            raise UserError(
                f"torchrun: all processes must run one spec, they have {', '.join(sorted(set(hashes)))}: the code of "
                f"{spec.model.name} or the options differ between them."
            )
        raise SystemExit(UserError.exit_code)  # the first says it


def _refuse(spec: RunSpec, streams: bool, size: int, cuda: bool) -> None:
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if streams:
        raise UserError(
            f"torchrun: the task {spec.task.name} carries its states from one batch to the next, so it runs in one "
            "process alone; give that more --threads instead."
        )
    if spec.train.batch_size < size:
        raise UserError(f"torchrun: --batch-size must be >= {size}, the processes, got {spec.train.batch_size}.")
    if cuda and torch.cuda.device_count() < here:
        raise UserError(
            f"torchrun: {here} processes on this machine and {torch.cuda.device_count()} GPUs; start one process a "
            "GPU, or take --device cpu."
        )


def follow(shards: Shards, resolved: "Resolved", options: "Options") -> NoReturn:
    """Train as one of the others, in a folder that is thrown away, and end the process.

    Raises:
        SystemExit: Always, with the run's exit code.
    """
    from stablebench.training.trainer import Trainer

    files = shards.hear()
    if files is None:
        raise SystemExit(0)
    with tempfile.TemporaryDirectory(prefix="stablebench-") as scratch:
        for name, content in files.items():
            path = Path(scratch) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        folder = RunFolder(Path(scratch))
        trainer = Trainer(
            resolved,
            folder,
            data_dir=options.data_dir,
            reporter=Silent(),
            force=options.force,
            shards=shards,
            self_check=options.self_check,
        )
        record = trainer.run()
    raise SystemExit(trainer.exit_code or (3 if record.status == "diverged" else 0))


def _content(folder: RunFolder) -> dict[str, bytes]:
    """Return the files that a resumed run reads."""
    paths = [folder.record_path, folder.curve_path, *(folder.path / "checkpoints").glob("*.safetensors")]
    return {path.relative_to(folder.path).as_posix(): path.read_bytes() for path in paths if path.is_file()}
