"""Models: one paper a file in `recurrent/` and `deep/`. A model of your own extends `RecurrentModel` or `DeepModel`.

The names below are loaded when they are first used, so that `import stablebench.models` does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stablebench.models.base import (
        DeepModel,
        DilatedCell,
        LayerGroup,
        ParameterGroup,
        RecurrentModel,
        State,
        frozen_generator,
        run_layers,
        run_steps,
        with_main_group,
    )
    from stablebench.models.registry import model_entry, model_names, register_model, register_preset

__all__ = [
    "DeepModel",
    "DilatedCell",
    "LayerGroup",
    "ParameterGroup",
    "RecurrentModel",
    "State",
    "frozen_generator",
    "model_entry",
    "model_names",
    "register_model",
    "register_preset",
    "run_layers",
    "run_steps",
    "with_main_group",
]
_OF_REGISTRY = ("model_entry", "model_names", "register_model", "register_preset")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "registry" if name in _OF_REGISTRY else "base"
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
