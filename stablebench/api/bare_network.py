"""Recurrent layers without a readout, for probes and engines that take a network."""

from typing import Any, Literal

import torch
from torch import nn

from stablebench.models.base import RecurrentModel
from stablebench.models.network import Network


class BareNetwork(Network):
    """Recurrent layers alone: their outputs are read as they are."""

    def __init__(self, layers: list[RecurrentModel], readout: Literal["last", "every"]) -> None:
        with torch.random.fork_rng(devices=[]):  # a readout is drawn, and not used
            super().__init__(layers, layers[-1].out_features, readout=readout, input="values")
        self.head = nn.Identity()  # pyright: ignore[reportIncompatibleVariableOverride, reportAttributeAccessIssue]


def name_of(called: Any) -> str:
    """Return what a module or function is called."""
    return getattr(called, "__qualname__", None) or type(called).__name__
