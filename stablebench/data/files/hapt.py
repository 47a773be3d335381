"""HAPT: recordings of 30 people with a smartphone at the waist, whole and as windows.

Accelerometer (g) and gyroscope (rad/s) at 50 Hz, with the intervals in which people did something (Reyes-Ortiz, Anguita
et al. 2015). `windows` cuts them as the authors say that those of their first release, `uci_har_v1`, were cut; these
cannot be had exactly from here, because the filters are not known in full.

No checksums of the text files are published, and copies differ in how they print the same numbers: what is checked are
the numbers of samples, the intervals, and weighted sums over all samples.
"""

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stablebench.data.files import ensure
from stablebench.data.files.source import DataSource, Download, SourceFile, data_root, how_to_get
from stablebench.errors import UserError

if TYPE_CHECKING:
    import numpy as np

# fmt: off
RECORDINGS = (  # person and number of samples of each experiment, from 1 on
    (1, 20598), (1, 19286), (2, 18026), (2, 16565), (3, 20994), (3, 17493), (4, 17668), (4, 15888), (5, 16864),
    (5, 15038), (6, 16522), (6, 32089), (7, 17195), (7, 16028), (8, 15550), (8, 16356), (9, 16244), (9, 15621),
    (10, 15739), (10, 11601), (10, 9898), (11, 16437), (11, 16530), (12, 16632), (12, 16160), (13, 17801), (13, 17184),
    (14, 17463), (14, 16559), (15, 17179), (15, 17178), (16, 21072), (16, 21139), (17, 21303), (17, 19535), (18, 22399),
    (18, 20058), (19, 19099), (19, 17837), (20, 19693), (20, 17963), (21, 20806), (21, 19484), (22, 17932), (22, 17552),
    (23, 20065), (23, 17986), (24, 20722), (24, 19426), (25, 21230), (25, 20352), (26, 20678), (26, 20316), (27, 18253),
    (27, 18915), (28, 20556), (28, 18836), (29, 18651), (29, 17908), (30, 23538), (30, 19082),
)
# fmt: on
LABELS = SourceFile("RawData/labels.txt")
_LABELS_SHA256 = "902901f3edd54db7e39f9211fd9045a1e83fbc1ddcd0e77f84d3181f3a7a1153"
"""Of the intervals as lines of five numbers with one space between."""
_SUMS = (15118463.358, -1010973.330, 729121.521, 490329.553, -149688.124, -357379.656)
"""Of each signal, over all samples: experiment * (place in the recording, 0 ... 1] * value."""
_SUMS_WITHIN = 2e-3
RATE_HZ = 50
STEPS = 128
STRIDE = 64
TEST_PEOPLE = frozenset({2, 4, 9, 10, 12, 13, 18, 20, 24})
"""The official split, by person."""


def _signal_files() -> tuple[SourceFile, ...]:
    return tuple(
        SourceFile(f"RawData/{sensor}_exp{experiment:02}_user{person:02}.txt")
        for experiment, (person, _) in enumerate(RECORDINGS, 1)
        for sensor in ("acc", "gyro")
    )


SOURCE = DataSource(
    name="hapt",
    title="Smartphone recordings of activities and postural transitions, raw (Reyes-Ortiz, Anguita et al.)",
    homepage="https://archive.ics.uci.edu/dataset/341",
    terms="the authors ask to cite the paper and prohibit commercial use; UCI is quoted as CC BY 4.0",
    files=(LABELS, *_signal_files()),
    downloads=(
        Download(
            "https://archive.ics.uci.edu/static/public/341/"
            "smartphone+based+recognition+of+human+activities+and+postural+transitions.zip",
            "HAPT Data Set.zip",
            kind="archive",
            mirrors=("https://archive.ics.uci.edu/ml/machine-learning-databases/00341/HAPT%20Data%20Set.zip",),
        ),
    ),
    archives=(
        SourceFile(
            "hapt_rawdata.tar.xz",
            12_914_148,
            "sha256:ffaa7272882b60e54f03f7ab01a1d2cfb081ee967f0d886ac26abf410a3e54a6",
        ),
    ),
    folders=("har", "HAPT Data Set", "har/HAPT Data Set"),
)


