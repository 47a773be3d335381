"""Where the runs of `compare` are executed: in processes of this machine, on a Ray cluster or as Slurm jobs."""

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

from stablebench.cli.shared.commands import RUNTIME, option
from stablebench.cli.shared.options import Track
from stablebench.errors import UserError
from stablebench.process.cgroups import cores

if TYPE_CHECKING:
    from stablebench.execution.local import RunExecutor
    from stablebench.specs.request import Resolved


@dataclass(frozen=True)
class Executor:
    """Where runs are executed, and which trackers they feed; on this machine by default.

    Raises:
        UserError: Two executors are named, an option belongs to another one, or an extra is not installed.
    """

    workers: Annotated[
        int | None, option("Runs at once (default: cores / threads, a CPU quota counted).", RUNTIME, metavar="N", min=1)
    ] = None
    ray: Annotated[str | None, option("Execute the runs on this Ray cluster.", RUNTIME, metavar="ADDRESS|auto")] = None
    slurm: Annotated[bool, option("Execute the runs as a Slurm array job.", RUNTIME, "--slurm")] = False
    partition: Annotated[str | None, option("The Slurm partition.", RUNTIME, metavar="NAME")] = None
    time: Annotated[str | None, option("The Slurm time limit of a run.", RUNTIME, metavar="TIME")] = None
    track: Track = None

    def __post_init__(self) -> None:
        """Check what can be checked before anything is run."""
        from stablebench.process.extras import require

        if self.ray is not None and self.slurm:
            raise UserError("--ray and --slurm: give one of the two.")
        if not self.slurm and (self.partition is not None or self.time is not None):
            raise UserError("--partition and --time are Slurm's: give --slurm as well.")
        if self.ray is not None:
            require("ray", "--ray")
        if self.slurm:
            require("submitit", "--slurm")
        if self.time is not None:
            from stablebench.execution.slurm_executor import minutes_of

            minutes_of(self.time)
        if "mlflow" in self.trackers and self.ray is not None and not os.environ.get("MLFLOW_TRACKING_URI"):
            raise UserError("--track mlflow with --ray: set MLFLOW_TRACKING_URI to a server that all machines reach.")

    @property
    def trackers(self) -> tuple[str, ...]:
        """The trackers by name."""
        if not self.track:
            return ()
        from stablebench.training.trackers import check_trackers

        return check_trackers(",".join(self.track))

    def runner(self) -> "RunExecutor":
        """Return the function that executes runs there."""
        if self.ray is not None:
            from stablebench.execution.ray_executor import run_on_ray

            return partial(run_on_ray, self.ray)
        if self.slurm:
            from stablebench.execution.slurm_executor import Queue, minutes_of, run_on_slurm

            queue = Queue(self.partition) if self.time is None else Queue(self.partition, minutes_of(self.time))
            return partial(run_on_slurm, queue)
        from stablebench.execution.local import run_locally

        return run_locally

    def at_once(self, runs: "list[Resolved]") -> int:
        """Return how many run at once: as given, else all of them on a cluster, else as many as fit here."""
        if self.workers is not None:
            return self.workers
        return len(runs) if self.ray is not None or self.slurm else self.here(runs)

    def here(self, runs: "list[Resolved]") -> int:
        """Return how many processes of this machine work on runs at once: as given, else as many as fit."""
        if self.workers is not None and self.ray is None and not self.slurm:
            return self.workers
        return max(1, cores() // max(run.spec.threads for run in runs))
