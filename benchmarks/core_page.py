"""Writes docs/results/core.md: what is tuned and run of the suite `core`, from its recipes and a run store.

stablebench tune core -o configs/tuned/core                 # any part of it: --models, --tasks
stablebench compare core --recipes configs/tuned/core
python benchmarks/core_page.py --runs-dir runs
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECIPES = "configs/tuned/core"
COLUMNS = "rank,model,score,solved,to_target,parameters,recipe,marks"
INTRO = """# Every model tuned alike

```
stablebench tune core --trials 8 -o {recipes}
stablebench compare core --recipes {recipes}
python benchmarks/core_page.py --runs-dir runs
```

The suite `core`: {models} recurrent models on {tasks} tasks, 128 units, one budget of updates a task, five seeds. Each
model had eight random trials on each task, from its own space (`configs/sweeps/MODEL/any_task.yaml`) over the task's
card, judged on validation examples with a seed that is not scored; [scaling.md](../scaling.md) has the rules.
Hand-tuned recipes took no part. **State: {ended} of {searches} searches have ended; a model without one on a task is
missing there, not last.**

What eight trials are: the best of them on one seed. Where few seeds of a row solve the task, the search came to a
setting that works sometimes; where "best of 8" is far above "best of 4", more trials would help. A model that fails
here fails at this width, in so many updates and trials, and not in general.

One run of all 46 models takes, on one core of an AMD EPYC, by estimate: first_recall 470 s, copy 1,470 s,
copy_masked 1,080 s, digits 380 s, selective_copy 600 s, adding 2,590 s, 6,590 s together. Eight trials are 14.6 core
hours at most (trials that are pruned end at half), five seeds 9.2.

"""


def output(*words: str) -> str:
    """Return what a command of stablebench prints; its exit code is 1 where a part is not done."""
    command = [sys.executable, "-m", "stablebench", *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1) or not ended.stdout:
        raise SystemExit(f"{' '.join(command)}: {ended.stderr}")
    return ended.stdout.rstrip("\n") + "\n"


def page(runs_dir: Path) -> str:
    """Return the page.

    Args:
        runs_dir: The run store with the seeds of `compare core`.
    """
    searches = json.loads(output("tune", "core", "--no-run", "-o", RECIPES, "--json"))
    suite = json.loads(output("show", "suite", "core", "--json"))
    counts = {"models": len(suite["models"]), "tasks": len(suite["tasks"]), "recipes": RECIPES}
    counts |= {"ended": len(searches["ended"]), "searches": searches["searches"]}
    board = ["compare", "core", "--recipes", RECIPES, "--no-run", "--runs-dir", str(runs_dir.resolve())]
    table = output("tune", "core", "--no-run", "-o", RECIPES, "--format", "github")
    scores = output(*board, "--format", "github", "--columns", COLUMNS)
    return f"{INTRO.format(**counts)}## Scores\n\n{scores}\n## Searches\n\n{table}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes docs/results/core.md.")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    (ROOT / "docs" / "results" / "core.md").write_text(page(parser.parse_args().runs_dir), encoding="utf-8")
