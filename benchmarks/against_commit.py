"""Times this tree against another commit, side by side on one machine.

    python benchmarks/against_commit.py 78c226c                        # everything, about 40 minutes on two cores
    python benchmarks/against_commit.py 78c226c --only passes,start    # some of it

Both trees run with this Python and its packages, in turn, each with a compiler cache of its own that is warm before
anything is timed; a line gives the medians and their ratio. Nothing else should run on the machine.

passes      `speed`: forward and backward of the fused engine, and its ratio to the bare products and to torch's own
update      `train`: one update, and its ratio to the pass alone
start       processor seconds of `train --steps 1`, and their ratio to `import torch`
statistics  seconds of `compare --statistics` and `report` of a store of 10,000 runs
suite       seconds of `compare quick --seeds 2 --workers 2` into a new store
"""

import argparse
import contextlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("roarnn", "cornn", "nnrnn", "exprnn", "dizzy", "rnn", "lstm", "gru")
SIZES = ("100,128,784", "32,64,200")
UPDATES = {"digits": "roarnn", "first_recall/t50": "roarnn"}
"""The task and the model of each timed update, at 64 units."""
STORE_MODELS = (
    "antisymmetric cornn dizzy eunn exprnn eyernn fastgrnn fastrnn gru indrnn irnn lem lipschitz lstm nnrnn ornn rnn "
    "roarnn scornn unicornn"
).split()
STORE_TASKS = ("adding", "copy", "copy_masked", "denoise", "first_recall")
STORE_SEEDS = 100
STORE_SETTINGS = "--T 12 --hidden 16 --steps 4 --batch-size 4 --engine reference --set train.eval_every=2".split()


