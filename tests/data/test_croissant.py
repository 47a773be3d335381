"""`data export`: the files have the arrays that runs are scored on, and Croissant metadata that leads to them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from stablebench import registry
from stablebench.cli.app import app
from stablebench.data.batch import Batch
from stablebench.data.example_files import columns_of
from stablebench.data.task import Task, joined, resolve_params

TASKS = {"copy": 8, "adding": 9, "first_recall": 7, "mqar": None}
"""Tokens at every step, values, a class at the last step, a mask; most with a length that keeps the files small."""


def task_of(name: str) -> Task:
    card = registry.task_card(name)
    return Task(card, resolve_params(card, T=TASKS[name]))


def exported(name: str, folder: Path, *more: str, code: int = 0) -> str:
    length = [] if TASKS.get(name) is None else ["--T", str(TASKS[name])]
    result = CliRunner().invoke(app, ["data", "export", name, *length, "-o", str(folder), *more])
    assert result.exit_code == code, result.output
    return result.output


def equal(found: dict[str, list[Any]], batch: Batch) -> bool:
    columns = columns_of(batch)
    return found.keys() == columns.keys() and all(
        np.array_equal(np.asarray(found[name]).astype(array.dtype), array) and len(found[name]) == len(array)
        for name, array in columns.items()
    )


def read_jsonl(path: Path, split: str) -> dict[str, list[Any]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row.pop("split") for row in rows} == {split}
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.parametrize("name", TASKS)
def test_files_have_the_arrays_of_the_task(name: str, tmp_path: Path) -> None:
    exported(name, tmp_path / "out")
    task = task_of(name)
    for split in ("validation", "test"):
        assert equal(read_jsonl(tmp_path / "out" / f"{split}.jsonl", split), task.split(split))


def test_training_examples_are_the_first_of_a_run(tmp_path: Path) -> None:
    exported("copy", tmp_path, "--train", "200", "--seed", "3")
    task = task_of("copy")
    size = task.protocol.batch_size
    first = joined([task.train_batch(3, index, size) for index in range(2)]).map(lambda part: part[:200])
    assert size == 128 and equal(read_jsonl(tmp_path / "train.jsonl", "train"), first)


@pytest.mark.parametrize("name", TASKS)
def test_metadata_names_files_fields_and_splits(name: str, tmp_path: Path) -> None:
    """Also where mlcroissant is not installed: digests, sizes, shapes, types, and that every reference resolves."""
    exported(name, tmp_path, "--train", "3")
    document = json.loads((tmp_path / "croissant.json").read_text())
    assert document["conformsTo"] == "http://mlcommons.org/croissant/1.1" and document["@type"] == "sc:Dataset"
    assert {"name", "description", "license", "url", "datePublished", "version", "citeAs"} <= document.keys()
    files = {file["@id"]: file for file in document["distribution"]}
    assert set(files) == {"train.jsonl", "validation.jsonl", "test.jsonl"}
    for file in files.values():
        content = (tmp_path / file["contentUrl"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(content).hexdigest() and file["contentSize"] == f"{len(content)} B"
        assert file["encodingFormat"] == "application/jsonlines"
    splits, *records = document["recordSet"]
    assert splits["dataType"] == "cr:Split"
    assert [row["splits/name"] for row in splits["data"]] == ["train", "validation", "test"]
    columns = columns_of(task_of(name).split("test"))
    fields = {field["name"]: field for field in records[-1]["field"]}
    assert set(fields) == {"split", *columns}
    for field_name, array in columns.items():
        field = fields[field_name]
        shape = field.get("arrayShape", "")
        assert shape == ",".join(map(str, array.shape[1:])) and field.get("isArray", False) == (array.ndim > 1)
        assert field["dataType"] == {"i": "cr:Int64", "f": "cr:Float32", "b": "sc:Boolean"}[array.dtype.kind]
    for field in (field for record in records for field in record["field"]):
        assert field["source"]["fileObject"]["@id"] in files
    assert fields["split"]["references"]["field"]["@id"] == splits["field"][0]["@id"]


@pytest.mark.filterwarnings("ignore")  # what the packages warn of
@pytest.mark.parametrize("fmt", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", TASKS)
def test_mlcroissant_loads_the_same_arrays(name: str, fmt: str, tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    if fmt == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    exported(name, tmp_path, "--format", fmt)
    data = mlcroissant.Dataset(tmp_path / "croissant.json")
    assert not data.metadata.ctx.issues.errors and not data.metadata.ctx.issues.warnings
    for split in ("validation", "test"):
        rows = list(data.records(split))
        assert {row[f"{split}/split"] for row in rows} == {split.encode()}
        names = [key for key in rows[0] if key != f"{split}/split"]
        found = {key.removeprefix(f"{split}/"): [row[key] for row in rows] for key in names}
        assert equal(found, task_of(name).split(split))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digits"], "task digits: must be one whose examples are generated"),
        (["cpoy"], "Did you mean copy?"),
        (["copy/t3"], "t3"),
        (["copy", "--set", "model.hidden=3"], "--set model.hidden: only the task's own parameters matter here"),
        (["copy", "--set", "task.S=0"], "S"),
    ],
)
def test_what_cannot_be_exported_is_said(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["data", "export", *words])
    assert result.exit_code == 2 and message in result.stderr
    assert not list(tmp_path.iterdir())


def test_files_that_exist_are_kept(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text("mine")
    assert "test.jsonl: this file exists; --force overwrites it." in exported("copy", tmp_path, code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["test.jsonl"]
    exported("copy", tmp_path, "--force")
    assert (tmp_path / "test.jsonl").read_text() != "mine"
