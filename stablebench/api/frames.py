"""Tables as DataFrames: pandas and polars are no dependencies, so one is imported when a frame is asked for."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from stablebench.api.table_files import of_one_type
from stablebench.errors import unknown_name
from stablebench.process.extras import require

LIBRARIES = ("pandas", "polars")


def frame(columns: Mapping[str, Sequence[Any]], library: str = "pandas") -> Any:
    """Return a DataFrame.

    Args:
        columns: Values by name, all of one length.
        library: `pandas` or `polars`.

    Raises:
        UserError: There is no such library, or it is not installed.
    """
    if library not in LIBRARIES:
        raise unknown_name("library", library, LIBRARIES)
    require(library, "A DataFrame")
    module = importlib.import_module(library)
    if library == "polars":
        return module.DataFrame({name: of_one_type(list(values)) for name, values in columns.items()})
    return module.DataFrame(dict(columns))
