"""Kernels and devices that fail, memory of a GPU that runs out, and numbers that are to be equal on one.

No test needs a GPU: torch's and triton's errors are raised where they would come from.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_ptb
import torch
from tiny_runs import assert_same, folder_of, run, tensors, tiny, without_times
from typer.testing import CliRunner

from stablebench import engines
from stablebench.cli.app import app
from stablebench.engines import Choice
from stablebench.errors import StablebenchError, device_failure
from stablebench.models import recurrent_model
from stablebench.process import device
from stablebench.process import settings as process
from stablebench.runs.progress import Silent
from stablebench.runs.store import RunFolder
from stablebench.specs.resolve import RunRequest, resolve
from stablebench.training import build
from stablebench.training.failures import RunFailed
from stablebench.training.run import ExecutionOptions, train


class OutOfResources(Exception):
    """As triton's own."""


OutOfResources.__module__ = "triton.runtime.errors"
FAILURES = [
    torch.AcceleratorError("CUDA error: too many resources requested for launch\nCUDA kernel errors might be ..."),
    RuntimeError("CUDA error: no kernel image is available for execution on the device"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb)`"),
    RuntimeError("Triton Error [CUDA]: invalid argument"),
    OutOfResources("out of resource: shared memory, Required: 270336, Hardware limit: 232448."),
]
MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of ...")


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


class _FailsBackward(torch.autograd.Function):
    error: Exception

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, error: Exception) -> torch.Tensor:  # pyright: ignore
        ctx.error = error
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        raise ctx.error


def fast_engine(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, at: int = 5, training: bool = True, backward: bool = False
) -> None:
    """Let `auto` mean an engine, called fused, that computes as the reference and fails with `error` at a call.

    Args:
        monkeypatch: Undoes it.
        error: What it raises; None for nothing.
        at: Which call, of those while training or while evaluating.
        training: Which of the two are counted.
        backward: Whether it fails in the backward pass instead.
    """
    chosen, calls = engines.choose, [0]

    def fused(model: Any, x: torch.Tensor, *more: Any) -> Any:
        calls[0] += model.training == training
        fails = error is not None and calls[0] == at and model.training == training
        if fails and error is not None and not backward:
            raise error
        outputs, state = recurrent_model.run_steps(model, x, *more)
        return (_FailsBackward.apply(outputs, error), state) if fails else (outputs, state)

    def choose(name: str, *where: Any) -> Choice:
        return Choice(fused, "fused") if name == "auto" else chosen(name, *where)

    monkeypatch.setattr(engines, "choose", choose)
    monkeypatch.setattr(build, "checked", lambda *_: None)  # which would be the first call


def assert_same_numbers(a: RunFolder, b: RunFolder) -> None:
    """Hold two runs against each other in all but which engine computed them."""
    left, right = tensors(a), tensors(b)
    assert left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
    records = [folder.read_record() for folder in (a, b)]
    results = [without_times(record.result.model_dump()) for record in records]
    evaluations = [[(e.step, e.metrics) for e in record.evaluations] for record in records]
    assert results[0] == results[1] and evaluations[0] == evaluations[1]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: str(error)[:40])
def test_kernel_that_fails_gives_way_to_the_reference_once(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that fails gives way to the reference once with a warning."""
    fast_engine(monkeypatch, error)
    notes = Notes()
    outcome = train(tiny("rnn", "copy", engine="auto"), ExecutionOptions(tmp_path / "failed"), notes)
    assert (outcome.exit_code, outcome.record.status) == (0, "finished")
    said = str(error).partition("\n")[0]
    warnings = [text for text in notes.texts if text.startswith("warning: the fused engine failed")]
    assert len(warnings) == 1 and said in warnings[0]
    assert outcome.record.environment.engine == "reference"
    assert outcome.record.resumed_elsewhere == [f"step 4: engine: fused then, reference now ({said})"]


@pytest.mark.parametrize(
    ("where", "task"),
    [
        ({"at": 5}, "copy"),
        ({"at": 5, "backward": True}, "copy"),
        ({"at": 1}, "adding"),
        ({"at": 2, "training": False}, "copy"),  # in an evaluation
        ({"at": 4, "training": False}, "copy"),  # of the test examples
    ],
)
def test_what_failed_is_computed_again(
    where: dict[str, Any], task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed is computed again so that no update is lost or made twice."""
    resolved = tiny("lstm", task, engine="auto")
    fast_engine(monkeypatch, None)
    whole = run(resolved, tmp_path / "whole")
    monkeypatch.undo()
    fast_engine(monkeypatch, FAILURES[0], **where)
    failed = run(resolved, tmp_path / "failed")
    assert failed.read_record().environment.engine == "reference"
    assert whole.read_record().environment.engine == "fused"
    assert_same_numbers(whole, failed)


@pytest.mark.parametrize("where", [{"at": 5}, {"at": 5, "backward": True}, {"at": 1}, {"at": 2, "training": False}])
def test_carried_states_are_those_before_what_failed(
    where: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States that go on from batch to batch are those before what failed."""
    lines = {"train": " a b c d e f <unk> N \n" * 30, "valid": " f d b a \n" * 12, "test": " a c e \n" * 12}
    tiny_ptb.install(tmp_path, monkeypatch, lines)
    sizes = {"model.hidden": 6, "task.embedding": 4, "optim.lr": 0.03}
    budget = {"train.steps": 12, "train.batch_size": 3, "train.eval_every": 4, "train.checkpoint_every": 100}
    resolved = resolve(RunRequest("lstm", "ptb_word", T=5, settings={**sizes, **budget, "engine": "auto"}))
    with monkeypatch.context() as patched:
        fast_engine(patched, None)
        whole = run(resolved, tmp_path / "whole")
    with monkeypatch.context() as patched:
        fast_engine(patched, FAILURES[0], **where)
        failed = run(resolved, tmp_path / "failed")
    assert failed.read_record().environment.engine == "reference"
    assert any(name.startswith("carried.") for name in tensors(failed))
    assert_same_numbers(whole, failed)


def test_run_whose_engine_gave_way_is_resumed_with_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose engine gave way is resumed with the reference."""
    resolved = tiny("rnn", "copy", engine="auto")
    fast_engine(monkeypatch, FAILURES[0], at=5)
    whole = run(resolved, tmp_path / "whole")
    monkeypatch.undo()
    fast_engine(monkeypatch, FAILURES[0], at=5)

    class Stop(Silent):
        def update(self, progress: Any) -> bool:
            if progress.step == 11:
                raise KeyboardInterrupt
            return True

    with pytest.raises(KeyboardInterrupt):
        train(resolved, ExecutionOptions(tmp_path / "cut"), Stop())
    monkeypatch.undo()
    fast_engine(monkeypatch, FAILURES[0], at=1)  # nothing calls it any more
    assert_same(whole, run(resolved, tmp_path / "cut"))


def test_an_error_that_is_no_devices_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast_engine(monkeypatch, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RunFailed, match="mat1 and mat2"):
        run(tiny("rnn", "copy", engine="auto"), tmp_path)
    record = folder_of(tiny("rnn", "copy", engine="auto"), tmp_path).read_record()
    assert record.status == "failed" and "mat1 and mat2" in (record.error or "")


def test_device_that_is_lost_fails_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is lost fails the run which goes on from its checkpoint."""
    resolved = tiny("rnn", "copy", engine="auto")
    fast_engine(monkeypatch, None)
    whole = run(resolved, tmp_path / "whole")
    monkeypatch.undo()
    fast_engine(monkeypatch, torch.AcceleratorError("CUDA error: unspecified launch failure\nand more"), at=8)
    monkeypatch.setattr(device, "answers", lambda device: False)
    with pytest.raises(StablebenchError, match=r"the device failed at step 7 \(CUDA error: unspecified") as caught:
        run(resolved, tmp_path / "lost")
    assert caught.value.exit_code == 1 and len(str(caught.value).splitlines()) == 1
    folder = folder_of(resolved, tmp_path / "lost")
    record = folder.read_record()
    assert (record.status, record.step) == ("failed", 7) and "unspecified launch failure" in (record.error or "")
    assert folder.checkpoints()[0].stem == "step-6"
    monkeypatch.undo()
    fast_engine(monkeypatch, None)
    assert_same(whole, run(resolved, tmp_path / "lost"))


def test_a_device_answers_as_long_as_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.answers(torch.device("cpu"))

    def lost(*arguments: Any, **named: Any) -> Any:
        raise FAILURES[1]

    monkeypatch.setattr(torch, "ones", lost)
    assert not device.answers(torch.device("cpu"))


def test_memory_is_told_from_kernels() -> None:
    assert device_failure(MEMORY) is None
    assert device_failure(RuntimeError("CUDA error: out of memory")) is None
    assert device_failure(ValueError("CUDA error: device-side assert triggered")) is None
    assert device_failure(KeyboardInterrupt()) is None
    assert [device_failure(error) for error in FAILURES] == [str(error).partition("\n")[0] for error in FAILURES]


# -- one of several cells ---------------------------------------------------------------------------------------------

OWN_MODEL = '''
from pathlib import Path
import torch
from stablebench.models.recurrent.rnn import Rnn

class {name}(Rnn):
    """An RNN that fails at the pass of its tenth update while a file is there; four passes come before the first."""
    passes = 0
    def recurrent_weights(self):
        {name}.passes += 1
        if {name}.passes == 14 and Path(__file__).with_suffix(".fails").exists():
            raise {error}
        return super().recurrent_weights()
'''
CELLS = (
    "--tasks copy --T 5 --hidden 6 --steps 24 --batch-size 8 --set task.S=2 --set train.checkpoint_every=4 "
    "--set train.eval_every=20"
)


def test_runs_that_a_gpu_fails_alone_are_run_again(tmp_path: Path) -> None:
    """Cells that a gpu fails are alone in it and alone run again."""
    errors = {
        "Large": ("OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 GiB.')", "out of memory: CUDA out of"),
        "Lost": ("AcceleratorError('CUDA error: unspecified launch failure')", "the device failed: CUDA error: unspec"),
    }
    for name, (error, _) in errors.items():
        (tmp_path / f"{name}.py").write_text(OWN_MODEL.format(name=name, error=f"torch.{error}"))
        (tmp_path / f"{name}.fails").write_text("")
    models = ",".join([*(f"{tmp_path}/{name}.py:{name}" for name in errors), "rnn"])
    command = ["compare", "--models", models, "--engine", "reference", "--runs-dir", str(tmp_path / "runs")]
    first = CliRunner().invoke(app, [*command, *CELLS.split()])
    assert first.exit_code == 1 and "Traceback" not in first.output, first.output
    paths = {path.parts[-3]: path for path in (tmp_path / "runs").glob("*/*/*/record.json")}
    records = {name: json.loads(path.read_text()) for name, path in paths.items()}
    statuses = {name: record["status"] for name, record in records.items()}
    assert statuses == {"Large": "failed", "Lost": "failed", "rnn": "finished"}
    for name, (_, told) in errors.items():
        assert records[name]["error"].startswith(told) and told.partition(":")[0] in first.stderr
        assert records[name]["result"]["peak_bytes"] > 0 and records[name]["step"] == 9
        (tmp_path / f"{name}.fails").unlink()
    again = CliRunner().invoke(app, [*command, *CELLS.split()])
    assert again.exit_code == 0 and "2 of 3 runs to do" in again.stderr
    assert [json.loads(paths[name].read_text())["resumed_at"] for name in ("Large", "Lost", "rnn")] == [[8], [8], []]


# -- equal numbers ----------------------------------------------------------------------------------------------------


@pytest.fixture
def settings_after(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    process.prepare_process(1)


def test_deterministic_sets_all_that_torch_has(settings_after: None, monkeypatch: pytest.MonkeyPatch) -> None:
    process.prepare_process(1, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert process.flags() | {"deterministic": True, "cublas_workspace": ":4096:8"} == process.flags()
    process.prepare_process(1)
    assert not torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.deterministic
    assert process.flags()["deterministic"] is False and "cublas_workspace" not in process.flags()


def test_deterministic_is_part_of_the_spec(settings_after: None, tmp_path: Path) -> None:
    """Deterministic is part of the spec and on a cpu changes no number."""
    for model, task in (("lstm", "adding"), ("exprnn", "copy")):
        plain, asked = (tiny(model, task, engine="auto", deterministic=asked) for asked in (False, True))
        assert plain.spec.spec_hash() != asked.spec.spec_hash()
        one, two = run(plain, tmp_path), run(asked, tmp_path)
        assert one.path != two.path
        assert_same_numbers(one, two)
        record = two.read_record()
        assert record.spec.deterministic and record.environment.flags["deterministic"] is True
        assert record.environment.reproducible is True
        assert one.read_record().environment.flags["deterministic"] is False


def test_what_can_only_be_computed_otherwise_is_one_message(settings_after: None, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\n"
        "from stablebench.models.recurrent.rnn import Rnn\n"
        "class Mine(Rnn):\n"
        "    def recurrent_weights(self):\n"
        "        torch.nn.functional.max_unpool1d(torch.ones(1, 1, 2), torch.tensor([[[0, 2]]]), 2)\n"
        "        return super().recurrent_weights()\n"
    )
    small = "--task copy --T 5 --hidden 6 --steps 4 --batch-size 4 --set task.S=2 --engine reference".split()
    command = ["train", "--model", f"{file}:Mine", *small, "--runs-dir", str(tmp_path / "runs")]
    assert CliRunner().invoke(app, command).exit_code == 0
    result = CliRunner().invoke(app, [*command, "--deterministic"])
    assert result.exit_code == 1 and "Traceback" not in result.output, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert "does not have a deterministic implementation; leave --deterministic out" in line


@pytest.mark.parametrize(
    ("device", "deterministic", "promised"), [("cpu", False, True), ("cuda", False, False), ("cuda", True, True)]
)
def test_a_record_says_whether_its_numbers_come_again(device: str, deterministic: bool, promised: bool) -> None:
    assert (process.why_not_reproducible(device, deterministic) is None) is promised


def test_verify_says_that_equal_numbers_were_not_promised(tmp_path: Path) -> None:
    folder = run(tiny(), tmp_path)
    record = folder.read_record()
    lines = folder.curve_path.read_text().splitlines(keepends=True)
    folder.curve_path.write_text(lines[0].replace('"loss": ', '"loss": 1', 1) + "".join(lines[1:]))
    told: Callable[[], Any] = lambda: CliRunner().invoke(app, ["verify", str(folder.path), "-q"])  # noqa: E731
    assert "not promised" not in told().stdout
    environment = record.environment.model_copy(update={"reproducible": False})
    folder.write_record(record.model_copy(update={"environment": environment}))
    assert "equal numbers were not promised: the run was made on CUDA without --deterministic" in told().stdout
