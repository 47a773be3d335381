"""What control groups say, read from folders that look like the system's."""

from pathlib import Path

import pytest

from stablebench.cli.shared import executors as runners
from stablebench.process import cgroups
from stablebench.process.cgroups import MemoryKills, cpu_quota, memory_kills, memory_limit

V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)
IN_A_CONTAINER = "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"


def system(root: Path, mounts: str, groups: str, files: dict[str, str]) -> Path:
    for path, text in {"proc/self/mountinfo": mounts, "proc/self/cgroup": groups, **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def v1(group: str, quota: str, period: str = "100000") -> dict[str, str]:
    folder = f"sys/fs/cgroup/cpu,cpuacct{group}"
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("mounts", "groups", "files", "quota"),
    [
        pytest.param(V2, "0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "50000 100000\n"}, 0.5, id="half a core"),
        pytest.param(V2, "0::/a\n", {"sys/fs/cgroup/a/cpu.max": "max 100000\n"}, None, id="no quota"),
        pytest.param(
            V2,
            "0::/a/b/c\n",
            {
                "sys/fs/cgroup/a/b/c/cpu.max": "max 100000",
                "sys/fs/cgroup/a/b/cpu.max": "300000 100000",
                "sys/fs/cgroup/a/cpu.max": "250000 100000",
            },
            2.5,
            id="the tightest on the way up",
        ),
        pytest.param(V2, "0::/\n", {"sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5, id="a container's own namespace"),
        pytest.param(V2, "0::/docker/x\n", {"sys/fs/cgroup/cpu.max": "200000 100000"}, 2, id="a path unseen from here"),
        pytest.param(V2, "0::/../x\n", {"sys/fs/cgroup/cpu.max": "200000 100000"}, 2, id="a group beside this one"),
        pytest.param(V1, "4:memory:/m\n3:cpu,cpuacct:/job\n0::/u\n", v1("/job", "50000"), 0.5, id="version 1"),
        pytest.param(V1, "3:cpu,cpuacct:/job\n", v1("/job", "-1"), None, id="version 1 without"),
        pytest.param(
            V1, "3:cpu,cpuacct:/job/s\n", v1("/job/s", "-1") | v1("/job", "400000"), 4, id="version 1, the one above"
        ),
        pytest.param(
            IN_A_CONTAINER,
            "3:cpu:/docker/abc/in\n",
            {"sys/fs/cgroup/cpu/in/cpu.cfs_quota_us": "70000", "sys/fs/cgroup/cpu/in/cpu.cfs_period_us": "100000"},
            0.7,
            id="version 1 mounted from a group",
        ),
        pytest.param("", "", {}, None, id="no groups"),
        pytest.param("nonsense\n - \n", ":::\n\n", {}, None, id="nonsense"),
        pytest.param(V2, "0::/a\n", {"sys/fs/cgroup/a/cpu.max": "0 0"}, None, id="zeros"),
    ],
)
def test_a_cpu_quota_is_the_tightest_of_a_group_and_those_above(
    mounts: str, groups: str, files: dict[str, str], quota: float | None, tmp_path: Path
) -> None:
    assert cpu_quota(system(tmp_path, mounts, groups, files)) == quota


def test_there_is_nothing_to_know_without_linux(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None and memory_kills(tmp_path) is None


@pytest.mark.parametrize(
    ("mounts", "groups", "path", "text", "count"),
    [
        (V2, "0::/a\n", "sys/fs/cgroup/a/memory.events", "low 0\nhigh 3\nmax 9\noom 2\noom_kill 4\n", 4),
        (V1, "4:memory:/m\n", "sys/fs/cgroup/memory/m/memory.oom_control", "under_oom 0\noom_kill 2\n", 2),
        (V1, "4:memory:/m\n", "sys/fs/cgroup/memory/m/memory.oom_control", "under_oom 0\n", None),
    ],
)
def test_processes_killed_for_memory_are_counted(
    mounts: str, groups: str, path: str, text: str, count: int | None, tmp_path: Path
) -> None:
    root = system(tmp_path, mounts, groups, {path: text})
    found = memory_kills(root)
    assert found == (None if count is None else MemoryKills((root / path).parent.stat().st_ino, count))


@pytest.mark.parametrize(
    ("given", "quota", "cores"),
    [(64, 0.5, 1), (64, None, 64), (64, 2.9, 2), (2, 8.0, 2), (4, 4.0, 4)],
)
def test_cores_follow_the_quota_and_what_was_given(
    given: int, quota: float | None, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups.os, "sched_getaffinity", lambda _: set(range(given)), raising=False)
    monkeypatch.setattr(cgroups, "cpu_quota", lambda: quota)
    assert runners.cores() == cores
    from types import SimpleNamespace
    from typing import Any, cast

    cells = cast(Any, [SimpleNamespace(spec=SimpleNamespace(threads=2))])
    assert runners.Executor().at_once(cells) == max(1, cores // 2) and runners.Executor(workers=5).at_once(cells) == 5


@pytest.mark.parametrize(
    ("mounts", "groups", "files", "limit"),
    [
        pytest.param(
            V2,
            "0::/a/b\n",
            {"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "4096\n"},
            4096,
            id="the one above",
        ),
        pytest.param(
            V1, "4:memory:/m\n", {"sys/fs/cgroup/memory/m/memory.limit_in_bytes": "8192\n"}, 8192, id="version 1"
        ),
        pytest.param(V2, "0::/a\n", {"sys/fs/cgroup/a/memory.max": "max\n"}, None, id="no limit"),
        pytest.param("", "", {}, None, id="no groups"),
    ],
)
def test_memory_limit_is_tightest_of_group_and_those_above(
    mounts: str, groups: str, files: dict[str, str], limit: int | None, tmp_path: Path
) -> None:
    """A memory limit is the tightest of a group and those above."""
    assert memory_limit(system(tmp_path, mounts, groups, files)) == limit
