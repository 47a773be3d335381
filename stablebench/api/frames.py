"""Tables as DataFrames: pandas is no dependency, so it is imported when a frame is asked for."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from stablebench.errors import UserError


def frame(columns: Mapping[str, Sequence[Any]]) -> Any:
    """Return a pandas DataFrame.

    Args:
        columns: Values by name, all of one length.

    Raises:
        UserError: pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ModuleNotFoundError:
        raise UserError("A DataFrame needs pandas, which is not installed: pip install pandas") from None
    return pandas.DataFrame(dict(columns))
