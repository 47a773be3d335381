"""The few calls of wandb and trackio that are made, on files: for machines where the packages are not installed."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest


class StandIn:
    """A run, as JSON lines in a file."""

    def __init__(self, path: Path, identifier: str) -> None:
        self.path, self.id = path, identifier

    def log(self, values: dict[str, float], step: int) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps([step, values]) + "\n")

    def finish(self, exit_code: int = 0) -> None:
        self.path.with_suffix(".end").write_text(str(exit_code))

    def delete(self) -> None:
        self.path.unlink()


def wandb_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `import wandb` give a stand-in; online runs lie in one folder, offline ones in a folder a session."""

    def init(*, project: str, name: str, id: str, dir: str, config: Any, resume: str, **_: Any) -> StandIn:
        import os

        assert resume == "allow" and "/" not in project and config["train.steps"] and name
        base = Path(dir) / "wandb"
        sessions = len(list(base.glob("offline-run-*")))
        folder = base / (f"offline-run-{sessions}-{id}" if os.environ["WANDB_MODE"] == "offline" else f"run-{id}")
        folder.mkdir(parents=True, exist_ok=True)
        return StandIn(folder / "run.jsonl", id)

    module: Any = types.ModuleType("wandb")
    module.init, module.Settings = init, dict
    monkeypatch.setitem(sys.modules, "wandb", module)


def trackio_stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have `import trackio` give a stand-in that keeps its runs in a folder."""

    def init(project: str, *, name: str, config: Any, resume: str, **_: Any) -> StandIn:
        assert config["train.steps"] and resume in ("never", "allow")
        known = sorted((folder / project).glob(f"{name}.*.jsonl"))
        if known and resume == "allow":
            return StandIn(known[-1], known[-1].suffixes[-2][1:])
        (folder / project).mkdir(parents=True, exist_ok=True)
        identifier = str(len(known))
        return StandIn(folder / project / f"{name}.{identifier}.jsonl", identifier)

    class Api:
        def runs(self, project: str) -> list[StandIn]:
            return [StandIn(path, path.suffixes[-2][1:]) for path in (folder / project).glob("*.jsonl")]

    module: Any = types.ModuleType("trackio")
    module.init, module.Api = init, Api
    monkeypatch.setitem(sys.modules, "trackio", module)


def logged(path: Path) -> list[tuple[str, int, float]]:
    """Return what a stand-in has: name, step and value, in the order in which it came."""
    lines = map(json.loads, path.read_text().splitlines())
    return [(name, step, value) for step, values in lines for name, value in values.items()]
