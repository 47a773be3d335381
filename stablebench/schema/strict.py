"""Strict pydantic models, and all problems of a file in one message: line, what was expected, a suggestion."""

import inspect
import math
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from stablebench.errors import UserError, did_you_mean
from stablebench.schema.seeds import MAX_SEED
from stablebench.schema.yaml_file import Document, Path_, one_line, read

LARGEST = 2**63 - 1
"""The largest whole number that a tensor's size, and a seed, can be."""
_DEEPEST = 20
"""Levels of lists and mappings in a free value."""


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a value of no fixed type, having checked that its numbers are such as can be computed with."""
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"whole numbers must lie within +-{LARGEST:,}, got one of about {value.bit_length()} bits.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"numbers must be finite, got {value}.")
    if isinstance(value, dict | list):
        if depth == _DEEPEST:
            raise ValueError(f"must have at most {_DEEPEST} levels.")
        for part in value.values() if isinstance(value, dict) else value:
            _plain(part, depth + 1)
    return value


Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=LARGEST)]
NonNegativeInt = Annotated[int, Field(ge=0, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Values = Annotated[dict[str, Any], AfterValidator(_plain)]
"""Values by name whose types are checked elsewhere."""


class Strict(BaseModel):
    """A frozen model that refuses unknown keys, conversions between types, and NaN or infinity.

    `earlier_keys` are the keys of its files that an earlier version called otherwise: new names by dotted pattern.
    `keys_elsewhere` says of keys that users look for here what to write in their place. `short_forms` are functions, by
    dotted pattern, that write out what a file may say in short, and return all else as it is.
    """

    earlier_keys: ClassVar[dict[str, str]] = {}
    short_forms: ClassVar[dict[str, Callable[[Any], Any]]] = {}
    keys_elsewhere: ClassVar[dict[str, str]] = {}

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


class InvalidValues(UserError):
    """Values that a schema refuses.

    Args:
        message: One line per problem.
        problems: The same by key: the path of the value from the outside in, and what is wrong with it.
    """

    def __init__(self, message: str, problems: Sequence[tuple[Path_, str]] = ()) -> None:
        super().__init__(message)
        self.problems = problems

    @classmethod
    def of(cls, error: ValidationError, model: type[BaseModel], name: str, values: Any) -> "InvalidValues":
        """Return the error for values that come from no file; `name` says in words what they are."""
        return cls(
            "\n".join(problems(error, model, name, values=values)),
            tuple(islice(explained(error, model, values), MAX_PROBLEMS)),
        )


def lines_of(error: Exception) -> list[str]:
    """Return the problems of an error, one a line, each with its key but without the name of what was checked."""
    if isinstance(error, InvalidValues) and error.problems:
        return [f"{'.'.join(map(str, key))}: {text}" if key else text for key, text in error.problems]
    return str(error).splitlines()


M = TypeVar("M", bound=Strict)
MAX_PROBLEMS = 9
"""Lines about one file; what is beyond them is counted."""
_MAX_TEXT = 500


def load(path: Path, model: type[M]) -> M:
    """Read a YAML file into a strict model.

    Raises:
        UserError: With one line per problem of the file.
    """
    return validate(read(path), model, str(path))


def validate(document: Document, model: type[M], name: str) -> M:
    """Validate a document.

    Raises:
        UserError: With one line per problem: `name:line: key: what is wrong`.
    """
    if not isinstance(document.data, dict):
        raise UserError(f"{name}:1: must be a mapping of keys to values.")
    rename_earlier_keys(document, model, name)
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise UserError("\n".join(problems(error, model, name, document))) from None


def rename_earlier_keys(document: Document, model: type[Strict], name: str) -> None:
    """Write out what a document has in short, and give keys that earlier versions called otherwise their names.

    There is a warning for each of these keys.
    """
    for line in document.rename(model.earlier_keys):
        warnings.warn(f"{name}:{line}", FutureWarning, stacklevel=2)
    for pattern, written_out in model.short_forms.items():
        for path, value in list(document.values(pattern)):
            around = document.data
            for part in path[:-1]:
                around = around[part]
            around[path[-1]] = written_out(value)


def problems(
    error: ValidationError, model: type[BaseModel], name: str, document: Document | None = None, values: Any = None
) -> list[str]:
    """Return one line per problem of a pydantic error; many are cut short.

    Args:
        error: The error.
        model: What was validated against.
        name: What is wrong: a file, or in words.
        document: The file.
        values: The values, where they come from no file.
    """
    lines: dict[str, None] = {}
    items = explained(error, model, values if document is None else document.data)
    for i, (location, text) in enumerate(items):
        if len(lines) == MAX_PROBLEMS:
            lines[f"{name}: and {error.error_count() - i} more."] = None
            break
        where = f"{name}:{document.line(location)}" if document else name
        key = ".".join(one_line(str(part), 60) for part in location)
        lines[f"{where}: {one_line(f'{key}: {text}' if key else text, _MAX_TEXT)}"] = None
    return list(lines)


def explained(error: ValidationError, model: type[BaseModel], values: Any) -> Iterator[tuple[Path_, str]]:
    """Yield the problems of a pydantic error: the keys of each value from the outside in, and what is wrong."""
    for item in error.errors(include_url=False):
        location = _keys(item["loc"], values, item["type"] in ("extra_forbidden", "missing"))
        yield location, _explain(dict(item), location, model)


def _keys(location: tuple[str | int, ...], values: Any, ends_in_key: bool) -> tuple[str | int, ...]:
    """Return the keys of a pydantic location, without the branches of unions that it names among them.

    Args:
        location: Keys and branches, from the outside in.
        values: What was validated, as plain data.
        ends_in_key: Whether the last part is a key in any case, also where it is spelt like a branch.
    """
    kept: list[str | int] = []
    for i, part in enumerate(location):
        here: Any = dict(enumerate(values)) if isinstance(values, list | tuple) else values
        is_key = isinstance(here, dict) and part in here
        if is_key or not _is_union_branch(part) or (ends_in_key and i == len(location) - 1):
            kept.append(part)
        if is_key:
            values = here[part]
    return tuple(kept)


def _is_union_branch(part: str | int) -> bool:
    return isinstance(part, str) and (part in {"int", "float", "str", "bool", "none"} or "[" in part)


_PLAIN_KINDS = {
    "model_type": "must be keys with values",
    "dict_type": "must be keys with values",
    "list_type": "must be a list: [a, b]",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "greater_than": "must be > {gt}",
    "greater_than_equal": "must be >= {ge}",
    "less_than": "must be < {lt}",
    "less_than_equal": "must be <= {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "too_short": "must have at least {min_length}",
    "too_long": "must have at most {max_length}",
    "literal_error": "must be {expected}",
}
"""What a value must be, by pydantic's kind of problem."""


