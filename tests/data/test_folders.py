import sys
from pathlib import Path

import pytest

from stablebench.process.folders import cache_dir, named_data_dir


def test_the_argument_comes_before_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("STABLEBENCH_DATA", str(tmp_path / "environment"))
    assert named_data_dir(tmp_path / "argument") == tmp_path / "argument"
    assert named_data_dir(None) == tmp_path / "environment"
    for unset in ("", None):
        monkeypatch.delenv("STABLEBENCH_DATA") if unset is None else monkeypatch.setenv("STABLEBENCH_DATA", unset)
        assert named_data_dir(None) is None


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="the platform's own cache folder is elsewhere")
def test_cache_folder_is_named_one_then_xdg_then_home_s(monkeypatch, tmp_path):
    """The cache folder is the named one then xdg then the home s."""
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "named"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "named"
    monkeypatch.delenv("STABLEBENCH_CACHE")
    assert cache_dir() == tmp_path / "xdg" / "stablebench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "stablebench"
