"""stablebench: does its gradient survive, does it learn, what does it cost?

The command `stablebench` is the interface. From Python, a model of your own needs these names:

    RecurrentModel    base class of a chain of states over time
    DeepModel         base class of a chain of states over layers
    State             the states of one time step or layer, a tuple of tensors (batch, size)
    ParameterGroup    parameters with a learning rate and an update rule of their own
    register_model    decorator of a model inside `stablebench/models/recurrent` or `deep`

They are loaded when they are first used, so that `import stablebench` does not import torch. `stablebench.models` has
more of them.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stablebench.models import DeepModel, ParameterGroup, RecurrentModel, State, register_model

__all__ = ["DeepModel", "ParameterGroup", "RecurrentModel", "State", "__version__", "register_model"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("stablebench.models"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
