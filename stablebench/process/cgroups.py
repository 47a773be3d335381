"""What Linux's control groups say of this process: its processors, its memory, what was killed for it.

Both versions of them are read, as they are mounted. Where there are none, nothing is known.
"""

import os
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/")


def cpu_quota(root: Path = _ROOT) -> float | None:
    """Return how many processors' time this process gets: the tightest quota of its group and those above it.

    Args:
        root: Where `proc` and `sys` lie.

    Returns:
        Processors, of which 0.5 is half of one's time; None without a quota.
    """
    quotas = [quota for folder in _groups(root, "cpu") if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def cores() -> int:
    """Return how many cores this process may use: those it is bound to, at most its group's CPU quota."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return bound if quota is None else max(1, min(bound, int(quota)))


def _quota_of(folder: Path) -> float | None:
    words = (_text(folder / "cpu.max") or "").split()  # version 2: quota and period in microseconds
    if not words:
        words = [_text(folder / name) or "" for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    try:
        quota, period = float(words[0]), float(words[1])
    except (ValueError, IndexError):  # `max`, or no such files
        return None
    return quota / period if quota > 0 and period > 0 else None  # -1: none


def memory_limit(root: Path = _ROOT) -> int | None:
    """Return how many bytes of memory this process may use: the tightest limit of its group and those above it.

    Args:
        root: Where `proc` and `sys` lie.
    """
    names = ("memory.max", "memory.limit_in_bytes")  # version 2, version 1
    texts = [(_text(folder / name) or "").strip() for folder in _groups(root, "memory") for name in names]
    return min((int(text) for text in texts if text.isdigit()), default=None)  # `max`: no limit


@dataclass(frozen=True)
class MemoryKills:
    """How many processes of a group the kernel has killed because memory had run out.

    Args:
        group: The group's inode, which no other group has that comes after it.
        count: The processes, since the group was made.
    """

    group: int
    count: int


def memory_kills(root: Path = _ROOT) -> MemoryKills | None:
    """Return how many processes of this process's own group were killed for memory; None where that is not known.

    Args:
        root: Where `proc` and `sys` lie.
    """
    for folder in _groups(root, "memory")[:1]:
        for name in ("memory.events", "memory.oom_control"):  # version 2, version 1
            for line in (_text(folder / name) or "").splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill" and value.strip().isdigit():
                    return MemoryKills(folder.stat().st_ino, int(value))
    return None


def _groups(root: Path, controller: str) -> list[Path]:
    """Return the folders of the groups that a controller has this process in: its own, then those above it.

    In a container, the groups above the container's own cannot be seen, and the process's own may lie elsewhere than
    the system reports: it is then the container's.
    """
    paths = _paths(root)
    for line in (_text(root / "proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        own = paths.get(controller) if kind[0] == "cgroup" and controller in kind[2].split(",") else None
        if kind[0] == "cgroup2" and controller not in paths:
            own = paths.get("")
        if own is None:
            continue
        top, mounted = root / fields[4].lstrip("/"), fields[3].rstrip("/")
        below = own[len(mounted) :].strip("/") if f"{own}/".startswith(f"{mounted}/") else ""
        folder = top / below if ".." not in below.split("/") else top
        chain = [folder, *folder.parents]
        folders = [path for path in chain[: chain.index(top) + 1] if path.is_dir()]
        if folders:
            return folders
    return []


def _paths(root: Path) -> dict[str, str]:
    """Return this process's group by controller; version 2's by the empty name."""
    groups: dict[str, str] = {}
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        groups |= dict.fromkeys(controllers.split(","), path)
    return groups


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