@dataclass(frozen=True)
class Tree:
    """A checkout, with folders of its own for what its runs leave."""

    name: str
    source: Path
    scratch: Path

    def run(self, *arguments: str, module: str = "stablebench") -> str:
        """Return what a command prints on stdout."""
        environment = os.environ | {
            "PYTHONPATH": str(self.source),
            "OMP_NUM_THREADS": "1",
            "STABLEBENCH_CACHE": str(self.scratch / "cache"),
            "STABLEBENCH_STATE": str(self.scratch / "state"),
        }
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(command, env=environment, cwd=self.scratch, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{self.name}: {' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return done.stdout


def main() -> None:
    """Check out the commit, time what was asked for, print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--only", default=",".join(PARTS), help="a,b of: " + ", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3, help="how often each tree is timed (default: 3)")
    options = parser.parse_args()
    parts = options.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    with _trees(options.commit) as (old, new):
        print(f"| what | {options.commit} | this tree | times faster |\n| --- | --- | --- | --- |", flush=True)
        for part in parts:
            for what, before, after, unit in PARTS[part](old, new, options.rounds):
                print(f"| {what} | {before:.4g}{unit} | {after:.4g}{unit} | {before / after:.2f} |", flush=True)


@contextlib.contextmanager
def _trees(commit: str) -> Iterator[tuple[Tree, Tree]]:
    with tempfile.TemporaryDirectory(prefix="against-commit-") as folder:
        source = Path(folder) / "source"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(source), commit], check=True)
        try:
            trees = Tree(commit, source, Path(folder) / "old"), Tree("this tree", ROOT, Path(folder) / "new")
            for tree in trees:
                tree.scratch.mkdir()
            yield trees
        finally:
            subprocess.run([*git, "remove", "--force", str(source)], check=True)


Line = tuple[str, float, float, str]
"""What was timed, before and after, and the unit."""


def _line(what: str, measured: dict[str, list[float]], unit: str = "") -> Line:
    """Return the medians of what was measured of both trees, the old one's first."""
    before, after = (statistics.median(values) for values in measured.values())
    return what, before, after, unit


def passes(old: Tree, new: Tree, rounds: int) -> Iterator[Line]:
    """Yield the fused engine's passes in milliseconds, and their ratios in the same run."""
    for size in SIZES:
        for model in MODELS:
            measured: dict[str, list[dict[str, float]]] = {"old": [], "new": []}
            for _ in range(rounds):
                measured["old"].append(_speed(old, model, size))
                measured["new"].append(_speed(new, model, size))
            label = f"{model}, B,H,T {size}"
            yield _line(label, {tree: [1e3 * one["fused"] for one in measured[tree]] for tree in measured}, " ms")
            for other in ("floor", "nn.LSTM", "nn.GRU"):
                if all(other in one for one in [*measured["old"], *measured["new"]]):
                    ratios = {tree: [one["fused"] / one[other] for one in measured[tree]] for tree in measured}
                    yield _line(f"{label}: fused / {other}", ratios)


def _speed(tree: Tree, model: str, size: str) -> dict[str, float]:
    """Return the median seconds of each contender."""
    document = json.loads(tree.run("speed", "--model", model, "--size", size, "--no-memory", "--json", "-q"))
    contenders = document["sizes"][0]["models"][0]["contenders"]
    return {name: contender["median"] for name, contender in contenders.items()}


def update(old: Tree, new: Tree, rounds: int) -> Iterator[Line]:
    """Yield one update of `train` in milliseconds, as its progress says."""
    for task, model in UPDATES.items():
        seconds: dict[str, list[float]] = {"old": [], "new": []}
        for i in range(rounds):
            for name, tree in (("old", old), ("new", new)):
                command = (
                    f"train --model {model} --task {task} --hidden 64 --steps 1500 --seed {i} --threads 1 --json -q"
                )
                document = json.loads(tree.run(*command.split(), "--set", "train.eval_every=1500"))
                seconds[name].append(document["train_s"] / document["step"])
        yield _line(f"update of {model} on {task}, H 64", {k: [1e3 * s for s in v] for k, v in seconds.items()}, " ms")


def start(old: Tree, new: Tree, rounds: int) -> Iterator[Line]:
    """Yield the processor seconds of a run of one update, also divided by those of `import torch`."""
    seconds: dict[str, list[float]] = {"old": [], "new": []}
    shares: dict[str, list[float]] = {"old": [], "new": []}
    for i in range(3 * rounds + 1):
        for name, tree in (("old", old), ("new", new)):
            command = f"train --model roarnn --task copy --T 20 --steps 1 --seed {i} -q".split()
            own, torch = (
                _processor_s(lambda t=tree, c=command: t.run(*c)),
                _processor_s(lambda t=tree: _import_torch(t)),
            )
            if i:  # the first one compiles
                seconds[name].append(own)
                shares[name].append(own / torch)
    yield _line("train --steps 1, processor", seconds, " s")
    yield _line("the same / import torch", shares)


def _import_torch(tree: Tree) -> None:
    subprocess.run([sys.executable, "-c", "import torch"], check=True, cwd=tree.scratch)


def _processor_s(call: Any) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    call()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def large_store(old: Tree, new: Tree, rounds: int) -> Iterator[Line]:
    """Yield the seconds of a leaderboard with statistics, and of a report, of 10,000 runs."""
    words = ["--models", ",".join(STORE_MODELS), "--tasks", ",".join(STORE_TASKS), *STORE_SETTINGS]
    for tree in (old, new):
        tree.run("compare", *words, "--seeds", "1", "--workers", "2", "-q")
        _add_seeds(tree.scratch / "runs")
    seeds = ["--seeds", str(STORE_SEEDS)]
    for what, command in (
        ("compare --no-run --statistics", ["compare", "--no-run", "--statistics"]),
        ("report", ["report", "-o", "report.html", "--force"]),
    ):
        seconds: dict[str, list[float]] = {old.name: [], new.name: []}
        for _ in range(rounds):
            for tree in (old, new):
                began = time.perf_counter()
                tree.run(*command, *words, *seeds)
                seconds[tree.name].append(time.perf_counter() - began)
        yield _line(f"{what}, 10,000 runs", seconds, " s")


def _add_seeds(runs: Path) -> None:
    """Copy every run to `STORE_SEEDS` seeds, its results moved by a few per cent."""
    rng = random.Random(0)
    for path in list(runs.glob("*/*/*-s0/record.json")):
        record = json.loads(path.read_text())
        for seed in range(1, STORE_SEEDS):
            copy = json.loads(json.dumps(record))
            copy["spec"]["seed"] = seed
            for part in [copy["result"].get("test") or {}, *copy["evaluations"]]:
                for key, value in part.items():
                    if isinstance(value, float):
                        part[key] = value * rng.uniform(0.95, 1.0)
            folder = path.parent.with_name(f"{path.parent.name.removesuffix('-s0')}-s{seed}")
            folder.mkdir()
            (folder / "record.json").write_text(json.dumps(copy))


def suite(old: Tree, new: Tree, rounds: int) -> Iterator[Line]:
    """Yield the seconds of the suite `quick`, into a new store each time."""
    seconds: dict[str, list[float]] = {"old": [], "new": []}
    for i in range(rounds + 1):
        for name, tree in (("old", old), ("new", new)):
            began = time.perf_counter()
            tree.run("compare", "quick", "--seeds", "2", "--workers", "2", "-q", "--runs-dir", f"quick{i}")
            if i:  # the first one compiles
                seconds[name].append(time.perf_counter() - began)
    yield _line("compare quick --seeds 2 --workers 2", seconds, " s")


PARTS = {"passes": passes, "update": update, "start": start, "statistics": large_store, "suite": suite}

if __name__ == "__main__":
    main()
