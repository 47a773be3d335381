"""Run folders made by hand, for pages and figures."""

import json
import math
from pathlib import Path
from typing import Any

from stablebench.schema.optim import OptimSpec
from stablebench.schema.run_record import Environment, Evaluation, Result, RunRecord
from stablebench.schema.run_spec import ModelSpec, RunSpec, TaskSpec, TrainSpec


def made_record(
    model: str = "rnn",
    task: str = "copy",
    seed: int = 0,
    rate: float = 0.02,
    *,
    status: Any = "finished",
    points: int = 20,
    source: str | None = None,
    hardware: str = "hand-made",
    selection: str = "the last weights tested; validation drawn apart",
) -> RunRecord:
    """Return the record of a run whose loss falls as exp(-rate t), and rises with the seed."""
    spec = RunSpec(
        task=TaskSpec(name=task, version=1, variant=None, params={"length": 100}),
        model=ModelSpec(name=model, source=source, hidden=32, layers=1, params={"activation": "tanh"}),
        horizon=120,
        readout="every",
        optim=OptimSpec(),
        train=TrainSpec(steps=10 * points, batch_size=8, eval_every=10),
        seed=seed,
    )
    losses = [math.exp(-rate * 10 * (i + 1)) * (1 + 0.1 * seed) for i in range(points)]
    evaluations = [
        Evaluation(step=10 * (i + 1), train_s=0.1 * (i + 1), metrics={"loss": loss, "accuracy": 1 - min(loss, 1.0)})
        for i, loss in enumerate(losses)
    ]
    there = next((e.step for e in evaluations if e.metrics["loss"] < 0.1), None)
    result = Result(
        test={"loss": losses[-1], "accuracy": 1 - min(losses[-1], 1.0)} if status == "finished" else None,
        steps_to_baseline=10,
        seconds_to_baseline=0.1,
        steps_to_target=there,
        seconds_to_target=None if there is None else there / 100,
        steps_per_s=100.0,
        peak_bytes=10**8,
    )
    return RunRecord(
        spec=spec,
        spec_hash=spec.spec_hash(),
        status=status,
        metric="loss",
        baseline=0.9,
        target=0.1,
        target_metric="loss",
        card_sha256="0",
        selection=selection,
        parameters=1000 + len(model),
        step=10 * points,
        train_s=0.1 * points,
        started="2026-01-01T00:00:00+00:00",
        evaluations=evaluations,
        result=result,
        environment=Environment(
            versions={"python": "3"}, device="cpu", hardware=hardware, engine="reference", threads=1, flags={}
        ),
    )


def store(folder: Path, record: RunRecord, lines: list[dict[str, Any]] | None = None) -> Path:
    """Write a run into a store and return its folder."""
    name = f"{record.spec_hash}-s{record.spec.seed}"
    path = folder / record.spec.task.name / record.spec.model.label.replace("/", "_")[:40] / name
    path.mkdir(parents=True)
    (path / "record.json").write_text(record.model_dump_json(indent=1))
    if lines is not None:
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
