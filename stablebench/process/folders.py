"""Where real data lie: a folder that the user names, and the cache folder that stablebench writes to.

The named folder is `--data-dir` or the environment variable STABLEBENCH_DATA; it is only read. The cache folder is
STABLEBENCH_CACHE, or `stablebench` in the platform's cache folder.
"""

import os
from pathlib import Path

from platformdirs import user_cache_path


def named_data_dir(data_dir: Path | None) -> Path | None:
    """Return the folder that the user named, `data_dir` before STABLEBENCH_DATA, or None."""
    if data_dir is not None:
        return data_dir
    named = os.environ.get("STABLEBENCH_DATA")
    return Path(named).expanduser() if named else None


def cache_dir() -> Path:
    """Return the folder that prepared data are kept in; it need not exist."""
    named = os.environ.get("STABLEBENCH_CACHE")
    return Path(named).expanduser() if named else user_cache_path("stablebench", appauthor=False, opinion=False)
