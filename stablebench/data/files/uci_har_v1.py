"""UCI HAR, version 1: windows of smartphone recordings of 30 people, as published (Anguita et al. 2012, 2013).

No checksums of the signals are published: what is checked are their shapes, and the labels' checksums.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stablebench.data.files import ensure
from stablebench.data.files.hapt import STEPS, Windows
from stablebench.data.files.source import DataSource, Download, SourceFile, data_root, how_to_get

if TYPE_CHECKING:
    import numpy as np

COUNTS = {"train": 7352, "test": 2947}
SIGNALS = tuple(f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz")
_LABELS = {
    "train/y_train.txt": (14_704, "415b3357e2e2d5e70a45c781947c6bdd80e0410a579d862eedcd6bbce3c694ef"),
    "train/subject_train.txt": (20_152, "66e1e2fbe9b396fa5155f531dc3348c803f503be663e2318772d49947db9153a"),
    "test/y_test.txt": (5_894, "2a94cb53ca46b956c1b2aebd4a09a72badd8a8e9ea9cdfe9f31b3306a08666bb"),
    "test/subject_test.txt": (7_934, "63b8c577f4a85431c06bd87f6384608c90a9f72f05c7956dd21255dc63515c07"),
}


def _signal_path(name: str, signal: str) -> str:
    return f"{name}/Inertial Signals/{signal}_{name}.txt"


SOURCE = DataSource(
    name="uci_har_v1",
    title="Human activity recognition using smartphones, version 1: windows (Anguita et al.)",
    homepage="https://archive.ics.uci.edu/dataset/240",
    terms="the authors ask to cite the paper and prohibit commercial use; UCI is quoted as CC BY 4.0",
    files=(
        *(SourceFile(path, n_bytes, f"sha256:{digest}") for path, (n_bytes, digest) in _LABELS.items()),
        *(SourceFile(_signal_path(name, signal)) for name in COUNTS for signal in SIGNALS),
    ),
    downloads=(
        Download(
            "https://archive.ics.uci.edu/static/public/240/human+activity+recognition+using+smartphones.zip",
            "UCI HAR Dataset.zip",
            kind="archive",
            mirrors=("https://archive.ics.uci.edu/ml/machine-learning-databases/00240/UCI%20HAR%20Dataset.zip",),
        ),
    ),
    folders=("UCI HAR Dataset", "har/UCI HAR Dataset", "har"),
)


def windows(name: Literal["train", "test"], data_dir: Path | None = None) -> Windows:
    """Return the windows of a part, in the published order.

    Args:
        name: 7,352 of `train` or 2,947 of `test`.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Raises:
        UserError: The data are missing or are not the published ones.
    """
    import numpy as np

    chosen = [file for file in SOURCE.files if file.path.startswith(f"{name}/")]
    tables = {
        file.path: _table(file, content, name, data_dir) for file, content in ensure.read_all(SOURCE, chosen, data_dir)
    }
    values = np.stack([tables[_signal_path(name, signal)] for signal in SIGNALS], axis=2)
    activities, people = (tables[f"{name}/{what}_{name}.txt"][:, 0].astype(np.int64) for what in ("y", "subject"))
    return Windows(values, activities, people)


def _table(file: SourceFile, content: bytes, name: str, data_dir: Path | None) -> "np.ndarray":
    import numpy as np

    folder = SOURCE.folders_in(data_root(data_dir))[0]
    try:
        table = np.loadtxt(io.BytesIO(content), ndmin=2)
    except ValueError as error:
        raise how_to_get(SOURCE, f"{file.path} is no table of numbers ({error})", folder) from None
    shape = (COUNTS[name], 1 if file.path in _LABELS else STEPS)
    if table.shape != shape or not np.isfinite(table).all():
        problem = f"{file.path} must have {shape[0]:,} lines of {shape[1]} finite numbers"
        raise how_to_get(SOURCE, problem, folder)
    return table
