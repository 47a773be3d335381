"""YAML is read strictly: what is not plain data is refused, in one line that names file and place."""

import json
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stablebench.errors import UserError
from stablebench.resources import tasks_dir
from stablebench.schema import yaml_file
from stablebench.schema.card import TaskCard
from stablebench.schema.recipe import Recipe
from stablebench.schema.strict import load, validate
from stablebench.schema.suite import Suite
from stablebench.schema.yaml_file import parse, read

PUBLISHED = """\
published:
  - {key: fig2_t400, model: a, variant: t400, metric: loss, statistic: best, value: 1, units: 190, source: s, where: w}
  - {key: fig2_t2000, model: roarnn, variant: t2000, metric: accuracy, statistic: best, value: 1, source: s, where: w}
  - {key: guess_t400, model: guess, variant: t400, metric: loss, statistic: exact, value: 0.1, source: s, where: w}
"""
CARD = (tasks_dir() / "copy.yaml").read_text() + PUBLISHED


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.0e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3),
        ("+3", 3),
        ("100_000", 100_000),
        ("010", 10),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("True", "True"),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ('"true"', "true"),
        ("''", ""),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("0x10", "0x10"),
        ("1 2", "1 2"),
        ("[1, a, [2.5]]", [1, "a", [2.5]]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
        ("|\n  5\n", "5\n"),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
    ],
)
@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_scalars_are_what_they_look_like(
    text: str, value: object, loader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yaml_file, "_LOADER", getattr(yaml, loader))
    found = parse(text).data
    assert found == value
    assert type(found) is type(value)


def test_every_value_knows_its_line() -> None:
    document = parse("a: 1\nb:\n  c: 2\n  d:\n    - 3\n    - e: 4\n")
    assert document.data == {"a": 1, "b": {"c": 2, "d": [3, {"e": 4}]}}
    lines = [document.line(key) for key in [("a",), ("b",), ("b", "c"), ("b", "d", 0), ("b", "d", 1, "e")]]
    assert lines == [1, 2, 3, 5, 6]
    assert document.line(("b", "missing", "deeper")) == 2
    assert document.line(("missing",)) == 1


