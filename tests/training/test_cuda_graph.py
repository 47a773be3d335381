"""A captured training step computes what the step does; where none can be captured, it just runs."""

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stablebench.data.batch import Batch
from stablebench.training import cuda_graph
from stablebench.training.cuda_graph import MOST_NODES, GraphedStep, estimated_nodes, unsupported_reason

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
CPU = torch.device("cpu")


def step_of(model: nn.Module) -> Any:
    def step(batch: Batch) -> tuple[Tensor, ...]:
        inputs, targets = batch[0], batch[1]
        assert inputs is not None and targets is not None
        loss = ((model(inputs) - targets) ** 2).mean()
        loss.backward()
        return loss, nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])

    return step


def a_batch(rows: int, device: torch.device = CPU) -> Batch:
    return Batch(torch.randn(rows, 3, device=device), torch.randn(rows, 2, device=device))


def expected(model: nn.Module, batch: Batch) -> list[Tensor]:
    """Return the loss, the norm and the gradients, computed without the class."""
    loss = ((model(batch.inputs) - batch.targets) ** 2).mean()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return [loss.detach(), nn.utils.get_total_norm(gradients), *gradients]


def test_a_step_is_captured_on_a_gpu_up_to_a_number_of_kernels() -> None:
    gpu = torch.device("cuda")
    assert unsupported_reason(CPU, 1) == "it runs on cpu"
    assert unsupported_reason(gpu, MOST_NODES) is None
    assert unsupported_reason(gpu, 12, most=10) == "about 12 kernels are more than the 10 that a graph may hold"
    assert estimated_nodes(time_steps=1000, calls=10) == 30_000


def test_without_gpu_step_runs_as_it_is_and_log_says_why_once(caplog: pytest.LogCaptureFixture) -> None:
    """Without a gpu the step runs as it is and the log says why once."""
    model = nn.Linear(3, 2)
    graphed = GraphedStep(step_of(model), model.parameters(), CPU, nodes=1)
    with caplog.at_level(logging.INFO, logger="stablebench"):
        for rows in (4, 4, 3):
            batch = a_batch(rows)
            found = [*graphed(batch), *(p.grad for p in model.parameters())]
            torch.testing.assert_close(found, expected(model, batch))  # nothing of the step before is left
    assert [r.message for r in caplog.records] == ["The training step is not run from a CUDA graph: it runs on cpu"]


def test_gradients_stay_where_they_lie() -> None:
    model = nn.Linear(3, 2)
    graphed = GraphedStep(step_of(model), model.parameters(), CPU, nodes=1)
    graphed(a_batch(4))
    before = [p.grad.data_ptr() for p in model.parameters() if p.grad is not None]
    graphed(a_batch(4))
    assert before == [p.grad.data_ptr() for p in model.parameters() if p.grad is not None]


def test_a_capture_that_fails_leaves_the_step_as_it_was(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = nn.Linear(3, 2)
    graphed = GraphedStep(step_of(model), model.parameters(), CPU, nodes=1)
    monkeypatch.setattr(graphed, "reason", None)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.zeros(1))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: None)

    def refuse(device: torch.device) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nand more lines")

    monkeypatch.setattr(torch.cuda, "Stream", refuse)
    batch = a_batch(4)
    with caplog.at_level(logging.INFO, logger="stablebench"):
        found = [*graphed(batch), *(p.grad for p in model.parameters())]
    torch.testing.assert_close(found, expected(model, batch))
    assert graphed.reason == ("capturing it failed with RuntimeError: operation not permitted when stream is capturing")
    assert len(caplog.records) == 1


class FakeGraph:
    """Stands for a captured graph: runs the step on the static batch."""

    def __init__(self, graphed: GraphedStep) -> None:
        self.graphed = graphed
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        cuda_graph.zero(self.graphed._parameters)
        assert self.graphed._inputs is not None
        results = self.graphed._step(self.graphed._inputs)
        for target, result in zip(self.graphed._results, results, strict=True):
            target.copy_(result.detach())


def test_replay_reads_batch_from_fixed_memory(caplog: pytest.LogCaptureFixture) -> None:
    """A replay reads the batch from fixed memory and fills fixed gradients."""
    model = nn.Linear(3, 2)
    graphed = GraphedStep(step_of(model), model.parameters(), CPU, nodes=1)
    first = a_batch(4)
    graphed._results = tuple(result.detach() for result in graphed(first))
    graphed._gradients = [p.grad for p in model.parameters()]
    graphed._inputs, graphed._graph, graphed.reason = first.map(Tensor.clone), FakeGraph(graphed), None
    places = [part.data_ptr() for part in graphed._inputs if part is not None]
    assert first.inputs.data_ptr() not in places
    for _ in range(2):
        batch = a_batch(4)
        model.zero_grad(set_to_none=True)  # what a caller should not do does no harm
        found = [*graphed(batch), *(p.grad for p in model.parameters())]
        torch.testing.assert_close(found, expected(model, batch))
    assert graphed._graph.replays == 2
    assert places == [part.data_ptr() for part in graphed._inputs if part is not None]
    with caplog.at_level(logging.INFO, logger="stablebench"):
        graphed._said = False
        smaller = a_batch(3)
        found = [*graphed(smaller), *(p.grad for p in model.parameters())]
    torch.testing.assert_close(found, expected(model, smaller))
    assert graphed._graph.replays == 2 and "another shape" in caplog.text


def test_a_static_copy_is_a_batch_of_the_same_kind() -> None:
    batch = a_batch(4)
    static = batch.map(Tensor.clone)
    assert isinstance(static, Batch) and static.mask is None
    assert cuda_graph.same_kind(static, a_batch(4))
    assert not cuda_graph.same_kind(static, a_batch(5))
    assert not cuda_graph.same_kind(static, batch._replace(mask=torch.ones(4, dtype=torch.bool)))
    assert not cuda_graph.same_kind(static, batch._replace(inputs=batch.inputs.double()))
    other = a_batch(4)
    cuda_graph.copy_into(static, other)
    assert torch.equal(static.inputs, other.inputs) and torch.equal(static.targets, other.targets)


@needs_gpu
@pytest.mark.gpu
def test_a_captured_step_computes_what_the_step_does() -> None:
    device = torch.device("cuda")
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).to(device)
    graphed = GraphedStep(step_of(model), model.parameters(), device, nodes=50)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for rows in (4, 4, 4, 3, 4):
        batch = a_batch(rows, device)
        wanted = expected(model, batch)
        found = [*graphed(batch), *(p.grad for p in model.parameters())]
        torch.testing.assert_close(found, wanted)
        optimiser.step()
    assert graphed.reason is None
