import subprocess
import sys

SCRIPT = """
import warnings
warnings.simplefilter("error")
try:
    import torchvision
    plain = True
except RuntimeError:
    plain = False
from stablebench.data.files.vision import torchvision_datasets
datasets = torchvision_datasets()
assert torchvision_datasets() is datasets
import torchvision
import torchvision.transforms
assert torchvision.datasets is datasets and torchvision.extension is not None
fake = datasets.FakeData(size=2, image_size=(1, 4, 4), num_classes=3)
image, label = fake[0]
print("built", len(fake), "plain" if plain else "declared")
"""
WITHOUT_OPERATORS = """
import importlib, sys
import torch
# what a CPU-only torch makes of PyPI's torchvision: the compiled library does not load
load = torch.ops.load_library
def refuse(path):
    raise OSError(f"{path}: cannot be loaded")
torch.ops.load_library = refuse
"""
UNRELATED = """
import sys, importlib.abc
class Broken(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            raise RuntimeError("another fault")
sys.meta_path.insert(0, Broken())
from stablebench.data.files.vision import torchvision_datasets
try:
    torchvision_datasets()
except RuntimeError as error:
    print("raised", error)
"""


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_data_sets_can_be_built_with_torchvision_of_this_machine():
    """Data sets can be built with the torchvision of this machine."""
    assert run(SCRIPT).startswith("built 2")


def test_data_sets_are_built_without_compiled_operators():
    """Data sets can be built where the compiled operators do not load."""
    assert run(WITHOUT_OPERATORS + SCRIPT) == "built 2 declared\n"


def test_another_fault_of_the_import_is_not_hidden():
    assert run(UNRELATED) == "raised another fault\n"
