"""Initial weights of the linear readout in published scripts; by default those of torch."""

from typing import Literal

from torch import nn

ReadoutInit = Literal["default", "kaiming", "xavier"]
"""Weights as torch.nn.Linear's, N(0, 2 / in) or N(0, 2 / (in + out)); the two normal ones with bias 0."""


def initialise(readout: nn.Linear, init: ReadoutInit) -> None:
    """Draw the readout again from torch's global generator, unless `init` is default.

    Args:
        readout: The linear readout, changed in place.
        init: Distribution of its weights; see `ReadoutInit`.
    """
    if init == "default":
        return
    if init == "kaiming":
        nn.init.kaiming_normal_(readout.weight, nonlinearity="relu")
    else:
        nn.init.xavier_normal_(readout.weight)
    nn.init.zeros_(readout.bias)
