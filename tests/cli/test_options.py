"""Options of every command: each is used, stands in a panel of the help, and takes several names in one way."""

import ast
import dataclasses
import importlib
import inspect
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from stablebench.cli.app import app, command_files
from stablebench.cli.shared.commands import Earlier, spellings
from stablebench.cli.shared.options import (
    ModelOptions,
    PrintedTables,
    PrintedText,
    SuiteOptions,
    names_of,
    seeds_of,
    words_of,
)
from stablebench.cli.shared.requests import SuiteRunOptions, suite_overrides
from stablebench.errors import UserError

PANELS = ("Options:", "Model and task options:", "Training options:", "Runtime options:", "Output options:")


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
"""Commands that take several models, tasks and seeds."""


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
        for name in parameter.opts:
            hidden = parameter.hidden or isinstance(name, Earlier)
            assert bool(re.search(rf"(?m)^  .*{name}\b(?!-)", text)) is not hidden or not name.startswith("--"), name
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
    lines = parser.epilog.splitlines()
    assert len(lines) <= 3
    heading = "Example" if len(lines) == 1 else "Examples"
    assert f"{heading}:\n  {lines[0]}\n" in invoke(*words.split(), "--help").stdout


def test_help_shows_panels_in_one_order() -> None:
    text = invoke("compare", "--help").stdout
    assert [line for line in text.splitlines() if line in PANELS] == list(PANELS)
    panel = text[text.index("Training options:") : text.index("\nRuntime options:")]
    assert "--steps N            Number of optimiser updates." in panel and "--device" not in panel


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("compare", "--seed --recipe"),
        ("probe-gradients", "--lr --steps --epochs --engine --recompute-every --deterministic"),
        ("report", "--seed --json --quiet --data-dir"),
        ("claims", "--task --seed --device"),
        ("evaluate", "--models --steps"),
        ("sweep", "--resume"),
        ("train", "--seeds"),
    ],
)
def test_an_option_without_a_meaning_is_neither_shown_nor_taken(words: str, options: str) -> None:
    known = {name for parameter in COMMANDS[words][1].params for name in parameter.opts}
    for option in options.split():
        result = invoke(words, option, "1")
        assert option not in known
        assert result.exit_code == 2 and f"stablebench {words} has no option {option}." in result.stderr


@pytest.mark.parametrize(("words", "nearest"), [(("compare", "--modle"), "--model"), (("report", "--tsks"), "--task")])
def test_the_right_spelling_is_named(words: tuple[str, ...], nearest: str) -> None:
    assert f"Did you mean {nearest}?" in invoke(*words, "rnn").stderr


TAKES_MODELS = [words for words, (_, parser) in COMMANDS.items() if any("--model" in p.opts for p in parser.params)]


def test_every_command_of_models_has_one_word_for_them() -> None:
    """`--model`, and `--task` likewise; no help shows another word, and the earlier ones are taken everywhere."""
    assert {"train", "compare", "report", "speed", "claims", "tune", "sweep", "probe-gradients"} <= set(TAKES_MODELS)
    for words, (_, parser) in COMMANDS.items():
        spelt = [name for parameter in parser.params if not parameter.hidden for name in spellings(parameter)]
        assert not {"--models", "--tasks", "--overwrite", "--png", "--figures", "--batch"} & set(spelt), words


@pytest.mark.parametrize("word", ["--model", "--models"])
@pytest.mark.parametrize(
    "words", ["compare", "speed", "claims", "train", "probe-gradients", "report", "sweep", "check"]
)
def test_both_spellings_of_models_are_taken(words: str, word: str) -> None:
    result = invoke(words, word, "ltsm", *(["--quiet"] if words == "speed" else []))
    assert result.exit_code == 2 and "Did you mean lstm?" in result.stderr


@pytest.mark.parametrize("words", ["train --task copy", "sweep --task copy --trials 1", "check", "plot structure"])
def test_a_command_of_one_model_says_so_of_several(words: str) -> None:
    for several in (["--model", "rnn,lstm"], ["--model", "rnn", "--model", "lstm"]):
        result = invoke(*words.split(), *several)
        assert result.exit_code == 2
        assert "--model: a run has one model, got rnn, lstm. `stablebench compare --model rnn,lstm`" in result.stderr


