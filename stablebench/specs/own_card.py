"""A task card of the user's own: what it leaves out is filled in from its examples, its baseline computed."""

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import PrivateAttr, ValidationError

from stablebench import registry
from stablebench.data.own.arrays import read_bytes
from stablebench.data.own.examples import best_constant
from stablebench.data.own.sources import OwnFile, OwnGenerator
from stablebench.data.source import own_sources
from stablebench.data.task import Task, arguments_of, check_params, resolve_params
from stablebench.errors import UserError
from stablebench.schema.card import TaskCard
from stablebench.schema.own_data import Hints, OwnData, as_data
from stablebench.schema.strict import problems, rename_earlier_keys
from stablebench.schema.yaml_file import Document, parse

if TYPE_CHECKING:
    from types import ModuleType

    from stablebench.models.user_code.code import Code

_EXAMPLES = ("train", "validation", "test", "select_on", "validation_from", "evaluation_streams")
"""Fields of a protocol that a run's spec does not have, and that decide its numbers."""
_LENGTHS = ("length", "T", "steps", "n_steps")
_BELOW_DATA = (
    "generator",
    "params",
    "split",
    "shares",
    "classes",
    "alphabet",
    "inputs",
    "targets",
    "lengths",
    "sequence",
)
"""Keys of `data` that may stand on the card's own level."""
_VALIDATION, _TEST = 1000, 1000
_BATCH = 128


@dataclass(frozen=True)
class OwnFiles:
    """What a card of the user's own was read from; it goes along to other processes.

    Args:
        path: The card, as it was named.
        folder: The folder that its paths start from.
        text: Its content.
        code: All code of its generator; None of a data file.
        data_sha256: The digest of its data file; None of a generator.
    """

    path: str
    folder: str
    text: str
    code: "Code | None" = None
    data_sha256: str | None = None


class OwnCard(TaskCard):
    """A task card of the user's own, completed."""

    needs_baseline: ClassVar[bool] = False

    data: OwnData  # pyright: ignore[reportIncompatibleVariableOverride]
    _files: OwnFiles = PrivateAttr()
    _source: str = PrivateAttr(default="")

    @property
    def source(self) -> str:
        """The digest of all that decides its runs: what the card says, and the code or the data."""
        return self._source

    @property
    def files(self) -> OwnFiles:
        """What it was read from."""
        return self._files

    def baseline(self, metric: str, params: Mapping[str, Any]) -> float | None:
        """Return the card's baseline in `metric`; where it states none, the best constant answer to the test split."""
        if any(baseline.metric == metric for baseline in self.baselines):
            return super().baseline(metric, params)
        if self.source not in own_sources:
            return None
        return _constant(self, self.source, metric, json.dumps(dict(params), sort_keys=True))

    def __hash__(self) -> int:
        """Return that of its digest."""
        return hash(self.source)


@lru_cache(maxsize=256)
def _constant(card: OwnCard, source: str, metric: str, params: str) -> float | None:
    return best_constant(metric, Task(card, json.loads(params)).split("test"))


def data_of(document: Document, path: str) -> OwnData:
    """Return what a card says of its examples, and move short forms to where they belong.

    Raises:
        UserError: With one line per problem.
    """
    if not isinstance(document.data, dict):
        raise UserError(f"{path}:1: must be a mapping of keys to values.")
    rename_earlier_keys(document, TaskCard, path)
    content = document.data
    data = as_data(content.get("data", {}))
    if isinstance(data, dict):
        for key in [key for key in _BELOW_DATA if key in content]:
            if key in data:
                raise UserError(f"{path}:{document.line((key,))}: `{key}` stands on the card's level and below `data`.")
            data[key] = content.pop(key)
            document.lines[("data", key)] = document.line((key,))
        if isinstance(data.get("split"), dict):
            document.lines[("data", "shares")] = document.line(("data", "split"))
            data["shares"] = data.pop("split")
    content["data"] = data
    try:
        return OwnData.model_validate(data)
    except ValidationError as error:
        below = Document(data, {where[1:]: line for where, line in document.lines.items() if where[:1] == ("data",)})
        if isinstance(data, dict):
            below.lines.setdefault((), document.line(("data",)))
        raise UserError("\n".join(problems(error, OwnData, path, below))) from None


def card_from(files: OwnFiles, module: "ModuleType | None") -> OwnCard:
    """Return the card of files that were read, and make its examples known to this process.

    Args:
        files: The files.
        module: The generator's module, run; None of a data file.

    Raises:
        UserError: The card or its examples cannot be used.
    """
    document = parse(files.text, files.path)
    data = data_of(document, files.path)
    hints = _hints(document, files.path)
    if data.file is not None:
        where = os.path.join(files.folder, data.file)
        content = read_bytes(Path(where))
        if hashlib.sha256(content).hexdigest() != files.data_sha256:
            raise UserError(f"{where}: the file changed since this run was asked for; put it back or start a new run.")
        examples: Any = OwnFile(_shown(where), content, data, hints)
    else:
        examples = _generator(files, module, data, hints)
    card = _completed(document, files, data, examples)
    card._files = files
    card._source = _digest(card, files)
    own_sources[card.source] = examples
    _check_scores(card)
    return card


