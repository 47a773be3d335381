"""The contract of a model in one place: what a file with a model of your own imports.

A model knows nothing about tasks. Its chain of states runs over time (`RecurrentModel`) or over layers (`DeepModel`).
An engine (`stablebench.engines`) runs the chain; the loop over `step` is the definition of the model.
"""

from stablebench.models.chain_model import (
    ChainModel,
    ParameterGroup,
    State,
    as_tuple,
    count_parameters,
    grouped,
    own_generator,
    real_like,
)
from stablebench.models.deep_model import DeepModel, Stretch, run_layers
from stablebench.models.recurrent_model import Folded, RecurrentModel, drives_by_step, run_steps

__all__ = [
    "ChainModel",
    "DeepModel",
    "Folded",
    "ParameterGroup",
    "RecurrentModel",
    "State",
    "Stretch",
    "as_tuple",
    "count_parameters",
    "drives_by_step",
    "grouped",
    "own_generator",
    "real_like",
    "run_layers",
    "run_steps",
]
