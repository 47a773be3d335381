"""Runs of Weights & Biases and of trackio, whose calls are alike: init, log(values, step), finish.

Neither is asked for the network unless the user's environment does: W&B is offline unless `WANDB_MODE` says otherwise,
trackio writes to this machine unless `TRACKIO_SPACE_ID` or `TRACKIO_SERVER_URL` names another.
"""
# pyright: reportMissingImports=false
# wandb and trackio are an extra

import contextlib
import contextvars
import io
import json
import os
import re
import secrets
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from stablebench.runs.store import RunFolder
from stablebench.schema.dotted import dotted
from stablebench.schema.run_record import RunRecord

_NO_PROJECT = re.compile(r"[^\w.-]+")
"""Characters that one of the two refuses in the name of a project."""


class LoggedRun(ABC):
    """A run of such a package; a resumed run goes on in the same one.

    On this machine its earlier data are replaced by the whole curve, as event files are. A server keeps what it has:
    the file `<package>.json` of the run's folder says which steps were sent, so that none is sent twice.

    Args:
        folder: The run.
        record: Its record as it began.
    """

    package: str

    def __init__(self, folder: RunFolder, record: RunRecord) -> None:
        self._noted = folder.path / f"{self.package}.json"
        noted = json.loads(self._noted.read_text()) if self._noted.is_file() else {}
        self._remote = self.is_remote()
        self._sent: dict[str, int] = noted.get("sent", {}) if self._remote else {}
        self._last = max(self._sent.values(), default=0)
        spec = record.spec
        task = spec.task.name + (f"-{spec.task.variant}" if spec.task.variant else "")
        name = f"{spec.model.label}-{record.spec_hash}-s{spec.seed}"
        config = dotted(spec.model_dump(mode="json")) | {"spec_hash": record.spec_hash, "folder": str(folder.path)}
        self._id, self._run = self.begin(folder, noted.get("id"), _NO_PROJECT.sub("-", task), name, config)
        self._note()

    @abstractmethod
    def is_remote(self) -> bool:
        """Return whether the user's environment names a server."""

    @abstractmethod
    def begin(
        self, folder: RunFolder, known: str | None, project: str, name: str, config: dict[str, Any]
    ) -> tuple[str, Any]:
        """Begin the package's run, or go on in the one of an earlier session.

        Args:
            folder: The run.
            known: The earlier one's identifier; None at the first session.
            project: The task.
            name: What it is called.
            config: The spec, by dotted key.

        Returns:
            Its identifier, and what `log` and `finish` are called on.
        """

    @abstractmethod
    def finish(self, failed: bool) -> None:
        """End the package's run, having written what is buffered."""

    def metrics(self, step: int, wall_s: float, values: dict[str, float]) -> None:
        """Log values that were not sent yet. W&B takes steps in their order only: the last one, for an earlier one."""
        new = {name: value for name, value in values.items() if step > self._sent.get(name, -1)}
        if not new:
            return
        self._sent.update(dict.fromkeys(new, step))
        self._last = max(step, self._last)
        if self._remote:  # before they are sent: a process that is killed in between loses a line and repeats none
            self._note()
        self._run.log(new, step=self._last)

    def close(self, record: RunRecord) -> None:
        """End the run as ours ended."""
        self.finish(record.status != "finished")

    def give_up(self, why: str) -> None:
        """End the run; a later session goes on in it."""
        self.finish(True)

    def _note(self) -> None:
        self._noted.write_text(json.dumps({"id": self._id} | ({"sent": self._sent} if self._remote else {})))


class Wandb(LoggedRun):
    """A run of W&B's, offline in the run's folder `wandb` unless `WANDB_MODE` is `online`."""

    package = "wandb"

    def is_remote(self) -> bool:
        """Return whether `WANDB_MODE` asks for the server."""
        return os.environ.get("WANDB_MODE", "offline") not in ("offline", "disabled", "dryrun")

    def begin(
        self, folder: RunFolder, known: str | None, project: str, name: str, config: dict[str, Any]
    ) -> tuple[str, Any]:
        """Begin a run next to the user's own ones, which go on."""
        os.environ.setdefault("WANDB_MODE", "offline")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        where = Path(os.environ.get("WANDB_DIR") or folder.path)
        identifier = known or secrets.token_hex(8)
        if not self._remote:
            for earlier in where.glob(f"wandb/offline-run-*-{identifier}"):
                shutil.rmtree(earlier)
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or project,
            name=name,
            id=identifier,
            dir=str(where),
            config=config,
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
        )
        return identifier, run

    def finish(self, failed: bool) -> None:
        """End it, failed or not, as W&B's exit code says."""
        self._run.finish(exit_code=int(failed))


class Trackio(LoggedRun):
    """A run of trackio's, in its folder of this machine unless the environment names a space or a server."""

    package = "trackio"

    def is_remote(self) -> bool:
        """Return whether trackio's variables name a space or a server."""
        return bool(os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL"))

    def begin(
        self, folder: RunFolder, known: str | None, project: str, name: str, config: dict[str, Any]
    ) -> tuple[str, Any]:
        """Begin a run in a context of its own: trackio would end the user's."""
        import trackio

        if known and not self._remote:
            for earlier in trackio.Api().runs(project):
                if earlier.id == known:
                    earlier.delete()
        with _unprinted():
            run = contextvars.Context().run(
                trackio.init,
                project,
                name=name,
                config=config,
                resume="allow" if known and self._remote else "never",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        return run.id, run

    def finish(self, failed: bool) -> None:
        """Write what is buffered; trackio has no word for a run that failed."""
        with _unprinted():
            self._run.finish()


def _unprinted() -> contextlib.AbstractContextManager[Any]:
    """Context in which what a package prints is dropped."""
    return contextlib.redirect_stdout(io.StringIO())
