"""Build the network of a run spec."""

import torch
from torch import nn

from stablebench.data.batch import Sizes
from stablebench.data.task import Task
from stablebench.errors import UserError, ran_out_of_memory
from stablebench.models import registry as model_registry
from stablebench.models.attention_network import AttentionNetwork
from stablebench.models.base import RecurrentModel
from stablebench.models.blocks.block import Block
from stablebench.models.blocks.residual import new_block
from stablebench.models.deep_network import DeepNetwork
from stablebench.models.network import AnyNetwork, Network
from stablebench.models.registry import ModelEntry
from stablebench.models.revisions import check_revision
from stablebench.models.seeds import embedding_seed, layer_seed
from stablebench.process import python_random
from stablebench.schema.card import TaskCard
from stablebench.schema.run_spec import RunSpec

_CANNOT = (MemoryError, OverflowError, RuntimeError, ValueError, ArithmeticError)
"""What torch and numpy raise of sizes that they, or this machine, cannot hold."""


def build_network(
    spec: RunSpec, card: TaskCard, sizes: Sizes, seed: int | None = None, *, weights_follow: bool = False
) -> AnyNetwork:
    """Return the network, initialised only from the seed, on the CPU, in the spec's precision.

    The global generators of torch, Python and numpy are as before afterwards.

    Args:
        spec: The run.
        card: Its task card.
        sizes: The sizes that its task parameters imply.
        seed: Replaces the run's seed.
        weights_follow: Whether a checkpoint's weights replace the initial ones, so that these need not be the spec's.

    Raises:
        UserError: The model refuses these sizes or arguments, is a user's own that was not named or changed since, or
            starts from other numbers than the spec's revision of it.
    """
    entry = model_registry.model_of_spec(spec.model.name, spec.model.source)
    if not weights_follow:
        check_revision(entry, spec)
    seed = spec.seed if seed is None else seed
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), python_random.seeded(seed):
        torch.set_default_dtype(getattr(torch, spec.precision))
        try:
            if card.input == "static":
                return _deep_network(entry, spec, sizes, seed)
            embedding = None
            if sizes.embedding is not None:
                torch.manual_seed(embedding_seed(seed))
                embedding = nn.Embedding(sizes.inputs, sizes.embedding.width)
                embedding.weight.requires_grad_(sizes.embedding.trained)
            inputs = sizes.inputs if sizes.embedding is None else sizes.embedding.width
            if entry.family == "attention":
                return _attention_network(entry, spec, card, sizes.outputs, embedding, inputs, seed)
            layers: list[RecurrentModel] = []
            blocks: list[Block] = []
            for i in range(spec.model.layers):
                torch.manual_seed(layer_seed(seed, i))
                width = layers[-1].out_features if layers else inputs
                params, hidden = spec.model.params, spec.model.hidden
                if params.get("block") == "residual":
                    width = hidden  # what the block gives the layer, and what it gives out
                layers.append(entry.build(width, hidden, params, horizon=spec.horizon, layer=i))
                block = new_block(params, hidden if blocks else inputs, hidden, layer=i, inner=layers[-1].out_features)
                blocks += [] if block is None else [block]
            return Network(
                layers,
                sizes.outputs,
                readout=spec.readout,
                input=card.input,
                embedding=embedding,
                recompute_every=spec.train.recompute_every,
                blocks=blocks,
            )
        except _CANNOT as error:
            if not isinstance(error, MemoryError) and not ran_out_of_memory(error) and ":" in spec.model.name:
                raise  # a user's own model, whose author wants to see where
            message = str(error).partition("\n")[0] or type(error).__name__
            raise UserError(
                f"{spec.model.label}: cannot be built with these sizes and parameters ({message})."
            ) from error
        finally:
            torch.set_default_dtype(before)


def start_embedding(network: AnyNetwork, task: Task) -> None:
    """Give the tokens' vectors the values that the task has for them, if it has any.

    Raises:
        UserError: The data that they come from are missing.
    """
    if isinstance(network, Network | AttentionNetwork) and network.embedding is not None:
        values = task.embedding()
        if values is not None:
            with torch.no_grad():
                network.embedding.weight.copy_(values)


def _attention_network(
    entry: ModelEntry,
    spec: RunSpec,
    card: TaskCard,
    outputs: int,
    embedding: nn.Embedding | None,
    inputs: int,
    seed: int,
) -> AttentionNetwork:
    layers = []
    for i in range(spec.model.layers):
        torch.manual_seed(layer_seed(seed, i))
        width = layers[-1].out_features if layers else inputs
        layers.append(entry.build_attention(width, spec.model.hidden, spec.model.params, layer=i))
    input = "tokens" if card.input == "tokens" else "values"
    return AttentionNetwork(layers, outputs, readout=spec.readout, input=input, embedding=embedding)


def _deep_network(entry: ModelEntry, spec: RunSpec, sizes: Sizes, seed: int) -> DeepNetwork:
    torch.manual_seed(seed)
    model = entry.build_deep(sizes.inputs, spec.model.hidden, spec.model.params, layers=spec.model.layers)
    return DeepNetwork(model, sizes.outputs)


def resolve_device(name: str) -> torch.device:
    """Return the device of `auto`, `cpu` or `cuda`.

    Raises:
        UserError: `cuda` was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device here; use --device cpu.")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")
