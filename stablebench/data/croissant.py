"""Metadata of exported examples in Croissant, the JSON-LD vocabulary of MLCommons for data sets.

Version 1.1, https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html: files with their SHA-256, a set of
records a split, a field an array, and the splits as a set of records that each example refers to.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

from stablebench.data.example_files import ExampleFile
from stablebench.data.task import Task

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{
        name: f"cr:{name}"
        for name in (
            *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field"),
            *("fileObject", "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath"),
            *("key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated", "replace"),
            *("samplingRate", "separator", "source", "subField", "transform"),
        )
    },
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
_ENCODINGS = {".jsonl": "application/jsonlines", ".parquet": "application/x-parquet"}
_TYPES = {"int64": "cr:Int64", "float32": "cr:Float32", "float64": "cr:Float64", "bool": "sc:Boolean"}
_FIELDS = {
    "inputs": "What the network reads, in the order of time.",
    "targets": "What it is to give out: at every step, or at the last one.",
    "mask": "Steps that the loss counts.",
    "scored": "Steps that accuracy counts.",
    "lengths": "Real steps of the sequence; what follows them is padding.",
}


def croissant(task: Task, name: str, files: Sequence[ExampleFile], today: date) -> dict[str, Any]:
    """Return the metadata of exported examples as JSON-LD.

    Args:
        task: The task.
        name: What it is called: `copy/t100`.
        files: Its files; paths are relative to the metadata.
        today: When they were made.
    """
    card = task.card
    params = ", ".join(f"{key} {value}" for key, value in task.params.items())
    parts = [card.summary, card.variant, f"Parameters: {params}.", f"Loss: {card.loss}; metric: {card.metric}."]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": name.replace("/", "-"),
        "description": " ".join(part.rstrip(".") + "." for part in parts if part),
        "conformsTo": CONFORMS_TO,
        "citeAs": card.reference,
        "license": "https://spdx.org/licenses/MIT",
        "url": f"urn:stablebench:task:{name}",
        "version": f"{card.version}.0.0",
        "datePublished": today.isoformat(),
        "isLiveDataset": False,
        "distribution": [_file(file) for file in files],
        "recordSet": [_splits(files), *(_records(file) for file in files)],
    }


def _file(file: ExampleFile) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "description": f"The {file.examples:,} {file.split} examples.",
        "contentUrl": file.name,
        "contentSize": f"{file.n_bytes} B",
        "encodingFormat": _ENCODINGS[f".{file.name.rpartition('.')[2]}"],
        "sha256": file.sha256,
    }


def _splits(files: Sequence[ExampleFile]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "description": "The splits that an example may belong to.",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [{"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"}],
        "data": [{"splits/name": file.split} for file in files],
    }


def _records(file: ExampleFile) -> dict[str, Any]:
    split = _field(file, "split", {"dataType": "sc:Text", "references": {"field": {"@id": "splits/name"}}})
    return {
        "@type": "cr:RecordSet",
        "@id": file.split,
        "name": file.split,
        "description": f"An example a record: {file.examples:,} of them.",
        "field": [split, *(_field(file, name, _typed(file, name)) for name in file.shapes)],
    }


def _typed(file: ExampleFile, name: str) -> dict[str, Any]:
    shape = file.shapes[name]
    array = {"isArray": True, "arrayShape": ",".join(map(str, shape))} if shape else {}
    return {"description": _FIELDS[name], "dataType": _TYPES[file.types[name]], **array}


def _field(file: ExampleFile, name: str, more: dict[str, Any]) -> dict[str, Any]:
    source = {"fileObject": {"@id": file.name}, "extract": {"column": name}}
    return {"@type": "cr:Field", "@id": f"{file.split}/{name}", "name": name, "source": source, **more}
