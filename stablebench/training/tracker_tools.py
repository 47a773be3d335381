"""What all trackers need: silence of the packages that they come from."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from stablebench.process import python_random


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the trackers' warnings, and what they log as information, from the user, and their random numbers apart."""
    with warnings.catch_warnings(), python_random.kept():
        warnings.simplefilter("ignore")
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        yield