MALFORMED = {
    "tag of python": ("a: !!python/object/apply:os.system [touch ran]", "tags are not read"),
    "tag on a scalar": ("a: !!python/name:os.system", "tags are not read"),
    "own tag": ("a: !mine 5", "tags are not read"),
    "plain tag": ("a: !!int '5'", "tags are not read"),
    "binary": ("a: !!binary aGVsbG8=", "tags are not read"),
    "set": ("!!set {a}", "tags are not read"),
    "anchor": ("a: &x 1", "anchors and aliases are not read"),
    "alias": ("a: &x [1]\nb: *x", "anchors and aliases are not read"),
    "alias bomb": ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]", "anchors and aliases"),
    "unknown alias": ("a: *nothing", "anchors and aliases are not read"),
    "twice": ("a: 1\nb: 2\na: 3", "3: the key 'a' stands twice (first on line 1)"),
    "twice inside": ("a: {b: 1, b: 2}", "the key 'b' stands twice"),
    "twice in disguise": ("a: 1\n'a': 2", "the key 'a' stands twice"),
    "deep lists": ("[" * 1000 + "]" * 1000, "nested more than 20 deep"),
    "deep lists, open": ("[" * 100_000, "nested more than 20 deep"),
    "deep mappings": ("{a: " * 1000 + "1" + "}" * 1000, "nested more than 20 deep"),
    "deep by indent": ("\n".join(" " * i + "a:" for i in range(100)), "nested more than 20 deep"),
    "list as key": ("? [1]\n: 2", "a key must be a plain word"),
    "open list": ("a: [1", "not valid YAML"),
    "open quote": ("a: 'b", "not valid YAML"),
    "tab": ("a:\n\tb: 1", "not valid YAML"),
    "two documents": ("a: 1\n---\nb: 2", "not valid YAML"),
    "unknown directive": ("%YAML 3.0\n---\na: 1", "not valid YAML"),
    "control character": ("a: \x00", "not valid YAML"),
    "bell": ("a: \x07", "not valid YAML"),
    "half a surrogate": ("a: \ud83d", "file.yaml: "),
    "endless integer": ("a: " + "9" * 5000, "at most 300 digits"),
    "endless fraction": ("a: 0." + "9" * 5000, "at most 300 digits"),
    "colon in value": ("a: b: c", "not valid YAML"),
    "bad indentation": ("a: 1\n  b: 2", "not valid YAML"),
    "at sign": ("a: @b", "not valid YAML"),
    "percent": ("a: %b", "not valid YAML"),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_what_is_no_plain_data_is_refused_in_one_line(
    name: str, loader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yaml_file, "_LOADER", getattr(yaml, loader))
    monkeypatch.chdir(tmp_path)
    text, message = MALFORMED[name]
    with pytest.raises(UserError) as caught:
        parse(text, "file.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("file.yaml:")
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []  # nothing was run


BYTES = {
    "UTF-16": (CARD.encode("utf-16"), "must be UTF-8"),
    "Latin-1": ("a: é".encode("latin-1"), "must be UTF-8"),
    "ten megabytes": (b"a: 1\n" + b"#" * 10_000_000, "at most 1,000,000 bytes"),
    "random": (random.Random(0).randbytes(1000), "must be UTF-8"),
    "zeros": (bytes(1000), "not valid YAML"),
    "empty": (b"", "must be a mapping"),
    "only a comment": (b"# nothing\n", "must be a mapping"),
    "a list": (b"- 1\n", "must be a mapping"),
    "a number": (b"5\n", "must be a mapping"),
    "an ELF header": (b"\x7fELF\x02\x01\x01\x00", "not valid YAML"),
}


@pytest.mark.parametrize("name", BYTES)
@pytest.mark.parametrize("model", [TaskCard, Recipe, Suite])
def test_a_file_that_is_no_card_is_refused(name: str, model: Any, tmp_path: Path) -> None:
    content, message = BYTES[name]
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match="file.yaml.*" + message):
        load(path, model)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none.yaml: cannot be read"):
        read(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path)