class Windows(NamedTuple):
    """Windows of nine signals, (n, 128, 9): body acceleration, gyroscope, total acceleration, each x y z.

    Args:
        values: In g and rad/s, float64.
        activities: From 1 to 6, (n,): walking, upstairs, downstairs, sitting, standing, lying.
        people: From 1 to 30, (n,).
    """

    values: "np.ndarray"
    activities: "np.ndarray"
    people: "np.ndarray"


def windows(data_dir: Path | None = None) -> Windows:
    """Return all windows, by experiment and time.

    Of each interval of the six activities: 128 samples every 64, from its first sample on. Before cutting, each whole
    recording is filtered: a median of 3 samples, then a third-order Butterworth low-pass at 20 Hz forwards and
    backwards. Gravity is what a third-order Butterworth low-pass at 0.3 Hz lets through of that, in the same way; body
    acceleration is the rest.

    Args:
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Raises:
        UserError: The data are missing or are not the published ones.
    """
    import numpy as np

    signals, intervals = _recordings(data_dir)
    values, activities, people = [], [], []
    filtered = {experiment: filter_recording(signal) for experiment, signal in signals.items()}
    for experiment, person, activity, first, last in intervals:
        if activity > 6:  # transitions
            continue
        for start in range(first - 1, last - STEPS + 1, STRIDE):
            values.append(filtered[experiment][start : start + STEPS])
            activities.append(activity)
            people.append(person)
    return Windows(np.stack(values), np.array(activities), np.array(people))


def filter_recording(signal: "np.ndarray") -> "np.ndarray":
    """Return a recording's nine signals (samples, 9) from its six, acceleration and angular velocity (samples, 6)."""
    import numpy as np
    from scipy.signal import butter, filtfilt, medfilt

    def low_pass(x: "np.ndarray", cutoff_hz: float) -> "np.ndarray":
        b, a = butter(3, cutoff_hz, fs=RATE_HZ, output="ba")  # pyright: ignore
        return filtfilt(b, a, x, axis=0)

    smooth = low_pass(np.stack([medfilt(column, 3) for column in signal.T], axis=1), 20.0)
    total, gyro = smooth[:, :3], smooth[:, 3:]
    return np.hstack([total - low_pass(total, 0.3), gyro, total])


def _recordings(data_dir: Path | None) -> "tuple[dict[int, np.ndarray], list[tuple[int, ...]]]":
    """Return each experiment's signals (samples, 6) and all intervals, verified."""
    import numpy as np

    tables = {}
    for file, content in ensure.read_all(SOURCE, data_dir=data_dir):
        columns = 5 if file is LABELS else 3
        try:
            table = np.loadtxt(io.BytesIO(content), dtype=np.int64 if file is LABELS else np.float64, ndmin=2)
        except ValueError as error:
            raise _other(f"{file.path} is no table of numbers ({error})", data_dir) from None
        if table.shape[1:] != (columns,):
            raise _other(f"{file.path} must have {columns} columns", data_dir)
        tables[file.path] = table
    lines = "\n".join(" ".join(map(str, row)) for row in tables[LABELS.path].tolist())
    if hashlib.sha256(lines.encode()).hexdigest() != _LABELS_SHA256:
        raise _other(f"{LABELS.path} does not have the published intervals", data_dir)
    files = _signal_files()
    signals, sums = {}, np.zeros(6)
    for experiment, (_, samples) in enumerate(RECORDINGS, 1):
        pair = files[2 * experiment - 2 : 2 * experiment]
        for file in pair:
            if len(tables[file.path]) != samples:
                raise _other(f"{file.path} must have {samples:,} lines, it has {len(tables[file.path]):,}", data_dir)
        signals[experiment] = np.hstack([tables[file.path] for file in pair])
        sums += experiment * np.arange(1, samples + 1) / samples @ signals[experiment]
    if not (np.abs(sums - _SUMS) <= _SUMS_WITHIN).all():  # NaN too
        raise _other("its signals are not the published ones: their sums differ", data_dir)
    return signals, [tuple(row) for row in tables[LABELS.path].tolist()]


def _other(problem: str, data_dir: Path | None) -> UserError:
    return how_to_get(SOURCE, problem, SOURCE.folders_in(data_root(data_dir))[0])
