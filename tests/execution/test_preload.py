"""What processes are forked with."""

import subprocess
import sys
from pathlib import Path

PRELOADED = """
import sys
import torch
asked = []
for name in ("is_available", "device_count", "current_device", "is_initialized", "_lazy_init", "get_device_properties"):
    setattr(torch.cuda, name, lambda *a, name=name, **k: asked.append(name))
import stablebench.execution.preload
assert asked == [], asked
torch.cuda.is_available = lambda: False
before = set(sys.modules)
from stablebench.runs.progress import Silent
from stablebench.specs.resolve import RunRequest, resolve
from stablebench.training.run import ExecutionOptions, train
from pathlib import Path
small = {"task.S": 2, "train.steps": 2, "train.eval_every": 2, "train.batch_size": 4, "model.hidden": 4}
run = resolve(RunRequest("rnn", "copy", T=5, settings=small | {"engine": "reference"}))
train(run, ExecutionOptions(Path(sys.argv[1])), Silent())
print(len([name for name in set(sys.modules) - before if not name.startswith("stablebench")]))
"""


def test_forked_process_imports_little_and_may_use_a_gpu(tmp_path: Path) -> None:
    """What is forked need import next to nothing and may still use a gpu."""
    done = subprocess.run([sys.executable, "-c", PRELOADED, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 10  # without it, 800
