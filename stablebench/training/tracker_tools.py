"""What all trackers need: a run spec in one level, and silence of the packages that they come from."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stablebench.process import python_random
from stablebench.schema.run_spec import RunSpec


def flat_spec(spec: RunSpec) -> dict[str, Any]:
    """Return a run spec's values by dotted key."""

    def leaves(values: dict[str, Any], prefix: str) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for key, value in values.items():
            flat |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
        return flat

    return leaves(spec.model_dump(mode="json"), "")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the trackers' warnings, and what they log as information, from the user, and their random numbers apart."""
    with warnings.catch_warnings(), python_random.kept():
        warnings.simplefilter("ignore")
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        yield
