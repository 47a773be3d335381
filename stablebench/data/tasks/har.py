"""Human activity recognition from a smartphone at the waist: windows of 128 steps (2.56 s) of nine signals.

Body acceleration x y z, gyroscope x y z, total acceleration x y z, each with zero mean and unit variance over all steps
of all training windows. People of the test windows are not among those of the training windows. HAR-2 (Kusupati et al.
2018) merges the six activities into two classes: lying, sitting and walking upstairs are 1 here; standing, walking and
walking downstairs 0 (the paper does not say which is which).

    hapt        windows cut here from the raw recordings that were published later, see `stablebench.data.files.hapt`
    uci_har_v1  the published windows, for those who have them
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from stablebench.data.batch import Batch, Sizes
from stablebench.data.files import hapt, uci_har_v1
from stablebench.data.files.store import prepared

if TYPE_CHECKING:
    from stablebench.data.files.hapt import Windows

Source = Literal["hapt", "uci_har_v1"]
FIRST_CLASS = (2, 4, 6)
"""Activities of class 1 of two: walking upstairs, sitting, lying."""
VALIDATION_PEOPLE = (27, 28, 29, 30)
"""Held out of the training people: a window's overlapping neighbours, and its person, are all in one part."""
FEATURES = 9
_ORDER_SEED = 0


def sizes(*, classes: Literal[2, 6] = 2) -> Sizes:
    """Return the sizes: nine signals in; six classes out, or one logit for two."""
    return Sizes(inputs=FEATURES, outputs=1 if classes == 2 else classes, steps=hapt.STEPS)


def load(
    name: Literal["train", "test"],
    *,
    windows: Source = "hapt",
    classes: Literal[2, 6] = 2,
    data_dir: Path | None = None,
) -> Batch:
    """Return all examples of a part.

    Args:
        name: Of `hapt` 7,415 of `train` or 2,996 of `test`; of `uci_har_v1` 7,352 or 2,947.
        windows: Whose windows.
        classes: Two merged ones, or all six activities.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Returns:
        Windows (n, 128, 9), classes (n,).

    Raises:
        UserError: The data are missing or are not the published ones.
    """
    parts = prepare(windows, data_dir)
    activities = parts[f"{name}_activities"]
    targets = activities - 1 if classes == 6 else torch.isin(activities, torch.tensor(FIRST_CLASS)).long()
    return Batch(parts[f"{name}_windows"], targets)


def validation_order(*, windows: Source = "hapt", data_dir: Path | None = None) -> torch.Tensor:
    """Return an order of the training windows, those of `VALIDATION_PEOPLE` first; within the two parts at random."""
    people = prepare(windows, data_dir)["train_people"]
    order = torch.randperm(len(people), generator=torch.Generator().manual_seed(_ORDER_SEED))
    validate = torch.isin(people, torch.tensor(VALIDATION_PEOPLE))[order]
    return torch.cat([order[validate], order[~validate]])


def prepare(source: Source, data_dir: Path | None = None) -> dict[str, torch.Tensor]:
    """Return what the cache folder stores of one source.

    Returns:
        `{train,test}_windows` (n, 128, 9) float32, standardised; `_activities` and `_people` (n,); and `mean` and `sd`,
        (9,) float64, of the training windows before.
    """
    module = hapt if source == "hapt" else uci_har_v1
    files = [[file.path, file.checksum] for file in module.SOURCE.files]
    key = {"version": 1, "files": files}
    return prepared(f"har_{source}", key, lambda: _standardised(source, data_dir))


def _standardised(source: Source, data_dir: Path | None) -> dict[str, torch.Tensor]:
    parts = _parts(source, data_dir)
    mean, sd = parts["train"].values.mean((0, 1)), parts["train"].values.std((0, 1))
    made = {"mean": torch.from_numpy(mean), "sd": torch.from_numpy(sd)}
    for name, part in parts.items():
        made[f"{name}_windows"] = torch.from_numpy((part.values - mean) / sd).to(torch.float32)
        made[f"{name}_activities"] = torch.from_numpy(part.activities)
        made[f"{name}_people"] = torch.from_numpy(part.people)
    return made


def _parts(source: Source, data_dir: Path | None) -> "dict[str, Windows]":
    if source == "uci_har_v1":
        return {"train": uci_har_v1.windows("train", data_dir), "test": uci_har_v1.windows("test", data_dir)}
    whole = hapt.windows(data_dir)
    tested = [person in hapt.TEST_PEOPLE for person in whole.people.tolist()]
    test = torch.tensor(tested).numpy()
    return {
        name: hapt.Windows(whole.values[chosen], whole.activities[chosen], whole.people[chosen])
        for name, chosen in (("train", ~test), ("test", test))
    }
