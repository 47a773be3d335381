"""Inputs of a task as vectors: tokens one-hot or embedded, values as they are."""

from typing import Literal

import torch
from torch import Tensor, nn


def encoded(
    inputs: Tensor,
    *,
    input: Literal["tokens", "values"],
    embedding: nn.Embedding | None,
    width: int,
    dtype: torch.dtype,
) -> Tensor:
    """Return inputs as values (batch, time, in).

    Args:
        inputs: Tokens (batch, time) or values (batch, time, in).
        input: Which of the two.
        embedding: The vectors of the tokens; None for one-hot.
        width: Width of one-hot vectors, the number of tokens there are.
        dtype: Of the values and the one-hot vectors.
    """
    if embedding is not None:
        return embedding(inputs)
    if input == "values":
        return inputs.to(dtype)
    zeros = torch.zeros(*inputs.shape, width, dtype=dtype, device=inputs.device)
    return zeros.scatter_(-1, inputs.unsqueeze(-1), 1.0)  # a third of what one_hot and a conversion take
