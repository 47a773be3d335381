"""Options of every command: each is used, stands in a panel of the help, and takes several names in one way."""

import ast
import dataclasses
import importlib
import inspect
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from stablebench.cli.app import app, command_files
from stablebench.cli.shared.options import ModelOptions, SuiteOptions, names_of, seeds_of, words_of
from stablebench.cli.shared.requests import SuiteRunOptions, suite_overrides
from stablebench.errors import UserError

PANELS = ("Model and task options:", "Training options:", "Options:", "Runtime options:", "Output options:")


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


def commands() -> Iterator[tuple[str, Callable[..., None], Any]]:
    """Yield the words, the function and the parser of every command and subcommand."""
    group = typer.main.get_command(app)
    for name, path in command_files().items():
        stem = path.parent.name if path.name == "__init__.py" else path.stem
        command = getattr(importlib.import_module(f"stablebench.cli.{stem}"), stem)
        parser = group.commands[name]._load()  # pyright: ignore[reportAttributeAccessIssue]
        if not isinstance(command, typer.Typer):
            yield name, command, parser
            continue
        for info in command.registered_commands:
            assert info.callback is not None
            function = inspect.unwrap(info.callback)
            sub = info.name or function.__name__.replace("_", "-")
            yield f"{name} {sub}", function, parser.commands[sub]


COMMANDS = {words: (function, parser) for words, function, parser in commands()}
BOTH = ("compare", "report", "plot curves", "plot time-to-target", "plot profiles", "plot pairs")
"""Commands that take --models, --tasks and --seeds."""


def test_every_command_is_looked_at() -> None:
    assert {"train", "compare", "claims", "speed", "data fetch", "plot curves", "plot decision-boundary"} <= set(
        COMMANDS
    )


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_of_a_command_is_used(words: str) -> None:
    """Each parameter is read; of a group that is only passed on, each field that is not is read by whoever gets it."""
    function, _ = COMMANDS[words]
    tree = ast.parse(inspect.getsource(function))
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert set(inspect.signature(function).parameters) <= read


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_has_a_panel_and_a_sentence(words: str) -> None:
    _, parser = COMMANDS[words]
    text = invoke(*words.split(), "--help").stdout
    for parameter in parser.params:
        assert parameter.hidden or (parameter.help and parameter.help.rstrip().endswith(".")), parameter.name
        assert all(name in text for name in parameter.opts if name.startswith("--"))
    found = [line for line in text.splitlines() if line.endswith("ptions:")]
    assert found == [panel for panel in PANELS if panel in found]


@pytest.mark.parametrize("words", COMMANDS)
def test_the_example_of_a_command_parses(words: str) -> None:
    _, parser = COMMANDS[words]
    assert parser.epilog, "an example is missing"
    for line in parser.epilog.splitlines():
        start, *arguments = [part for part in (f"stablebench {words}", line.removeprefix(f"stablebench {words}"))]
        assert line.startswith(start)
        parser.make_context(words, shlex.split(arguments[0]))  # raises where a word is not known
    assert f"Example:\n  {parser.epilog.splitlines()[0]}\n" in invoke(*words.split(), "--help").stdout


def test_help_shows_panels_in_one_order() -> None:
    text = invoke("compare", "--help").stdout
    assert [line for line in text.splitlines() if line in PANELS] == list(PANELS)
    panel = text[text.index("Training options:") : text.index("\nOptions:")]
    assert "--steps N            Number of optimiser updates." in panel and "--device" not in panel


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("compare", "--model --task --seed --recipe"),
        ("probe-gradients", "--lr --steps --epochs --batch-size --engine --recompute-every --runs-dir --deterministic"),
        ("report", "--model --task --seed --json --quiet --data-dir"),
        ("claims", "--task --seed --device"),
        ("evaluate", "--models --steps"),
        ("sweep", "--models --resume"),
        ("train", "--models --seeds --format"),
    ],
)
def test_an_option_without_a_meaning_is_neither_shown_nor_taken(words: str, options: str) -> None:
    known = {name for parameter in COMMANDS[words][1].params for name in parameter.opts}
    for option in options.split():
        result = invoke(words, option, "1")
        assert option not in known
        assert result.exit_code == 2 and f"stablebench {words} has no option {option}." in result.stderr


@pytest.mark.parametrize(
    ("words", "nearest"), [(("compare", "--model"), "--models"), (("report", "--task"), "--tasks")]
)
def test_the_right_spelling_is_named(words: tuple[str, ...], nearest: str) -> None:
    assert f"Did you mean {nearest}?" in invoke(*words, "rnn").stderr


def test_the_earlier_spelling_works_and_names_the_new_one() -> None:
    result = invoke("speed", "--model", "ltsm", "--quiet")
    assert result.exit_code == 2 and "Did you mean lstm?" in result.stderr
    assert result.stderr.startswith("`--model` is now called `--models`")
    assert "--model " not in invoke("speed", "--help").stdout


