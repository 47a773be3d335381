"""Cells on a real Ray cluster of two nodes on this machine; one node is lost in the middle."""
# pyright: reportMissingImports=false
# ray is an extra

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_runs import Heard, cells, folder_of

from stablebench.errors import UserError
from stablebench.execution import ray_executor
from stablebench.execution.ray_executor import run_on_ray
from stablebench.training.run import ExecutionOptions

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray starts servers: tens of seconds


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Start a head and a node beside it, of one core each."""
    import ray
    from ray.cluster_utils import Cluster

    found = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "no_monitor": True}
    )
    found.spare = [found.add_node(num_cpus=1)]
    found.wait_for_nodes()
    try:
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def run(address: str, asked: list[Any], runs_dir: Path, heard: Heard, workers: int = 8) -> int:
    return run_on_ray(address, asked, ExecutionOptions(runs_dir), workers, heard.listener())


def test_runs_survive_the_loss_of_a_node(cluster: Any, tmp_path: Path) -> None:
    asked = cells(0, 1, steps=600, train__checkpoint_every=25)
    heard = Heard()

    def lose_a_node(index: int, message: Any) -> None:
        Heard.on_update(heard, index, message)
        if cluster.spare and all(folder_of(cell, tmp_path).checkpoints() for cell in asked):
            cluster.remove_node(cluster.spare.pop(), allow_graceful=False)

    heard.on_update = lose_a_node  # pyright: ignore[reportAttributeAccessIssue]
    assert run(cluster.address, asked, tmp_path, heard) == 0
    assert heard.statuses() == ["finished", "finished"], (heard.ends, heard.notes)
    lost = [index for index, notes in heard.notes.items() if any("its process was lost" in note for note in notes)]
    assert len(lost) == 1 and not cluster.spare
    for index, cell in enumerate(asked):
        record = folder_of(cell, tmp_path).read_record()
        assert record.status == "finished" and record.step == 600
        assert bool(record.resumed_at) == (index in lost)  # not from the start
        curve = folder_of(cell, tmp_path).curve_path.read_text().splitlines()
        steps = [json.loads(line)["step"] for line in curve if json.loads(line)["split"] == "train"]
        assert steps == sorted(set(steps)) and steps[-1] == 600
        assert heard.progress[index]


def test_signal_ends_runs_after_their_checkpoints(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal ends runs after their checkpoints and a failing one itself only."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN_MODEL)
    broken = cells(0, model="own.py:Own", model__fails=True)
    asked = [*broken, *cells(0, 1, 2, model="own.py:Own", steps=1_000_000)]
    heard = Heard()
    training: set[int] = set()

    def interrupt(index: int, message: Any) -> None:
        Heard.on_update(heard, index, message)
        if len(training) < 2 and 0 in heard.ends and not isinstance(message, str):
            training.add(index)
            if len(training) == 2:
                os.kill(os.getpid(), signal.SIGINT)

    heard.on_update = interrupt  # pyright: ignore[reportAttributeAccessIssue]
    assert run(cluster.address, asked, tmp_path / "runs", heard) == 130
    assert heard.ends[0].status == "failed" and "on purpose" in heard.ends[0].message
    assert {end.status for index, end in heard.ends.items() if index} == {"interrupted"}  # a waiting one may have begun
    for index in training:
        folder = folder_of(asked[index], tmp_path / "runs")
        assert folder.checkpoints() and folder.read_record().status == "interrupted"


def test_what_no_machine_can_run_is_refused(cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="takes 99 cores, and no machine of the cluster has more than 1"):
        run(cluster.address, cells(0, threads=99), tmp_path, Heard())


def test_a_run_store_that_a_machine_does_not_see_is_refused(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_executor, "_sees", lambda mark: False)
    with pytest.raises(UserError, match="must lie on a file system that all machines of the cluster share"):
        run(cluster.address, cells(0), tmp_path, Heard())
    assert not list(tmp_path.iterdir())


def test_an_address_where_nothing_listens_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--ray 127.0.0.1:1: no Ray cluster answers there"):
        run("127.0.0.1:1", cells(0), tmp_path, Heard())


OWN_MODEL = '''
import torch
from torch import nn

from stablebench.models.base import RecurrentModel


class Own(RecurrentModel):
    """h_t = tanh(W h + V x_t)."""

    def __init__(self, in_features: int, hidden: int, *, fails: bool = False) -> None:
        super().__init__(in_features, hidden)
        self.W = nn.Linear(hidden, hidden)
        self.V = nn.Linear(in_features, hidden)
        self.fails = fails

    def input_projection(self, x):
        if self.fails:
            raise RuntimeError("on purpose")
        return self.V(x)

    def recurrent_weights(self):
        return None

    def step(self, projected, state, recurrent_weights):
        return (torch.tanh(self.W(state[0]) + projected),)
'''