def test_one_seed_is_not_several() -> None:
    for several in ("0-4", "0,1"):
        result = invoke("train", "--model", "rnn", "--task", "copy", "--seed", several)
        assert result.exit_code == 2
        assert f"`--seed` must be one whole number, got '{several}'. `stablebench compare --seeds" in result.stderr
    batch = invoke("train", "--model", "rnn", "--task", "copy", "--batch-size", "3,4").stderr
    assert batch == "Error: `--batch-size` must be one whole number, got '3,4'.\n"


JSON = [words for words, (_, parser) in COMMANDS.items() if any("--json" in p.opts for p in parser.params)]


@pytest.mark.parametrize("words", JSON)
def test_json_is_a_format_of_every_command_that_has_it(words: str) -> None:
    function, parser = COMMANDS[words]
    (formats,) = (p for p in parser.params if "--format" in p.opts)
    groups = [p.annotation for p in inspect.signature(function).parameters.values()]
    (printed,) = (g for g in groups if isinstance(g, type) and issubclass(g, (PrintedText, PrintedTables)))
    assert printed(fmt="json").as_json and printed(as_json=True).as_json and not printed().as_json
    assert printed().fmt == formats.default
    if issubclass(printed, PrintedTables):
        with pytest.raises(UserError, match="give one of the two"):
            printed(fmt="latex", as_json=True)


def test_every_command_that_prints_a_result_has_json() -> None:
    """The others write files, whose paths they print, or print nothing."""
    files = {
        *(words for words in COMMANDS if words.startswith("new")),
        "report",
        "export",
        "data export",
        "runs pack",
        "runs unpack",
        "runs label",
    }
    assert set(COMMANDS) - set(JSON) == {*files, *(words for words in COMMANDS if words.startswith("plot "))}


def test_force_overwrites_and_output_names_a_file() -> None:
    for words, (_, parser) in COMMANDS.items():
        by_name = {name: p for p in parser.params for name in spellings(p)}
        if "--force" in by_name:
            assert re.search("[Oo]verwrite|Replace", by_name["--force"].help), words
        assert ("-o" in by_name) is ("--output" in by_name), words
        assert ("--output" in by_name) is ("--force" in by_name) or words in ("export", "new"), (
            words
        )  # their file is an argument


def test_names_come_with_commas_or_one_by_one() -> None:
    assert names_of("--model", None) is None
    for given in (["a,b", "c"], ["a", "b", "c"], ["a, b ,c"]):
        assert names_of("--model", given) == ["a", "b", "c"]
    for given in (["a,"], [""], ["a", " "]):
        with pytest.raises(UserError, match="--model '.*': must be names with commas between"):
            names_of("--model", given)


def test_seeds_are_a_number_of_them_or_a_list() -> None:
    assert seeds_of(None) is None
    assert seeds_of(["3"]) == [0, 1, 2]
    assert seeds_of(["3,5"]) == seeds_of(["3", "5"]) == seeds_of(["3", "5,3"]) == [3, 5]
    assert seeds_of(["0,7"]) == [0, 7]
    assert (
        seeds_of(["0-4"]) == [0, 1, 2, 3, 4] and seeds_of(["0,1,5-7"]) == [0, 1, 5, 6, 7] and seeds_of(["3-3"]) == [3]
    )
    for given, message in (
        (["0"], ">= 1"),
        (["-1,2"], ">= 0"),
        (["a"], "whole number"),
        (["100001"], "<= 100000"),
        (["4-1"], "range 0-4"),
    ):
        with pytest.raises(UserError, match=message):
            seeds_of(given)


@pytest.mark.parametrize("words", BOTH)
def test_suites_of_several_names_are_the_same_in_both_ways(words: str, tmp_path: Path) -> None:
    """What the options name shows in the message about runs that are not there, or in the leaderboard."""
    at = ["--runs-dir", tmp_path, "--T", "5", "--steps", "2"]
    first = ["--model", "rnn,lstm", "--task", "copy,adding", "--seeds", "1,4"]
    second = "--model rnn --model lstm --task copy --task adding --seeds 1 --seeds 4".split()
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
        "--model rnn,lstm --model gru --seeds 3 --budget short --T 5 --set model.rho=0.5 --set task.S=2".split()
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
        "rates": False,
    }
