"""What every test runs under."""

import os
from collections.abc import Iterator

import pytest
import torch

_THREADS = "OMP_NUM_THREADS"

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of hundreds of processes would compile the package again


@pytest.fixture(autouse=True, scope="session")
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the tests name with --model is not kept for the user that runs them."""
    os.environ["STABLEBENCH_STATE"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def _torch_as_it_comes() -> Iterator[None]:
    """One thread (many of them make small products slower), and torch's own settings before and after each test."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    torch.set_flush_denormal(False)
    threads = os.environ.get(_THREADS)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_flush_denormal(False)
    if threads is None:  # a command sets it for the processes that it begins, and a record has it
        os.environ.pop(_THREADS, None)
    else:
        os.environ[_THREADS] = threads
