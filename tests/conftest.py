"""What every test runs under."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _torch_as_it_comes() -> Iterator[None]:
    """One thread (many of them make small products slower), and torch's own settings before and after each test."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    torch.set_flush_denormal(False)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_flush_denormal(False)
