"""stablebench: does its gradient survive, does it learn, what does it cost?

The commands of `stablebench` are functions here, with the same words; docs/python.md has examples:

    probe             what becomes of the gradient in any recurrent module, a model by name, or a trained run
    compile_cell      a cell of your own as a layer that runs as one compiled call, in your own training loop
    train, evaluate   one run, as `stablebench train` and `evaluate` make it
    compare           models on tasks, or a suite: the leaderboard
    watch             gradients in your own training loop, without changing a number of it
    load, list_runs   runs that are there
    UserError         what is raised where an argument is wrong

A model of your own needs these names:

    RecurrentModel    base class of a chain of states over time
    DeepModel         base class of a chain of states over layers
    State             the states of one time step or layer, a tuple of tensors (batch, size)
    ParameterGroup    parameters with a learning rate and an update rule of their own
    register_model    decorator of a model inside `stablebench/models/recurrent` or `deep`

They are loaded when they are first used, so that `import stablebench` does not import torch; `__init__.pyi` has their
types. `stablebench.models` has more of them.
"""

import importlib
import time
from typing import Any

_MODULES = {
    "api.compare": ("Board", "compare"),
    "api.compiled_cell": ("compile_cell",),
    "api.probe": ("probe",),
    "api.probe_result": ("Probe",),
    "api.run": ("Run", "evaluate", "list_runs", "load", "train"),
    "api.watch": ("Watch", "watch"),
    "errors": ("StablebenchError", "UserError"),
    "models": ("DeepModel", "ParameterGroup", "RecurrentModel", "State", "register_model"),
}
"""The modules that have these names; `runs` is a room of the package, so the runs of a folder are `list_runs`."""
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(["__version__", *_HOMES])  # pyright: ignore[reportUnsupportedDunderAll]

__version__ = "0.1.0"
IMPORTED_NS = time.time_ns()
"""When it was imported."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