def _explain(item: dict[str, Any], location: tuple[str | int, ...], model: type[BaseModel]) -> str:
    kind, got = item["type"], item["input"]
    if kind == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        suggestion = did_you_mean(str(location[-1])[:100], known)
        for part in _models_at(model, location[:-1]):
            if issubclass(part, Strict) and location[-1] in part.keys_elsewhere:
                suggestion = f" Write {part.keys_elsewhere[str(location[-1])]}."
        return f"unknown key.{suggestion} Known keys: {', '.join(sorted(known)) or 'none'}."
    if kind == "missing":
        return "this key is required."
    if kind == "value_error":
        return str(item["ctx"]["error"])
    message, suggestion = item["msg"], ""
    if kind == "literal_error" and isinstance(got, str):
        choices = [c.strip(" '") for c in item["ctx"]["expected"].replace(" or ", ", ").split(",")]
        suggestion = did_you_mean(got, choices)
    if kind in _PLAIN_KINDS:
        limits = item.get("ctx", {}).items()
        message = _PLAIN_KINDS[kind].format(**{k: f"{v:g}" if isinstance(v, float) else v for k, v in limits})
        if kind == "model_type" and (known := _fields_at(model, location)):
            message += f": {', '.join(sorted(known))}"
    arrived = "nothing" if got is None else f"{one_line(repr(got), 60)} ({type(got).__name__})"
    return f"{message[0].lower()}{message[1:]}, got {arrived}.{suggestion}"


