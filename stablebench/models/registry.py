"""Names -> models. A name is a file's stem, or `path/to/file.py:Class`; no list is kept anywhere.

Listing names and reading docstrings never imports torch.
"""

import ast
import functools
import importlib
import inspect
import re
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from stablebench import registry
from stablebench.errors import ContractError, UserError, did_you_mean, unknown_name
from stablebench.schema.model_name import base_of

if TYPE_CHECKING:
    from pydantic import BaseModel

    from stablebench.models.attention_model import AttentionModel
    from stablebench.models.base import DeepModel, RecurrentModel
    from stablebench.models.user_code.code import Code
    from stablebench.schema.card import TaskCard

Family = Literal["recurrent", "deep", "attention"]
"""What a model's chain runs over, time steps or layers; or that it has none and looks at all steps at once."""
_FAMILIES: tuple[Family, ...] = ("recurrent", "deep", "attention")
BUILT = ("in_features", "hidden", "horizon", "layer", "layers")
"""Constructor arguments that the builder fills in."""


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be built.

    Args:
        name: What it is called on the command line.
        cls: Its class.
        preset: Arguments that replace the class's defaults.
        code: All code of a user's own model; None for a registered one.
    """

    name: str
    cls: type[Any]
    preset: dict[str, Any] = field(default_factory=dict)
    code: "Code | None" = None

    @property
    def source(self) -> str | None:
        """The digest of a user's own model; None for a registered one."""
        return None if self.code is None else self.code.digest

    @property
    def family(self) -> Family:
        """What the model's chain runs over."""
        from stablebench.models.attention_model import AttentionModel
        from stablebench.models.base import DeepModel

        if issubclass(self.cls, AttentionModel):
            return "attention"
        return "deep" if issubclass(self.cls, DeepModel) else "recurrent"

    @property
    def takes_horizon(self) -> bool:
        """Whether the constructor wants to know the number of steps of the chain."""
        return "horizon" in inspect.signature(self.cls).parameters

    def build(
        self, in_features: int, hidden: int, params: dict[str, Any], *, horizon: int, layer: int = 0
    ) -> "RecurrentModel":
        """Return a new recurrent model, drawn from torch's global generator.

        Args:
            in_features: Width of x_t.
            hidden: Width of the hidden state.
            params: What `resolve` returned.
            horizon: Steps of the chain, passed to models that take it.
            layer: Position in the stack, from 0, passed to models that take it.
        """
        return self._built(in_features, hidden, params, horizon=horizon, layer=layer)

    def build_deep(self, in_features: int, hidden: int, params: dict[str, Any], *, layers: int) -> "DeepModel":
        """Return a new deep model, drawn from torch's global generator.

        Args:
            in_features: Width of the input.
            hidden: Width of the last state.
            params: What `resolve` returned.
            layers: The depth, input and output counted, passed to models that take it.
        """
        return self._built(in_features, hidden, params, layers=layers)

    def build_attention(
        self, in_features: int, hidden: int, params: dict[str, Any], *, layer: int = 0
    ) -> "AttentionModel":
        """Return a new attention model, drawn from torch's global generator; arguments as those of `build`."""
        return self._built(in_features, hidden, params, layer=layer)

    def _built(self, in_features: int, hidden: int, params: dict[str, Any], **chain: int) -> Any:
        wanted = inspect.signature(self.cls).parameters
        from stablebench.models.blocks.residual import split_arguments

        own = {name: value for name, value in chain.items() if name in wanted}
        arguments = {"in_features": in_features, "hidden": hidden, **own, **split_arguments(self.cls, params)[0]}
        if self.source is None:
            return self.cls(**arguments)
        from stablebench.models.contract import built_by
        from stablebench.models.structure import refuse_malformed

        model = built_by(self.cls, self.name, **arguments)
        refuse_malformed(model, self.name)
        return model

    def arguments(self) -> "type[BaseModel]":
        """Return the strict model of the constructor's own arguments, without the preset's defaults."""
        from stablebench.schema.strict import signature_model

        return signature_model(self.cls, BUILT)

    def resolve(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return all arguments: the class's defaults, the preset's, then `params`; of a block only where there is one.

        Raises:
            UserError: An argument is unknown, of a wrong type or out of range.
        """
        from stablebench.models.blocks.residual import block_arguments, split_arguments
        from stablebench.schema.strict import check_arguments

        own, block = split_arguments(self.cls, params)
        checked = check_arguments(self.cls, self.preset | own, f"model {self.name}", BUILT)
        return checked | block_arguments(self.cls, self.name, block, family=self.family)


_registered: dict[str, ModelEntry] = {}
_loaded_code: dict[tuple[str, str], ModelEntry] = {}
"""Users' own models that are loaded in this process, by class and digest. Consent comes before: code is loaded because
it was named on the command line, or as `user_code.known` has it (`training.run_code.name_code`)."""
_LISTED = 20
"""Classes of a file that a message names."""
C = TypeVar("C", bound=type)


def register_model(cls: C) -> C:
    """Class decorator: the class is the model that its file is named after."""
    stem = cls.__module__.rsplit(".", 1)[-1]
    _registered[stem] = ModelEntry(stem, cls)
    return cls


def register_preset(cls: type, **arguments: Any) -> ModelEntry:
    """Register `cls` with other defaults as the model that the calling file is named after."""
    frame = sys._getframe(1)
    stem = frame.f_globals["__name__"].rsplit(".", 1)[-1]
    _registered[stem] = ModelEntry(stem, cls, dict(arguments))
    return _registered[stem]


@cache
def _model_files() -> dict[str, Path]:
    root = Path(__file__).resolve().parent
    files = [p for family in _FAMILIES for p in (root / family).glob("*.py") if not p.stem.startswith("_")]
    return {p.stem: p for p in sorted(files)}


def model_names(family: Family | None = None) -> list[str]:
    """Return the names of all registered models, or of those of one family."""
    return sorted(name for name in _model_files() if family in (None, model_family(name)))


def model_family(name: str) -> Family:
    """Return what the chain of a registered model runs over."""
    return next(family for family in _FAMILIES if _model_files()[name].parent.name == family)


def model_docstring(name: str) -> str:
    """Return a registered model's module docstring without importing it."""
    if name not in _model_files():
        raise unknown_name("model", name, _model_files())
    source = _model_files()[name].read_text(encoding="utf-8")
    docstring = re.match(r'r?"""(?:[^"\\]|\\.|"(?!""))*"""', source)  # parsing 50 whole files takes 0.1 s
    return ast.get_docstring(ast.parse(source if docstring is None else docstring[0])) or ""


def model_formulas(docstring: str) -> dict[str, str]:
    """Return what a model's docstring says of its size, at the defaults and for an even hidden size.

    Returns:
        `parameters` and `cost` (multiply-adds of the matrix products of one time step, or of one sample through a deep
        model), each arithmetic over `hidden`, `inputs`, a deep model's `layers` and the model's numeric arguments; what
        the docstring does not say is left out.
    """
    headings = {"parameters": "Parameters", "cost": "Cost per (?:step|sample)"}
    matches = {key: re.search(rf"^{text}: `([^`]+)`", docstring, flags=re.MULTILINE) for key, text in headings.items()}
    return {key: " ".join(match[1].split()) for key, match in matches.items() if match}


def model_entry(reference: str) -> ModelEntry:
    """Return the model of a name, of `path/to/file.py:Class` or of `package.module:Class`.

    Raises:
        UserError: There is no such model, file or class, or the class is neither recurrent nor deep nor a cell.
    """
    if base_of(reference) != reference:
        raise UserError(f"{reference}: arguments in brackets are not taken here; name {base_of(reference)} alone.")
    if ":" in reference:
        return _user_model(reference)
    if reference.endswith(".py"):
        raise UserError(f"--model {reference}: name the class in it as well: {reference}:Class.")
    if reference not in _model_files():
        raise unknown_name("model", reference, _model_files())
    family = _model_files()[reference].parent.name
    importlib.import_module(f"stablebench.models.{family}.{reference}")
    return _registered[reference]


def model_of_spec(name: str, source: str | None) -> ModelEntry:
    """Return the model of a run spec. No code runs because a record names it: a user's own model must have been named.

    Args:
        name: What the spec calls it.
        source: The digest of the user's code; None for a registered model.

    Raises:
        UserError: There is no such model, or it is a user's own that was not named, or whose file changed since.
    """
    label = name.rpartition(":")[2]
    if ":" not in name:
        if source is not None:
            raise UserError(f"{name}: this is a model of stablebench, which has no `source`; the spec is damaged.")
        return model_entry(name)
    if source is not None and (label, source) in _loaded_code:
        return _loaded_code[label, source]
    if any(known == label for known, _ in _loaded_code):
        raise UserError(f"{name}: the file changed since this run began; put it back or start a new run.")
    raise UserError(
        f"{name}: this run's model is code outside stablebench, which is only run when it is named: add --model "
        f"path/to/file.py:{label} (its file's sha256 must be {source})."
    )


def _user_model(reference: str) -> ModelEntry:
    from stablebench.models.user_code.known import remember
    from stablebench.models.user_code.loading import load_file, load_module

    where, _, class_name = reference.rpartition(":")
    loaded = load_file(Path(where), reference) if where.endswith(".py") else load_module(where, reference)
    entry = ModelEntry(reference, _class_of(loaded.module, class_name, reference), code=loaded.code)
    remember(loaded.code.digest)
    _loaded_code[class_name, loaded.code.digest] = entry
    return entry


def name_code(name: str, code: "Code") -> ModelEntry:
    """Return the model of code that was named before, elsewhere: in the process that this one was begun by.

    Args:
        name: What its spec calls it.
        code: All of it.

    Raises:
        UserError: It cannot be loaded here.
    """
    from stablebench.models.user_code.loading import load_code

    label = name.rpartition(":")[2]
    if (label, code.digest) not in _loaded_code:
        loaded = load_code(code, name)
        _loaded_code[label, code.digest] = ModelEntry(name, _class_of(loaded.module, label, name), code=code)
    return _loaded_code[label, code.digest]


def _class_of(module: Any, class_name: str, reference: str) -> type[Any]:
    """Return a user's class, if it is one of a model; a model of a cell of torch, or of a function that makes one."""
    from torch import nn

    from stablebench.models.adapted_cell import adapted
    from stablebench.models.base import DeepModel, RecurrentModel
    from stablebench.models.contract import check_class

    where = reference.rpartition(":")[0]
    cls = getattr(module, class_name, None)
    bases = (RecurrentModel, DeepModel)
    if isinstance(cls, functools.partial):
        of = getattr(cls.func, "__name__", class_name)
        given = ",".join(f"{key}={value}" for key, value in cls.keywords.items()) or "KEY=VALUE"
        raise UserError(f"--model {reference}: is a functools.partial; name what it calls: {where}:{of}[{given}].")
    if inspect.isfunction(cls) or (inspect.isclass(cls) and issubclass(cls, nn.Module) and not issubclass(cls, bases)):
        return adapted(cls, reference)
    if not inspect.isclass(cls) or not issubclass(cls, bases):
        classes = {n: c for n, c in vars(module).items() if inspect.isclass(c) and c not in bases}
        models = sorted(n for n, c in classes.items() if issubclass(c, nn.Module))
        listed = ", ".join(models) if len(models) <= _LISTED else f"{len(models)} classes"
        raise UserError(
            f"--model {reference}: {where} must define a class {class_name} that extends RecurrentModel or DeepModel "
            "of stablebench.models.base, or is a cell, a torch.nn.Module (x_t, h) -> h or (out, h); it has "
            f"{listed or 'none'}.{did_you_mean(class_name, models)}"
        )
    if inspect.isabstract(cls):
        missing = "`, `".join(sorted(cls.__abstractmethods__))
        raise ContractError(f"--model {reference}: {class_name} must define `{missing}`.")
    check_class(cls, reference, BUILT)
    return cls


def refuse_misfit(entry: ModelEntry, card: "TaskCard") -> None:
    """Refuse a recurrent model on static inputs, and a deep one on sequences.

    Raises:
        UserError: They do not fit.
    """
    name = entry.name.rsplit(":", 1)[-1]
    if entry.family != "deep" and card.input == "static":
        what = "recurrent" if entry.family == "recurrent" else "an attention model"
        raise UserError(
            f"The task {card.task} has static inputs and {name} is {what}, which needs sequences. Take a deep model "
            f"({', '.join(model_names('deep'))})."
        )
    if entry.family == "deep" and card.input != "static":
        raise UserError(
            f"The task {card.task} has sequences and {name} is a deep model, which takes static inputs. Take a "
            f"recurrent model, or a task with static inputs ({', '.join(_static_tasks())})."
        )


def _static_tasks() -> list[str]:
    return [name for name in registry.task_names() if registry.task_card(name).input == "static"]
