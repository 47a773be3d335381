"""Lint, formatting, types and tests, in one command: `python tests/check.py [PYTEST ARGUMENTS]`."""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKS = [
    ["ruff", "check", "."],
    ["ruff", "format", "--check", "."],
    ["pyright", "--pythonpath", sys.executable],
    ["pytest", "--numprocesses", "auto", "--durations", "5"],
]


def main() -> int:
    """Run every check, also after one that failed, and return 1 if any did."""
    failed = []
    for name, *arguments in CHECKS:
        extra = sys.argv[1:] if name == "pytest" else []
        print(f"== {name} {' '.join(arguments + extra)}", flush=True)
        began = time.perf_counter()
        try:
            code = subprocess.run([sys.executable, "-m", name, *arguments, *extra], cwd=ROOT).returncode
        except KeyboardInterrupt:
            print(f"stopped in {name}", flush=True)
            return 130
        print(f"== {name}: {'failed' if code else 'ok'}, {time.perf_counter() - began:.0f} s", flush=True)
        failed += [name] * (code != 0)
    print("failed: " + ", ".join(failed) if failed else "all checks passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
