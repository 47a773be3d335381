"""Read YAML strictly: numbers are numbers, duplicate keys are errors, and every value knows its line.

PyYAML reads `1e-3` as a string and `no` as False, lets a repeated key win silently, expands aliases without bound and
recurses without limit. Here scalars follow YAML 1.2's core schema, and anchors, tags and repeated keys are refused.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from stablebench.errors import UserError

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_DIGITS = 300
_INT = re.compile(r"[-+]?[0-9][0-9_]*$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}

_LIBYAML_DEPTH = "maximum nesting depth"
"""What libyaml says from 1,000 levels on. Its scanner reads ahead, so that it may say so before our count does."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where PyYAML was built with it: it reads a card eight times faster."""

Path_ = tuple[str | int, ...]


@dataclass
class Document:
    """A YAML document as plain data, and the line (from 1) on which each value stands."""

    data: Any
    lines: dict[Path_, int] = field(default_factory=dict)

    def line(self, path: Path_) -> int:
        """Return the line of the value at `path`, or of the nearest value around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def values(self, pattern: str) -> Iterator[tuple[Path_, Any]]:
        """Yield path and value of every key that matches a dotted pattern; `*` is any key of a mapping or list."""
        matches: list[tuple[Path_, Any]] = [((), self.data)]
        for part in pattern.split("."):
            matches = [
                ((*path, key), item) for path, value in matches for key, item in _items(value) if part in ("*", key)
            ]
        yield from matches

    def rename(self, keys: Mapping[str, str]) -> Iterator[str]:
        """Rename keys, and yield `LINE: what is now called what` of each that there was.

        Args:
            keys: New names by dotted pattern of the earlier key; a key whose new name is there too stays as it is.
        """
        for pattern, name in keys.items():
            for path, _ in list(self.values(pattern)):
                *parents, earlier = path
                mapping = self.data
                for parent in parents:
                    mapping = mapping[parent]
                if name in mapping:
                    continue
                mapping[name] = mapping.pop(earlier)
                self.lines = {
                    (*parents, name, *at[len(path) :]) if at[: len(path)] == path else at: line
                    for at, line in self.lines.items()
                }
                yield f"{self.line((*parents, name))}: `{earlier}` is now called `{name}`."


def _items(value: Any) -> list[tuple[str | int, Any]]:
    if isinstance(value, list):
        return list(enumerate(value))
    return list(value.items()) if isinstance(value, dict) else []


def read(path: Path) -> Document:
    """Read one file.

    Raises:
        UserError: The file cannot be read or is not such YAML; the message names file and line.
    """
    return parse(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        UserError: The file cannot be read, is too large or no UTF-8 text.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    if len(raw) > MAX_BYTES:
        raise UserError(f"{path}: at most {MAX_BYTES:,} bytes are read, the file has {len(raw):,}.")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: must be UTF-8 text (byte {error.start} is not).") from None


def parse(text: str, name: str = "value") -> Document:
    """Parse a YAML text.

    Raises:
        UserError: It is not such YAML; the message has `name` and the line.
    """
    try:
        _refuse_unread(text, name)
        node = yaml.compose(text, Loader=_LOADER)
    except UnicodeError:  # half a surrogate pair: bytes of the command line that are not UTF-8
        raise UserError(f"{name}: must be UTF-8 text.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        if _LIBYAML_DEPTH in problem:
            raise UserError(_too_deep(where)) from None
        raise UserError(f"{where}: not valid YAML: {problem}.") from None
    document = Document(None)
    if node is not None:
        document.data = _build(node, (), document.lines, name)
    return document


def one_line(text: str, length: int) -> str:
    """Return what a file says as part of a message: one line, printable, and not too long."""
    text = "".join(c if c.isprintable() else " " for c in text[: length + 1])
    return text if len(text) <= length else text[: length - 3] + "..."


def _refuse_unread(text: str, name: str) -> None:
    """Refuse anchors, aliases, tags and depth before anything is built."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        where = f"{name}:{event.start_mark.line + 1 if event.start_mark else 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise UserError(f"{where}: anchors and aliases are not read; write the value out.")
        tag = getattr(event, "tag", None)
        if tag:
            raise UserError(f"{where}: tags are not read, got {one_line(tag, 60)}.")
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        if depth > MAX_DEPTH:
            raise UserError(_too_deep(where))


def _too_deep(where: str) -> str:
    return f"{where}: nested more than {MAX_DEPTH} deep."


def _build(node: yaml.Node, path: Path_, lines: dict[Path_, int], name: str) -> Any:
    line = node.start_mark.line + 1
    lines[path] = line
    if isinstance(node, yaml.SequenceNode):
        return [_build(child, (*path, i), lines, name) for i, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _build_mapping(node, path, lines, name)
    value = node.value
    if getattr(node, "style", None):  # quoted, or a block
        return value
    if len(value) > MAX_DIGITS and _FLOAT.match(value):
        raise UserError(f"{name}:{line}: a number must have at most {MAX_DIGITS} digits.")
    return _plain(value)


def _build_mapping(node: yaml.MappingNode, path: Path_, lines: dict[Path_, int], name: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise UserError(f"{name}:{line}: a key must be a plain word.")
        key = key_node.value
        if key in result:
            raise UserError(
                f"{name}:{line}: the key '{one_line(key, 60)}' stands twice (first on line {lines[(*path, key)]})."
            )
        result[key] = _build(value_node, (*path, key), lines, name)
        lines[(*path, key)] = line
    return result


def _plain(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.match(text):
        return int(text.replace("_", ""))
    if _FLOAT.match(text):
        return float(text.replace("_", ""))
    if text.lower() in {".inf", "-.inf", "+.inf", ".nan"}:
        return float(text.lower().replace(".", ""))
    return text
