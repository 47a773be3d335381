"""The spec hash: what changes the numbers changes it, and nothing else does."""

import os
import subprocess
import sys
from typing import Any

import pytest

from stablebench.schema.floss import FlossSpec
from stablebench.schema.optim import GroupSpec, OptimSpec, ScheduleSpec
from stablebench.schema.run_spec import ModelSpec, RunSpec, TaskSpec, TrainSpec

SPEC = RunSpec(
    task=TaskSpec(name="copy", version=1, variant="t100", params={"length": 100, "S": 10}),
    model=ModelSpec(name="roarnn", hidden=16, layers=1, params={"rho": 1.0}),
    horizon=120,
    readout="every",
    optim=OptimSpec(lr=1e-3),
    train=TrainSpec(steps=100, batch_size=8, eval_every=10),
)


def changed(path: str, value: Any) -> RunSpec:
    """Return the spec with another value at a dotted path."""

    def rebuilt(part: Any, keys: list[str]) -> Any:
        if not keys:
            return value
        if isinstance(part, dict):
            return {**part, keys[0]: rebuilt(part.get(keys[0]), keys[1:])}
        return part.model_copy(update={keys[0]: rebuilt(getattr(part, keys[0]), keys[1:])})

    return rebuilt(SPEC, path.split("."))


DECIDES = {
    "task.name": "adding",
    "task.version": 2,
    "task.params.length": 101,
    "task.params.S": 11,
    "model.name": "rnn",
    "model.source": "0" * 64,
    "model.hidden": 17,
    "model.layers": 2,
    "model.params.rho": 1.0000000000000002,
    "model.revision": 2,
    "horizon": 121,
    "readout": "last",
    "optim.name": "sgd",
    "optim.lr": 1.0000001e-3,
    "optim.betas": [0.9, 0.99],
    "optim.weight_decay": 1e-9,
    "optim.clip_norm": 1.0,
    "optim.groups": {"orthogonal": GroupSpec(lr=1e-4)},
    "optim.schedule": ScheduleSpec(at=[50], factor=0.1),
    "train.steps": 101,
    "train.batch_size": 9,
    "train.eval_every": 11,
    "train.recompute_every": 100,
    "train.stop_at_target": 3,
    "engine": "fused",
    "device": "cpu",
    "precision": "float64",
    "threads": 2,
    "deterministic": True,
    "floss": FlossSpec(exponents=2),
}
LEFT_OUT = {"seed": 5, "task.variant": None, "train.checkpoint_every": 7}


@pytest.mark.parametrize("path", DECIDES)
def test_what_can_change_the_numbers_changes_the_hash(path: str) -> None:
    assert changed(path, DECIDES[path]).spec_hash() != SPEC.spec_hash()


@pytest.mark.parametrize("path", LEFT_OUT)
def test_what_cannot_leaves_the_hash_alone(path: str) -> None:
    assert changed(path, LEFT_OUT[path]).spec_hash() == SPEC.spec_hash()


def test_every_field_is_decided_about() -> None:
    roots = {path.split(".")[0] for path in DECIDES} | set(LEFT_OUT)
    assert set(RunSpec.model_fields) <= roots
    assert {f"train.{name}" for name in TrainSpec.model_fields} <= set(DECIDES) | set(LEFT_OUT)
    assert {f"model.{name}" for name in ModelSpec.model_fields} - {"model.params"} <= set(DECIDES)


def test_the_order_of_parameters_is_nothing() -> None:
    assert changed("task.params", {"S": 10, "length": 100}).spec_hash() == SPEC.spec_hash()


def test_where_a_users_file_lies_changes_nothing() -> None:
    """Where a users file lies is nothing but its content and class are."""

    def own(name: str, source: str) -> str:
        return changed("model", SPEC.model.model_copy(update={"name": name, "source": source})).spec_hash()

    assert own("/a/mine.py:Mine", "1" * 64) == own("b/other.py:Mine", "1" * 64)
    assert own("/a/mine.py:Mine", "1" * 64) != own("/a/mine.py:Mine", "2" * 64)
    assert own("/a/mine.py:Mine", "1" * 64) != own("/a/mine.py:Other", "1" * 64)


def test_the_hash_survives_json_and_another_process() -> None:
    text = SPEC.model_dump_json()
    again = RunSpec.model_validate_json(text)
    assert again == SPEC
    assert again.spec_hash() == SPEC.spec_hash()
    script = (
        "import sys; from stablebench.schema.run_spec import RunSpec; "
        "print(RunSpec.model_validate_json(sys.argv[1]).spec_hash())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, text],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )
    assert done.stdout.strip() == SPEC.spec_hash()


def test_the_hash_is_twelve_hexadecimal_digits() -> None:
    assert len(SPEC.spec_hash()) == 12
    int(SPEC.spec_hash(), 16)