CHANGES: list[tuple[str, str]] = [
    ("version: 1", "version: one"),
    ("version: 1", "version: 1.5"),
    ("version: 1", "version: true"),
    ("version: 1", "version: 0"),
    ("version: 1", "version: -1"),
    ("version: 1", "version: .nan"),
    ("version: 1", "version: .inf"),
    ("version: 1", "version: null"),
    ("version: 1", "version: [1]"),
    ("version: 1", "version: {a: 1}"),
    ("version: 1", "vresion: 1"),
    ("task: copy", "task: 5"),
    ("task: copy", "task: Copy Task"),
    ("task: copy", 'task: "../../etc/passwd"'),
    ("task: copy", 'task: "a\\nb\\nc"'),
    ("task: copy", "task: ''"),
    ("data: {", "data: {dataset: digits, "),
    ("data: {generator: copy, ", "data: {"),
    ("data: {", "data: {generatr: x, "),
    ("input: tokens", "input: token"),
    ("input: tokens", "input: [tokens]"),
    ("loss: cross_entropy", "loss: crossentropy"),
    ("metric: loss", "metric: f1"),
    ("extra_metrics: [accuracy]", "extra_metrics: accuracy"),
    ("extra_metrics: [accuracy]", "extra_metrics: [acuracy]"),
    ("validation: 500", "validation: 0"),
    ("validation: 500", "validation: 5.0"),
    ("validation: 500", "validation: '500'"),
    ("lr: 1.0e-3", "lr: 0"),
    ("lr: 1.0e-3", "lr: -1"),
    ("lr: 1.0e-3", "lr: .nan"),
    ("lr: 1.0e-3", "lr: .inf"),
    ("lr: 1.0e-3", "lr: 1e400"),
    ("lr: 1.0e-3", "lr: fast"),
    ("name: adam", "name: adm"),
    ("name: adam", "name: adam, betas: [0.9]"),
    ("name: adam", "name: adam, betas: [0.9, 2]"),
    ("name: adam", "name: adam, momentum: -1"),
    ("name: adam", "name: adam, groups: {a: {lr: 0}}"),
    ("name: adam", "name: adam, groups: {str: {rl: 1}}"),
    ("name: adam", "name: adam, schedule: {at: [0], factor: 2}"),
    ("name: adam", "name: adam, schedule: {at: [5]}"),
    ("value: 0.99", "value: .nan"),
    ("value: 0.99", "value: [1]"),
    ("value: 0.99", "vlaue: 0.99"),
    ("metric: accuracy", "metric: mse"),
    ("statistic: exact", "statistic: maybe"),
    ("variant: t400", "variant: t401"),
    ("units: 190", "units: 0"),
    ("key: fig2_t400", "key: fig2_t2000"),
    ('changelog: ["1: first version"]', "changelog: first"),
    ('changelog: ["1: first version"]', ""),
    ("readout: every", "readout: every\nreadout: last"),
    ("readout: every", "readout: every\n" + "x" * 100_000 + ": 1"),
    ("readout: every", 'readout: every\n"\\e[31mred\\n": 1'),
    ("readout: every", "readout: every\n" + "\n".join(f"key_{i}: 1" for i in range(20_000))),
    ("readout: every", "readout: " + "x" * 100_000),
    ("t100: {length: 100}", "t100: 5"),
    ("t100: {length: 100}", "5: {length: 100}\n  5: {length: 100}"),
    ("baselines:", "baselines: []\nbaseline:"),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_a_wrong_value_is_named_with_file_and_key_in_ten_lines(number: int, tmp_path: Path) -> None:
    old, new = CHANGES[number]
    assert old in CARD
    path = tmp_path / "copy.yaml"
    path.write_text(CARD.replace(old, new, 1))
    began = time.process_time()
    with pytest.raises(UserError) as caught:
        load(path, TaskCard)
    message = str(caught.value)
    assert time.process_time() - began < 5
    assert len(message.splitlines()) <= 10
    assert all(line.startswith(f"{path}") for line in message.splitlines())
    assert len(message) < 8000
    assert all(c.isprintable() or c == "\n" for c in message)
    key = new.split(":")[0].strip(" {?[").split("\n")[0]
    assert key[:20] in message or re.search("`[a-z]+`|not valid YAML|stands twice", message), message


KEYS = ["lr", "at", "length", "name", "value", "metric"]
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(CARD.split()[:200])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.text(max_size=5), st.sampled_from(KEYS)), inner, max_size=3),
    ),
    max_leaves=6,
)
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
MARKS = [": ", "- ", "{", "]", "&a ", "*a", "!!", "'", "|", "? ", "\t", "%", "---\n"]
CARD_DATA = parse(CARD).data


@settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=SLOW)
@given(key=st.sampled_from(sorted(CARD_DATA)), inner=st.text(max_size=6), value=VALUES, nest=st.booleans())
def test_whatever_stands_in_a_card_it_loads_or_says_why(key: str, inner: str, value: Any, nest: bool) -> None:
    data = {**CARD_DATA, key: {**CARD_DATA[key], inner: value} if nest and isinstance(CARD_DATA[key], dict) else value}
    _loads_or_says_why(_dumped(data))


def _dumped(data: Any) -> str:
    """JSON is YAML; what JSON lacks stands as a word."""
    return json.dumps(data, ensure_ascii=True).replace("NaN", ".nan").replace("Infinity", ".inf")


@settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=SLOW)
@given(cut=st.integers(0, 2500), take=st.integers(0, 40), text=st.one_of(st.text(max_size=12), st.sampled_from(MARKS)))
def test_however_a_card_is_mutilated_it_loads_or_says_why(cut: int, take: int, text: str) -> None:
    _loads_or_says_why(CARD[:3000][:cut] + text + CARD[:3000][cut + take :])


def _loads_or_says_why(text: str) -> None:
    try:
        validate(parse(text, "copy.yaml"), TaskCard, "copy.yaml")
    except UserError as error:
        lines = str(error).splitlines()
        assert 1 <= len(lines) <= 10
        assert all(line.startswith("copy.yaml:") for line in lines)
