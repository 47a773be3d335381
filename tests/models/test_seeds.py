"""What is drawn at the start of a run: layers are independent of each other and of the first layers of other runs."""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from stablebench.data.task import sizes_of
from stablebench.models import registry as model_registry
from stablebench.models.base import frozen_generator
from stablebench.models.build import build_network
from stablebench.models.network import Network
from stablebench.models.seeds import embedding_seed, layer_seed
from stablebench.specs.resolve import RunRequest, resolve


def network(model: str, seed: int, task: str = "copy", settings: dict[str, object] | None = None) -> Network:
    asked = {"model.hidden": 16, "model.layers": 3, "train.steps": 4, "precision": "float64", "seed": seed}
    asked |= settings or {}
    run = resolve(RunRequest(model, task, T=5 if task == "copy" else None, settings=asked))
    built = build_network(run.spec, run.card, sizes_of(run.card, run.spec.task.params))
    assert isinstance(built, Network)
    return built


def tensors(built: Network, layer: int) -> dict[str, Tensor]:
    part = built.models[layer]
    return dict(part.named_parameters()) | dict(part.named_buffers())


def random_tensors(model: str) -> list[dict[str, Tensor]]:
    """Return what is drawn in each of three layers: what another seed changes, single signs left out."""
    ours, others = (network(model, seed) for seed in (3, 4))
    return [
        {
            name: tensor
            for name, tensor in tensors(ours, layer).items()
            if len(tensor.unique()) > 2 and not torch.equal(tensor, tensors(others, layer)[name])
        }
        for layer in range(3)
    ]


@pytest.mark.parametrize("model", model_registry.model_names("recurrent"))
def test_layers_of_a_stack_are_drawn_independently(model: str) -> None:
    layers = random_tensors(model)
    assert layers[1] and layers[1].keys() == layers[2].keys()
    for one, other in combinations(layers, 2):
        for name in one.keys() & other.keys():
            a, b = one[name], other[name]
            assert a.shape != b.shape or not torch.equal(a, b), name
            if not _is_permutation(a):
                assert not (set(a.flatten().tolist()) & set(b.flatten().tolist())) - {0.0, 1.0, -1.0}, name


def _is_permutation(tensor: Tensor) -> bool:
    return not tensor.is_floating_point()


def test_each_stacked_roarnn_has_an_orthogonal_matrix_of_its_own() -> None:
    for kind in ("dense", "permutation"):
        matrices = [
            tensors(network("roarnn", 0, settings={"model.orthogonal": kind}), layer)["O"] for layer in range(3)
        ]
        assert not any(torch.equal(one, other) for one, other in combinations(matrices, 2))


def test_the_first_layer_is_drawn_from_the_runs_seed_itself() -> None:
    built = network("gru", 5)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(5)
    alone = model_registry.model_entry("gru").build(built.models[0].in_features, 16, {}, horizon=5)
    for name in ("W", "V"):
        assert torch.equal(tensors(built, 0)[name], dict(alone.named_parameters())[name])


def test_no_layer_is_that_of_another_run_or_another_layer() -> None:
    """No layer is the first layer of another run nor another layer."""
    seeds = range(1001)
    above = [layer_seed(seed, layer) for seed in seeds for layer in range(1, 7)]
    embeddings = {embedding_seed(seed) for seed in seeds}
    assert len(set(above)) == len(above) and len(embeddings) == len(seeds)
    assert all(3 * 2**30 <= seed < 2**32 for seed in above)
    assert not set(above) & (set(seeds) | embeddings) and not embeddings & set(seeds)
    own, first = tensors(network("rnn", 0), 1)["W"], [_second_from(seed) for seed in seeds]
    assert not any(torch.equal(own, other) for other in first)


def _second_from(seed: int) -> Tensor:
    """Return W of a layer of `rnn` that stands where the second one of a stack does, drawn from the seed itself."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(seed)
    entry = model_registry.model_entry("rnn")
    return dict(entry.build(16, 16, entry.resolve({}), horizon=5).named_parameters())["W"]


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, 2**31, 2**31 + 7, 2**32 - 1])
def test_what_one_run_draws_apart_is_apart_in_32_bits(seed: int) -> None:
    """What one run draws apart is apart in the 32 bits that torch uses."""
    used = [layer_seed(seed, layer) for layer in range(64)] + [embedding_seed(seed)]
    assert len({value % 2**32 for value in used}) == len(used) and max(used) < 2**32


def test_vectors_of_tokens_are_drawn_as_before() -> None:
    built = network("gru", 3, task="ptb_word/t35")
    torch.manual_seed(2**31 + 3)
    assert built.embedding is not None
    expected = torch.randn(built.embedding.weight.shape, dtype=torch.float64)
    assert torch.equal(built.embedding.weight, expected)


def test_own_streams_differ_between_seeds_and_between_names() -> None:
    first: dict[tuple[int, str], int] = {}
    for seed in range(1001):
        torch.manual_seed(seed)
        for stream in ("O", "Pi", "reservoir", "u_1", "O of the output"):
            first[seed, stream] = frozen_generator(stream).initial_seed()
    assert len(set(first.values())) == len(first) and max(first.values()) < 2**32
    assert not set(first.values()) & set(range(1001))
    torch.manual_seed(7)
    assert first[7, "O"] == frozen_generator("O").initial_seed()
