"""A run record for the commands that read one."""

import pytest

from stablebench.schema.optim import OptimSpec
from stablebench.schema.run_record import Environment, Evaluation, Result, RunRecord
from stablebench.schema.run_spec import ModelSpec, RunSpec, TaskSpec, TrainSpec


@pytest.fixture
def record() -> RunRecord:
    """Return the record of a finished run with a test loss of 0.25."""
    spec = RunSpec(
        task=TaskSpec(name="copy", version=1, variant="t100", params={"length": 100}),
        model=ModelSpec(name="rnn", hidden=32, layers=1, params={"activation": "tanh"}),
        horizon=120,
        readout="every",
        optim=OptimSpec(),
        train=TrainSpec(steps=100, batch_size=8, eval_every=10),
    )
    return RunRecord(
        spec=spec,
        spec_hash=spec.spec_hash(),
        status="finished",
        metric="loss",
        baseline=0.5,
        card_sha256="0",
        selection="the last weights tested; validation drawn apart",
        parameters=1000,
        step=100,
        started="2026-01-01T00:00:00+00:00",
        evaluations=[Evaluation(step=100, train_s=1.0, metrics={"loss": 0.3})],
        result=Result(test={"loss": 0.25}),
        environment=Environment(
            versions={"python": "3"}, device="cpu", hardware="hand-made", engine="reference", threads=1, flags={}
        ),
        origin={"optim.lr": "--set", "model.activation": "model"},
    )
