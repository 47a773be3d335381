"""The JSON of a leaderboard: what version 0.1.0 wrote is written and read still, and docs/leaderboard.md has every key.

`python tests/leaderboard/test_schema_of_the_leaderboard.py` writes the page again.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.leaderboard import check, read_baseline
from stablebench.schema.leaderboard import Leaderboard
from stablebench.schema.reproduction import ReproductionLine

ROOT = Path(__file__).resolve().parents[2]
EARLIER = ROOT / "tests" / "store_0_1_0"
PAGE = ROOT / "docs" / "leaderboard.md"
INTRODUCTION = """# The JSON of a leaderboard

`stablebench compare --json` prints it, `--output FILE` writes it, `--check FILE` reads it, also one that version 0.1.0
wrote. A number that is missing or not finite is `null`. Intervals are pairs, lower and upper end.

Made from `stablebench/schema/leaderboard.py`, `leaderboard_statistics.py` and `learning_rates.py` by
`python tests/leaderboard/test_schema_of_the_leaderboard.py`.
"""


def parts(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the document and, in order of appearance, every part that it holds, by name."""
    ordered = {"Leaderboard": schema}
    queue = [schema]
    for part in queue:
        for name in re.findall(r"#/\$defs/(\w+)", json.dumps(part["properties"])):
            if name not in ordered:
                ordered[name] = schema["$defs"][name]
                queue.append(ordered[name])
    return ordered


def kind(field: dict[str, Any]) -> str:
    """Return the type of a field in words, from its JSON schema."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(kind(one) for one in field["anyOf"]))
    if "prefixItems" in field:
        return "pair of numbers"
    if "items" in field:
        return f"list of {kind(field['items'])}"
    values = field.get("additionalProperties")
    if isinstance(values, dict):
        return f"object of {kind(values)}"
    words = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    name = str(field.get("type", "any"))
    return words.get(name, name)


def page() -> str:
    text = INTRODUCTION
    for name, part in parts(Leaderboard.model_json_schema()).items():
        text += f"\n## {name}\n\n{part['description']}\n\n| key | type | what |\n| --- | --- | --- |\n"
        for key, field in part["properties"].items():
            text += f"| `{key}` | {kind(field)} | {field['description']} |\n"
    return text


def test_page_is_made_from_models_and_every_key_is_described() -> None:
    """The page is made from the models and every key is described."""
    assert PAGE.read_text() == page(), f"run `python tests/leaderboard/{Path(__file__).name}`"


@pytest.mark.filterwarnings("ignore:.*is now called:FutureWarning")
def test_the_json_is_that_of_version_0_1_0_and_what_was_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run of the store is run again: every key and value of then is there, in the order of then."""
    before = json.loads((EARLIER / "leaderboard.json").read_text())
    shutil.copytree(EARLIER, tmp_path / "earlier")
    monkeypatch.chdir(tmp_path / "earlier")
    result = CliRunner().invoke(app, ["compare", "suite.yaml", "--runs-dir", "store", "--no-run", "--json"])
    assert result.exit_code == 0, result.output
    now = json.loads(result.stdout)
    assert next(iter(now)) == "schema_version"
    now, before = without_intervals(now), without_intervals(before)
    assert without_added(now, before) == before
    assert json.dumps(without_added(now, before)) == json.dumps(before)  # the same order, whole numbers still whole
    of_rows = {"schema_version", "code_notes", "computed_by", "revision", "coverage"}
    of_rows |= {
        "unequal",
        "legend",
        "runs",
        "standard_deviation",
        "quoted",
        "recipe",
        "built_start",
        "marks",
        "lengths",
        "gradients",
        "quoted_baseline",
        "solved",
    }
    of_tests = {"decision", "leaders", "seeds_to_tell", "equal_within", "p", "p_holm"}
    assert added(now, before) == {*of_rows, *of_tests, "median", "mean_interval"}


STATISTICAL = {"p", "p_holm"}
"""Of a pair: below five seeds there is none any more."""


def without_intervals(document: Any) -> Any:
    """Return a document without the intervals, which were those of other statistics, and without p of few seeds."""
    if isinstance(document, dict):
        parts = {key: without_intervals(value) for key, value in document.items()}
        gone = {key for key in parts if key.endswith("interval") or (key in STATISTICAL and "better" in parts)}
        return {key: None if key in gone else value for key, value in parts.items()}
    return [without_intervals(one) for one in document] if isinstance(document, list) else document


def without_added(now: Any, before: Any) -> Any:
    """Return a document without the keys that the one before does not have."""
    if isinstance(now, dict):
        return {key: without_added(value, before[key]) for key, value in now.items() if key in before}
    if isinstance(now, list):
        assert len(now) == len(before)
        return [without_added(value, old) for value, old in zip(now, before, strict=True)]
    return now


def added(now: Any, before: Any) -> set[str]:
    """Return the keys that the one before does not have."""
    if isinstance(now, dict):
        inner = [added(value, before[key]) for key, value in now.items() if key in before]
        return set().union(now.keys() - before.keys(), *inner)
    if isinstance(now, list):
        return set().union(*(added(value, old) for value, old in zip(now, before, strict=True)))
    return set()


def test_leaderboard_of_version_0_1_0_is_read_whole() -> None:
    """The leaderboard of version 0 1 0 is read whole and as a baseline."""
    path = EARLIER / "leaderboard.json"
    board = Leaderboard.model_validate_json(path.read_text())
    assert (board.schema_version, board.tables[0].rows[0].name) == (1, "cornn")
    assert board.statistics is not None and board.statistics.overall.models == ["cornn", "rnn"]
    assert check(board, read_baseline(path), 0.0) == []


def test_the_earlier_word_of_a_verdict_is_read_as_todays() -> None:
    assert ReproductionLine.model_validate({"what": "w", "verdict": "below"}).verdict == "not reproduced"
    for path in (ROOT / "docs" / "results" / "suites").glob("*.json"):
        part = Leaderboard.model_validate_json(path.read_text()).reproduction
        assert part is not None and {line.verdict for line in part.lines} <= {
            *("reproduced", "within interval", "better", "not reproduced", "not comparable", "not run"),
            *("holds", "overlaps", "fails"),
        }


def test_a_wrong_key_is_an_error() -> None:
    board = Leaderboard.model_validate_json((EARLIER / "leaderboard.json").read_text())
    with pytest.raises(ValidationError, match="tabels"):
        board.replaced(tabels=[])
    with pytest.raises(AttributeError):
        _ = board.tables[0].rows[0].scroe  # pyright: ignore[reportAttributeAccessIssue]


if __name__ == "__main__":
    PAGE.write_text(page())
