"""The contract of a model in one place: what a file with a model of your own imports.

A model knows nothing about tasks. Its chain of states runs over time (`RecurrentModel`) or over layers (`DeepModel`).
An engine (`stablebench.engines`) runs the chain; the loop over `step` is the definition of the model.
"""

import warnings
from typing import Any

from stablebench.models.chain_model import (
    ChainModel,
    ParameterGroup,
    State,
    as_tuple,
    count_parameters,
    frozen_generator,
    real_like,
    with_main_group,
)
from stablebench.models.deep_model import DeepModel, LayerGroup, run_layers
from stablebench.models.recurrent_model import (
    DilatedCell,
    LayerOutputs,
    RecurrentModel,
    layer_outputs,
    run_steps,
    split_by_step,
)

__all__ = [
    "ChainModel",
    "DeepModel",
    "DilatedCell",
    "LayerGroup",
    "LayerOutputs",
    "ParameterGroup",
    "RecurrentModel",
    "State",
    "as_tuple",
    "count_parameters",
    "frozen_generator",
    "layer_outputs",
    "real_like",
    "run_layers",
    "run_steps",
    "split_by_step",
    "with_main_group",
]

_EARLIER_NAMES = {
    "Folded": "DilatedCell",
    "Stretch": "LayerGroup",
    "drives_by_step": "split_by_step",
    "grouped": "with_main_group",
    "own_generator": "frozen_generator",
}
"""What these were called in version 0.1; users' own models may still import these names."""


def __getattr__(name: str) -> Any:
    if name not in _EARLIER_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"{__name__}: `{name}` is now called `{_EARLIER_NAMES[name]}`.", FutureWarning, stacklevel=2)
    return globals()[_EARLIER_NAMES[name]]
