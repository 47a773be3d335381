"""One long sequence read in parallel streams by truncated backpropagation, the states carried on."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from stablebench.data.batch import Embedding, Sizes
from stablebench.data.task import Task
from stablebench.errors import UserError
from stablebench.models.network import Network
from stablebench.models.recurrent.lstm import LSTM
from stablebench.schema.card import TaskCard
from stablebench.training.evaluation import evaluate

N, ALPHABET, BPTT = 103, 7, 5


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


@pytest.fixture
def task() -> Iterator[Task]:
    tokens = torch.randint(ALPHABET, (N,), generator=torch.Generator().manual_seed(0))

    def stream(name: str, *, bptt: int = BPTT, data_dir: Path | None = None) -> Tensor:
        return tokens if name == "train" else tokens[:53].flip(0)

    def sizes(bptt: int) -> Sizes:
        return Sizes(ALPHABET, ALPHABET, bptt, Embedding(3))

    module: Any = ModuleType("stablebench.data.tasks.tiny_stream")
    module.stream, module.sizes = stream, sizes
    sys.modules[module.__name__] = module
    card = TaskCard.model_validate(
        {
            "task": "tiny",
            "version": 1,
            "summary": "s.",
            "reference": "r",
            "data": {"stream": "tiny_stream"},
            "input": "tokens",
            "readout": "every",
            "loss": "cross_entropy",
            "metric": "bpc",
            "extra_metrics": ["perplexity", "accuracy"],
            "protocol": {"train": N, "validation": 53, "test": 53, "validation_from": "own", "evaluation_streams": 4},
            "baselines": [{"name": "b", "metric": "bpc", "value": 1.0, "derivation": "w"}],
            "changelog": ["1: first"],
        }
    )
    yield Task(card, {"bptt": BPTT})
    del sys.modules[module.__name__]


def test_streams_are_parts_of_text_and_batches_follow_each_other(task: Task) -> None:
    """Streams are parts of the text and batches follow each other."""
    tokens = torch.randint(ALPHABET, (N,), generator=torch.Generator().manual_seed(0))
    length = N // 3  # 34: six stretches of five tokens and their successors
    assert task.steps_per_epoch(3) == 6
    for index in range(13):
        batch, position = task.train_batch(0, index, 3), index % 6
        for row in range(3):
            start = row * length + position * BPTT
            assert batch.inputs[row].tolist() == tokens[start : start + BPTT].tolist()
            assert batch.targets[row].tolist() == tokens[start + 1 : start + 1 + BPTT].tolist()
        assert task.starts_from_initial_states(index, 3) == (position == 0)


def test_a_split_tells_every_token_but_the_first_of_a_stream(task: Task) -> None:
    whole = task.split("test")
    assert whole.inputs.shape == (4, 12)  # 53 // 4 - 1
    assert torch.equal(whole.inputs[:, 1:], whole.targets[:, :-1])
    assert [piece.inputs.shape[1] for piece in task.pieces("test")] == [5, 5, 2]


def test_carried_states_give_what_one_long_pass_gives(task: Task) -> None:
    network = Network(
        [LSTM(3, 4)], ALPHABET, readout="every", input="tokens", embedding=torch.nn.Embedding(ALPHABET, 3)
    )
    whole = task.split("test")
    output, _ = network(whole.inputs)
    nats = torch.nn.functional.cross_entropy(output.flatten(0, 1), whole.targets.flatten()).item()
    names = ["loss", "bpc", "perplexity", "accuracy"]
    found = evaluate(network, task.pieces("test"), "cross_entropy", names, 100, carried=True)
    assert found["loss"] == pytest.approx(nats, rel=1e-12)
    assert found["bpc"] == pytest.approx(nats / math.log(2), rel=1e-12)
    assert found["perplexity"] == pytest.approx(math.exp(nats), rel=1e-12)
    assert found["accuracy"] == (output.argmax(-1) == whole.targets).double().mean().item()
    anew = evaluate(network, task.pieces("test"), "cross_entropy", names, 100)
    assert anew["loss"] != pytest.approx(nats, rel=1e-6)


def test_more_streams_than_tokens_are_an_error(task: Task) -> None:
    with pytest.raises(UserError, match="103 tokens cannot be read in 60 parallel streams"):
        task.train_batch(0, 0, 60)
