"""A run in full: its result, its spec with the origin of each value, its evaluations, and its environment."""

from pathlib import Path
from typing import Any

from stablebench.cli.shared.requests import origin_text
from stablebench.cli.shared.text import format_value
from stablebench.cli.show.description import WRAPPED_COLUMNS, Description
from stablebench.cli.train import summary_lines
from stablebench.runs.run_paths import run_folder
from stablebench.schema.dotted import dotted
from stablebench.tables import Table


def describe(name: str, runs_dir: Path) -> Description:
    """Return a run's result, its spec with the origin of each value, and its evaluations.

    The installed packages are in the document only.
    """
    folder = run_folder(name, runs_dir)
    record = folder.read_record()
    document = record.model_dump(mode="json")
    spec = dotted(document["spec"])
    otherwise = "default" if record.origin else ""  # an older record may not say
    origins = {key: record.origin.get(key.replace(".params.", ".", 1), otherwise) for key in spec}
    rows = [[key, format_value(value), _origin(key, origins[key], value)] for key, value in spec.items()]
    metrics = sorted({m for e in record.evaluations for m in e.metrics})
    label = folder.label
    text = "\n".join([f"{folder.path}{f' ({label})' if label else ''}", *summary_lines(record)])
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