def _fields_at(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """Return the keys that may stand at `location` inside a document of `model`."""
    return [name for part in _models_at(model, location) for name in part.model_fields]


def _models_at(model: type[BaseModel], location: tuple[str | int, ...]) -> list[type[BaseModel]]:
    """Return the models that may stand at `location` inside a document of `model`."""
    here: list[Any] = [model]
    for part in location:
        following: list[Any] = []
        for kind in here:
            if inspect.isclass(kind) and issubclass(kind, BaseModel):
                if part in kind.model_fields:
                    following += _unwrap(kind.model_fields[str(part)].annotation)
            else:
                following += [k for argument in typing.get_args(kind) for k in _unwrap(argument)]
        here = following
    return [kind for kind in here if inspect.isclass(kind) and issubclass(kind, BaseModel)]


def _unwrap(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _unwrap(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [k for argument in typing.get_args(annotation) for k in _unwrap(argument)]
    return [annotation]


def unwrapped(thing: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function or class that a function wraps, or that a class stands for.

    As `inspect.unwrap`, which leaves classes alone from Python 3.13 on.
    """
    while isinstance(thing, type):
        if not callable(within := vars(thing).get("__wrapped__")):
            return thing
        thing = within
    return inspect.unwrap(thing)


def argument_type(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Return the type of an argument: its annotation, or that of its default where it has none that can be read.

    Args:
        function: Whose argument it is; names in its annotations are looked up where it was written.
        parameter: The argument.

    Raises:
        TypeError: There is neither an annotation that can be read nor a default that is a number, text, true or false.
    """
    plain = isinstance(parameter.default, bool | int | float | str)
    why = "needs a type annotation"
    if parameter.annotation is not parameter.empty:
        own = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
        names = getattr(unwrapped(function), "__globals__", {})
        try:
            return typing.get_type_hints(own, names, names, include_extras=True)[parameter.name]
        except Exception as error:
            why = f"has an annotation that cannot be read ({error}; a name must be imported at run time)"
    if plain:
        return type(parameter.default)
    raise TypeError(why)


@cache
def signature_model(function: Callable[..., Any], without: tuple[str, ...] = ()) -> type[BaseModel]:
    """Return the strict model of a function's keyword-only arguments: types, ranges (`Annotated`) and defaults.

    Of a class, which is built by name, those with a default that may also be given by position count too.

    Args:
        function: A class or function whose arguments are annotated, or have plain defaults.
        without: Arguments that the caller fills in.

    Raises:
        TypeError: The type of an argument is not known, or the function swallows unknown ones with `**`.
    """
    initialiser = function.__init__ if inspect.isclass(function) else function
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            raise TypeError(
                f"{function.__qualname__} must name its arguments, `**{parameter.name}` hides typing errors."
            )
        optional = parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.default is not parameter.empty
        own = parameter.kind is parameter.KEYWORD_ONLY or (inspect.isclass(function) and optional)
        if not own or parameter.name in without:
            continue
        try:
            kind = argument_type(initialiser, parameter)
        except TypeError as error:
            raise TypeError(f"{function.__qualname__}: the argument `{parameter.name}` {error}.") from None
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (kind, default)
    return create_model(function.__name__, __base__=Strict, **fields)


def check_arguments(
    function: Callable[..., Any], values: dict[str, Any], name: str, without: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return `values` completed by the defaults of `function`'s keyword-only arguments.

    Raises:
        UserError: With one line per argument that is unknown, missing, of a wrong type or out of range.
    """
    model = signature_model(function, without)
    try:
        return model.model_validate(values).model_dump()
    except ValidationError as error:
        raise InvalidValues.of(error, model, name, values) from None