def test_names_come_with_commas_or_one_by_one() -> None:
    assert names_of("--models", None) is None
    for given in (["a,b", "c"], ["a", "b", "c"], ["a, b ,c"]):
        assert names_of("--models", given) == ["a", "b", "c"]
    for given in (["a,"], [""], ["a", " "]):
        with pytest.raises(UserError, match="--models '.*': must be names with commas between"):
            names_of("--models", given)


def test_seeds_are_a_number_of_them_or_a_list() -> None:
    assert seeds_of(None) is None
    assert seeds_of(["3"]) == [0, 1, 2]
    assert seeds_of(["3,5"]) == seeds_of(["3", "5"]) == seeds_of(["3", "5,3"]) == [3, 5]
    assert seeds_of(["0,7"]) == [0, 7]
    for given, message in ((["0"], ">= 1"), (["-1,2"], ">= 0"), (["a"], "whole numbers"), (["100001"], "<= 100000")):
        with pytest.raises(UserError, match=message):
            seeds_of(given)


@pytest.mark.parametrize("words", BOTH)
def test_suites_of_several_names_are_the_same_in_both_ways(words: str, tmp_path: Path) -> None:
    """What the options name shows in the message about runs that are not there, or in the leaderboard."""
    at = ["--runs-dir", tmp_path, "--T", "5", "--steps", "2"]
    first = ["--models", "rnn,lstm", "--tasks", "copy,adding", "--seeds", "1,4"]
    second = "--models rnn --models lstm --tasks copy --tasks adding --seeds 1 --seeds 4".split()
    if words == "compare":
        shown = [invoke(words, *names, *at, "--estimate", "--json") for names in (first, second)]
        kinds = [[(k["model"], k["task"], k["runs"]) for k in json.loads(s.stdout)["cells"]] for s in shown]
        assert kinds[0] == kinds[1] and len(kinds[0]) == 4 and {runs for *_, runs in kinds[0]} == {2}
        return
    output = tmp_path / ("r.html" if words == "report" else "c.svg")
    for names in (first, second):
        result = invoke(*words.split(), *names, *at, "-o", output)
        assert result.exit_code == 2, result.output
        assert "There are no runs of rnn, lstm on copy, adding in" in result.stderr
        assert f"`stablebench compare {' '.join(names)} --T 5 --steps 2 --runs-dir" in result.stderr


def test_probes_of_several_models_are_the_same_in_both_ways() -> None:
    small = "--task copy --T 4 --hidden 6 --batch 2 --samples 1 --json --quiet".split()
    commas = invoke("probe-gradients", "--models", "rnn,lstm", *small, "--what", "flow,spectra")
    single = invoke(
        "probe-gradients", "--models", "rnn", "--model", "lstm", *small, *"--what flow --what spectra".split()
    )
    assert commas.exit_code == 0, commas.output
    assert commas.stdout == single.stdout and set(json.loads(commas.stdout)["models"]) == {"rnn", "lstm"}


def test_times_of_several_models_are_the_same_in_both_ways() -> None:
    small = "--size 2,4,5 --repeats 3 --no-memory --device cpu --json --quiet".split()
    for names in (["--models", "rnn,lstm"], ["--models", "rnn", "--models", "lstm"]):
        result = invoke("speed", *names, *small)
        assert result.exit_code == 0, result.output
        assert [row["name"] for row in json.loads(result.stdout)["sizes"][0]["models"]] == ["rnn", "lstm"]


def test_claims_of_several_models_are_the_same_in_both_ways(tmp_path: Path) -> None:
    for names in (["--models", "urnn,urn"], ["--models", "urnn", "--models", "urn"]):
        result = invoke("claims", "--quick", *names, "-o", tmp_path / "claims")
        assert result.exit_code == 2 and "Did you mean urnn?" in result.stderr


def test_words_of_options_give_the_same_options_again() -> None:
    groups = (
        SuiteOptions(models=["rnn,lstm", "gru"], seeds=["3"], budget="short"),
        ModelOptions(T=5, settings=["model.rho=0.5", "task.S=2"]),
    )
    assert words_of(*groups) == (
        "--models rnn,lstm --models gru --seeds 3 --budget short --T 5 --set model.rho=0.5 --set task.S=2".split()
    )
    assert words_of(SuiteOptions(), ModelOptions()) == []


def test_options_of_a_suite_become_one_request() -> None:
    overrides = suite_overrides(
        SuiteRunOptions(models=["rnn,lstm"], seeds=["2"], budget="short", T=7, hidden=4, settings=["task.S=2"])
    )
    assert dataclasses.asdict(overrides) == {
        "models": ["rnn", "lstm"],
        "tasks": None,
        "seeds": [0, 1],
        "T": 7,
        "options": {"model.hidden": 4},
        "settings": {"task.S": 2},
        "short": True,
        "match": None,
        "recipes": None,
    }
