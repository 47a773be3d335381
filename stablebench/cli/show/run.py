"""A run in full: its result, its spec with the origin of each value, its evaluations, and its environment."""

import glob
from pathlib import Path
from typing import Any

from stablebench.cli.shared.requests import origin_text
from stablebench.cli.shared.text import format_value
from stablebench.cli.show.description import WRAPPED_COLUMNS, Description
from stablebench.cli.train import summary_lines
from stablebench.errors import UserError
from stablebench.runs.store import RunFolder
from stablebench.schema.dotted import dotted
from stablebench.tables import Table


def describe(name: str, runs_dir: Path) -> Description:
    """Return a run's result, its spec with the origin of each value, and its evaluations.

    The installed packages are in the document only.
    """
    folder = RunFolder(_run_path(name, runs_dir))
    record = folder.read_record()
    document = record.model_dump(mode="json")
    spec = dotted(document["spec"])
    otherwise = "default" if record.origin else ""  # an older record may not say
    origins = {key: record.origin.get(key.replace(".params.", ".", 1), otherwise) for key in spec}
    rows = [[key, format_value(value), _origin(key, origins[key], value)] for key, value in spec.items()]
    metrics = sorted({m for e in record.evaluations for m in e.metrics})
    text = "\n".join([str(folder.path), *summary_lines(record)])
    evaluations = [[e.step, e.train_s, *(e.metrics.get(m) for m in metrics)] for e in record.evaluations]
    packages = len(record.environment.packages)
    long = ("packages", "torch_config")
    environment = [[k, format_value(v)] for k, v in dotted(document["environment"]).items() if k not in long]
    environment += (
        [["packages", f"{packages} installed; --json lists them, and how torch was built"]] if packages else []
    )
    tables = [
        Table(["value", "is", "origin"], rows, title="Run spec", wrap=WRAPPED_COLUMNS | {"is"}),
        Table(["step", "s", *metrics], evaluations, title="Evaluations on validation examples"),
        Table(["environment", "is"], environment, wrap=frozenset({"is"})),
    ]
    return Description(document, text, tables)


def _origin(key: str, origin: str, value: Any) -> str:
    """Return where a value came from; a suite's values are set as by --set, and the record does not tell them apart."""
    return "your --set, or the suite" if origin == "--set" else origin_text(key, origin, value)


def _run_path(name: str, runs_dir: Path) -> Path:
    """Return the folder of a run: a path, a name as `list runs` gives it, or the last part of one."""
    for path in (Path(name), runs_dir / name):
        if (path / "record.json").is_file():
            return path
    pattern = f"*/*/{glob.escape(name)}/record.json"
    folders = [] if "/" in name else sorted(path.parent for path in runs_dir.glob(pattern))
    if len(folders) == 1:
        return folders[0]
    if folders:
        raise UserError(f"There are {len(folders)} runs '{name}': {', '.join(map(str, folders))}.")
    raise UserError(f"No run '{name}': it is neither a folder with record.json nor a run in {runs_dir}.")
