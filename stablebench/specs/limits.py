"""Whether a run spec can be built at all: names and parameters as the code has them, sizes as this machine holds them.

A spec may come from a record, a suite or a command line that anybody wrote. What is wrong with it is reported before
anything is built, since a size that no machine holds ends otherwise in a crash or in hours of swapping.

The memory is bounded from below, so that no run is refused that could work: the trained parameters with their
gradients and what the optimiser keeps of each, the examples of a batch and of the validation split, and the states of
a chain that are kept for the gradient.
"""

from functools import cache

import psutil
import torch

from stablebench.data.batch import Sizes
from stablebench.data.task import resolve_params, sizes_of
from stablebench.errors import UserError
from stablebench.models import registry as model_registry
from stablebench.process.cgroups import memory_limit
from stablebench.process.thread_limit import check_thread_count
from stablebench.schema.card import TaskCard
from stablebench.schema.expression import evaluate
from stablebench.schema.optim import OptimSpec
from stablebench.schema.run_record import RunRecord
from stablebench.schema.run_spec import RunSpec
from stablebench.specs.own_task import card_of_spec

_LARGEST_SEED = 2**63 - 1 - 2**53
"""The generators of layers are seeded with numbers beyond it."""
_MOST_STACKED = 10_000
"""Layers of a recurrent stack, each of which is a module of its own; a deep model's are not."""


def checked_card(record: RunRecord) -> TaskCard:
    """Return the task card of a record, having checked the record's spec as any other input.

    Raises:
        UserError: The spec cannot be built here; the message names what is wrong.
    """
    card = card_of_spec(record.spec.task)
    check_spec(record.spec, card)
    return card


def check_spec(spec: RunSpec, card: TaskCard) -> None:
    """Check a spec against the task's and the model's parameters and against this machine's memory.

    Raises:
        UserError: A parameter is unknown, of a wrong type or out of range, values contradict each other, or
            the run cannot fit in memory.
    """
    check_thread_count(spec.threads)
    if spec.seed > _LARGEST_SEED:
        raise UserError(f"seed: must be at most {_LARGEST_SEED:,}, got {spec.seed:,}.")
    resolve_params(card, settings=spec.task.params)
    entry = model_registry.model_of_spec(spec.model.name, spec.model.source)
    entry.resolve(spec.model.params)
    model_registry.refuse_misfit(entry, card)
    if entry.family != "deep" and spec.model.layers > _MOST_STACKED:
        kind = "recurrent" if entry.family == "recurrent" else "stacked"
        raise UserError(f"layers: must be at most {_MOST_STACKED:,} {kind} ones, got {spec.model.layers:,}.")
    sizes = sizes_of(card, spec.task.params)
    steps = spec.model.layers if entry.family == "deep" else sizes.steps
    for name, given, implied in (("horizon", spec.horizon, steps), ("readout", spec.readout, card.readout)):
        if given != implied:
            raise UserError(f"{name}: must be {implied!r}, as the rest of the run spec implies, got {given!r}.")
    needed, largest = least_bytes(spec, card, sizes, entry.family == "deep")
    there = memory_bytes()
    if needed > there:
        raise UserError(
            f"{spec.model.label} on {spec.task.name}: needs at least {_amount(needed)} of memory, mostly for "
            f"{largest}; this machine has {_amount(there)}. Take a smaller size, length or batch."
        )


def least_bytes(spec: RunSpec, card: TaskCard, sizes: Sizes, deep: bool) -> tuple[int, str]:
    """Return how many bytes a run takes at least, and what takes most of them.

    Args:
        spec: The run.
        card: Its task card.
        sizes: The sizes that its task parameters imply.
        deep: Whether its chain runs over layers.
    """
    item = 8 if spec.precision == "float64" else 4
    batch = spec.train.batch_size
    width = sizes.inputs if sizes.embedding is None else sizes.embedding.width
    parameters = _trained(spec, width) + sizes.outputs
    if sizes.embedding is not None:
        parameters += sizes.inputs * width
    tokens = card.input == "tokens"
    example = sizes.steps * (8 if tokens else item * sizes.inputs)
    parts = {
        "the parameters": parameters * item * (2 + kept_per_parameter(spec.optim)),
        "a batch of examples": batch * (example + sizes.steps * width * item),
    }
    if card.data.generator is not None:
        parts["the validation examples"] = card.protocol_at(spec.task.params).validation * example
    if spec.device == "cpu" or not torch.cuda.is_available():
        steps = spec.model.layers if deep else sizes.steps
        kept = steps if spec.train.recompute_every is None else -(-steps // spec.train.recompute_every)
        parts["the states of a chain"] = batch * kept * spec.model.hidden * item
    return sum(parts.values()), max(parts, key=lambda name: parts[name])


def _trained(spec: RunSpec, inputs: int) -> int:
    """Return the trained parameters below the readout as the model's docstring has them; 0 where it does not say."""
    if ":" in spec.model.name:
        return 0
    formula = _parameters(spec.model.name)
    layers, names = spec.model.layers, {**spec.model.params, "hidden": spec.model.hidden, "horizon": spec.horizon}
    names |= {"layers": layers, "inputs": inputs}
    stacked = layers > 1 and model_registry.model_family(spec.model.name) != "deep"
    try:
        others = evaluate(formula, names | {"inputs": 1}) if stacked else 0.0
        return int(evaluate(formula, names) + (layers - 1) * others)
    except ValueError:
        return 0


@cache
def _parameters(model: str) -> str | int:
    """Return the formula of a registered model's parameters; 0 where its docstring has none."""
    return model_registry.model_formulas(model_registry.model_docstring(model)).get("parameters", 0)


def kept_per_parameter(optim: OptimSpec) -> int:
    """Return how many values an optimiser keeps of each parameter."""
    return {"adam": 2, "rmsprop": 1, "adagrad": 1, "sgd": 0}[optim.name] + bool(optim.momentum)


def memory_bytes() -> int:
    """Return the memory that this process may use: the machine's with its swap, or less in a container."""
    there = psutil.virtual_memory().total + psutil.swap_memory().total
    limit = memory_limit()
    return there if limit is None else min(there, limit)


def _amount(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:,.1f} GiB" if n_bytes < 2**60 else f"{float(n_bytes) / 2**30:.3g} GiB"
