"""What training and evaluation compute, held against one long pass and the papers' formulas."""

import math
import random
from pathlib import Path

import pytest
import tiny_ptb
import torch
from torch.nn import functional as F

from stablebench.data.batch import Batch
from stablebench.data.files import ptb
from stablebench.models.network import Network
from stablebench.models.recurrent.rnn import Rnn
from stablebench.runs.progress import Silent
from stablebench.runs.store import RunFolder
from stablebench.specs.resolve import RunRequest, resolve
from stablebench.training.build import build_run
from stablebench.training.evaluation import evaluate
from stablebench.training.loop import TrainingLoop
from stablebench.training.run import ExecutionOptions, train

STREAMS, BPTT = 6, 5


@pytest.fixture(autouse=True)
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    words, rng = [*"abcdef", "<unk>", "N"], random.Random(1)
    lines = {
        part: "".join(f" {' '.join(rng.choices(words, k=rng.randint(2, 8)))} \n" for _ in range(n))
        for part, n in {"train": 21, "valid": 12, "test": 12}.items()
    }
    return tiny_ptb.install(tmp_path, monkeypatch, lines)


def still(tmp_path: Path) -> TrainingLoop:
    """A run whose updates are too small to change any weight."""
    options = {"model.hidden": 6, "train.steps": 100, "train.batch_size": STREAMS, "engine": "reference"}
    settings = {"task.embedding": 4, "precision": "float64", "optim.lr": 1e-30}
    resolved = resolve(RunRequest("lstm", "ptb_word", T=BPTT, options=options, settings=settings))
    torch.set_default_dtype(torch.float64)
    return build_run(resolved, RunFolder(tmp_path / "run"), reporter=Silent())


def streams(data_dir: Path) -> torch.Tensor:
    """The training text in parallel, cut by hand, (streams, time)."""
    tokens = ptb.load_tokens("train", level="word", data_dir=data_dir).numbers.tolist()
    length = len(tokens) // STREAMS
    return torch.tensor([tokens[i * length : (i + 1) * length] for i in range(STREAMS)])


def test_losses_of_updates_are_those_of_one_long_pass(text: Path, tmp_path: Path) -> None:
    """Losses of updates are those of one long pass over each stream."""
    trainer, whole = still(tmp_path), streams(text)
    with torch.no_grad():
        output, _ = trainer.parts.network(whole[:, :-1])
    nats = F.cross_entropy(output.transpose(1, 2), whole[:, 1:], reduction="none")
    layer_groups = nats.shape[1] // BPTT
    assert layer_groups > 3 and nats.shape[1] % BPTT  # what is left over is left out
    expected = [nats[:, k * BPTT : (k + 1) * BPTT].mean().item() for k in range(layer_groups)]
    found = [trainer._update() for _ in range(2 * layer_groups)]
    # float64; the second epoch begins from the initial states again
    assert found == pytest.approx(expected * 2, rel=1e-12)


def test_the_gradient_of_an_update_ends_where_its_stretch_begins(text: Path, tmp_path: Path) -> None:
    trainer, whole = still(tmp_path), streams(text)
    with torch.no_grad():
        _, states = trainer.parts.network(whole[:, : 2 * BPTT])
    here = slice(2 * BPTT, 3 * BPTT)
    output, _ = trainer.parts.network(whole[:, here], states)
    loss = F.cross_entropy(output.flatten(0, 1), whole[:, 1:][:, here].flatten())
    expected = torch.autograd.grad(loss, trainer.parts.updater.parameters)
    for _ in range(3):
        trainer._update()
    for parameter, gradient in zip(trainer.parts.updater.parameters, expected, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("task", "metric"), [("ptb_char", "bpc"), ("ptb_word", "perplexity")])
def test_a_run_reports_bits_and_perplexity_of_its_loss(tmp_path: Path, task: str, metric: str) -> None:
    options = {"model.hidden": 5, "train.steps": 3, "train.batch_size": 2, "engine": "reference"}
    resolved = resolve(RunRequest("rnn", task, T=7, options=options, settings={"task.embedding": 3}))
    record = train(resolved, ExecutionOptions(tmp_path), Silent()).record
    scored = [*(e.metrics for e in record.evaluations), record.result.test or {}]
    assert len(scored) == 2
    for metrics in scored:
        nats = metrics["loss"]
        assert 1 < nats < 4
        expected = nats / math.log(2) if metric == "bpc" else math.exp(nats)
        assert metrics[metric] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_nrmse_of_a_split_is_relative_to_the_targets(chunk: int) -> None:
    """As coRNN's supplement A says it, over all trajectories, variables and steps at once, however they are cut."""
    torch.manual_seed(0)
    network = Network([Rnn(5, 8)], 5, readout="every", input="values").double()
    x = torch.randn(9, 20, 5, dtype=torch.float64)
    y = torch.randn(9, 20, 5, dtype=torch.float64) * torch.arange(1, 10)[:, None, None]  # trajectories of unlike size
    with torch.no_grad():
        output, _ = network(x)
    rmse = ((output - y) ** 2).mean().sqrt()
    expected = (rmse / (y**2).mean().sqrt()).item()
    pieces = [Batch(x[:5], y[:5]), Batch(x[5:], y[5:])]
    found = evaluate(network, pieces, "mse", ["nrmse", "mse"], chunk)
    assert found["nrmse"] == pytest.approx(expected, rel=1e-12)
    assert found["mse"] == pytest.approx((rmse**2).item(), rel=1e-12)
    each = [((output[i] - y[i]) ** 2).mean().sqrt() / (y[i] ** 2).mean().sqrt() for i in range(9)]
    assert abs(torch.stack(each).mean().item() - expected) > 0.001  # the mean of single ones is another number