def _check_scores(card: OwnCard) -> None:
    """Compute the baselines and the target that the card states.

    Raises:
        UserError: One cannot be computed.
    """
    for variant in (None, *card.variants):
        params = resolve_params(card, variant=variant)
        try:
            for baseline in card.baselines:
                card.value_at(baseline.value, params)
            card.target_value(params)
        except ValueError as error:
            raise UserError(f"{card.files.path}: a baseline or the target: {error}") from None


def _shown(path: str) -> str:
    """Return a path as messages name it: from the current folder, where it lies below."""
    near = os.path.relpath(path)
    return path if near.startswith("..") else near


def _hints(document: Document, path: str) -> Hints:
    given = {key: document.data[key] for key in Hints.model_fields if key in document.data}
    try:
        return Hints.model_validate(given)
    except ValidationError as error:
        raise UserError("\n".join(problems(error, Hints, path, document))) from None


def _generator(files: OwnFiles, module: "ModuleType | None", data: OwnData, hints: Hints) -> OwnGenerator:
    """Return a card's generator, having drawn a few examples with it."""
    where = data.generator or ""
    name = where.rpartition(":")[2]
    function = getattr(module, name, None)
    if not callable(function):
        functions = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise UserError(
            f"{files.path}: {where}: there is no function `{name}`; it has {', '.join(functions) or 'none'}."
        )
    sizes = getattr(module, "sizes", None)
    generator = OwnGenerator(where, function, sizes if callable(sizes) else None, data, hints)
    params = check_params(generator.generate, arguments_of(data.params), f"{files.path}: {where}")
    drawn = [generator.generate(4, rng=torch.Generator().manual_seed(0), **params) for _ in range(2)]
    for part, again in zip(*drawn, strict=True):
        if part is not None and not torch.equal(part, again):
            raise UserError(f"{files.path}: {where}: must draw from `rng` or `seed` alone; two equal calls differ.")
    return generator


def _completed(document: Document, files: OwnFiles, data: OwnData, examples: Any) -> OwnCard:
    """Return a card with all that its file leaves out."""
    given, kind = document.data, examples.kind
    metric = "accuracy" if kind.classes else "mse"
    counts = examples.counts
    own = {"validation": _VALIDATION, "test": _TEST} if counts is None else counts | {"validation_from": "own"}
    batch = {} if counts is None else {"batch_size": max(1, min(_BATCH, counts["train"] // 4))}
    protocol = given.get("protocol", {})
    if counts is not None and isinstance(protocol, dict):
        for key in ("train", "validation", "test", "validation_from"):
            if key in protocol:
                line = document.line(("protocol", key))
                raise UserError(f"{files.path}:{line}: protocol.{key}: the file's parts decide it; leave it out.")
    usual = {
        "task": _name_from(files.path),
        "version": 1,
        "summary": f"a task of your own, {PurePath(files.path).name}",
        "reference": "your own",
        "length": _length_of(examples) if counts is None else None,
        "input": kind.input,
        "readout": kind.readout,
        "loss": "cross_entropy" if kind.classes else "mse",
        "metric": metric,
        "baselines": [],
        "changelog": [],
    }
    filled = usual | given
    if isinstance(protocol, dict):
        filled["protocol"] = own | batch | protocol
    _state_why(filled)
    if isinstance(filled["task"], str) and filled["task"] in registry.task_names():
        where = f"{files.path}:{document.line(('task',))}"
        raise UserError(
            f"{where}: stablebench has a task {filled['task']}; give this one another name, `task: my_task`."
        )
    try:
        return OwnCard.model_validate(filled)
    except ValidationError as error:
        raise UserError("\n".join(problems(error, OwnCard, files.path, Document(filled, document.lines)))) from None


def _name_from(path: str) -> str:
    """Return a task's name for a file: its own in small ASCII letters, digits and underscores."""
    plain = unicodedata.normalize("NFKD", PurePath(path).stem.casefold()).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    return name if re.match(r"[a-z]", name) else f"task_{name}".rstrip("_")


def _length_of(examples: OwnGenerator) -> str | None:
    names = [parameter.name for parameter in examples.parameters]
    return next((name for name in _LENGTHS if name in names), None)


def _state_why(filled: dict[str, Any]) -> None:
    """Fill in what a baseline and a target say of themselves."""
    baselines = filled.get("baselines")
    for baseline in baselines if isinstance(baselines, list) else ():
        if isinstance(baseline, dict):
            baseline.setdefault("name", "baseline")
            baseline.setdefault("derivation", "as the card says")
            baseline.setdefault("metric", filled.get("metric"))
    if isinstance(target := filled.get("target"), dict):
        target.setdefault("why", "as the card says")
        target.setdefault("metric", filled.get("metric"))
    elif isinstance(target, int | float) and not isinstance(target, bool):
        filled["target"] = {"metric": filled.get("metric"), "value": float(target), "why": "as the card says"}


def _digest(card: OwnCard, files: OwnFiles) -> str:
    """Return the digest of what decides a card's runs next to their specs; where its files lie changes nothing."""
    said = card.model_dump(
        mode="json", include={"input", "readout", "loss", "metric", "extra_metrics", "baselines", "target", "data"}
    )
    said["data"] = {key: value for key, value in said["data"].items() if key not in ("file", "params")}
    said["data"]["generator"] = card.data.generator and card.data.generator.rpartition(":")[2]
    said["protocol"] = {key: value for key, value in card.protocol.model_dump(mode="json").items() if key in _EXAMPLES}
    said |= {"code": None if files.code is None else files.code.digest, "examples": files.data_sha256}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
