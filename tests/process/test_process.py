"""What is set for a whole process."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
if sys.argv[1] == "prepared":
    from stablebench.process.settings import prepare_process
    prepare_process(1)
for _ in range(10):  # until the heap has a place for every block
    torch.ones(16 << 20).sum()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(16 << 20).sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="sets an option of glibc")
def test_freed_memory_is_used_again() -> None:
    assert page_faults("prepared") < page_faults("as it comes") / 100
