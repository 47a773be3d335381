"""`show` as a user types it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stablebench import registry
from stablebench.cli.app import app
from stablebench.models import registry as model_registry
from stablebench.schema.run_record import RunRecord


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["show", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def document(*arguments: str) -> dict[str, Any]:
    return json.loads(shown(*arguments, "--json"))


@pytest.mark.parametrize("name", model_registry.model_names())
def test_every_model_shows_its_equation_and_arguments(name: str) -> None:
    assert model_registry.model_docstring(name) in shown("model", name)
    found = document("model", name)
    assert found["name"] == name
    assert all(argument["takes"] != "anything" for argument in found["arguments"])


def test_a_model_shows_type_range_default_and_meaning() -> None:
    arguments = {a["name"]: a for a in document("model", "roarnn")["arguments"]}
    assert arguments["rho"]["takes"] == "number > 0"
    assert arguments["rho"]["default"] == 1.0
    assert "alpha = rho / horizon" in arguments["rho"]["what"]
    assert arguments["orthogonal"]["takes"] == "dense, permutation, identity"


def test_a_preset_shows_its_own_defaults() -> None:
    arguments = {a["name"]: a for a in document("model", "eyernn")["arguments"]}
    assert arguments["orthogonal"]["default"] == "identity"


def test_a_users_own_model_can_be_shown(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        '"""Mine: h_t = x_t."""\n'
        "from stablebench.models.base import RecurrentModel\n"
        "class Mine(RecurrentModel):\n"
        "    def __init__(self, in_features: int, hidden: int, *, scale: float = 2.0) -> None:\n"
        "        super().__init__(in_features, hidden)\n"
        "    def step(self, projected, state, recurrent_weights):\n"
        "        return (projected,)\n"
    )
    text = shown("model", f"{file}:Mine")
    assert text.startswith("Mine: h_t = x_t.")
    assert "scale" in text


@pytest.mark.parametrize("name", registry.task_names())
def test_every_task_shows_its_baselines(name: str) -> None:
    card = registry.task_card(name)
    text = shown("task", name)
    assert " ".join(card.summary.split()) in " ".join(text.split())
    found = document("task", name)
    assert len(found["by_variant"]) == 1 + len(card.variants)
    assert all(isinstance(scores[card.metric], float) for scores in found["by_variant"])


def test_a_variants_baseline_is_evaluated() -> None:
    (scores,) = document("task", "copy/t400")["by_variant"]
    assert scores["loss"] == pytest.approx(10 * math.log(8) / 420)
    assert "0.04951" in shown("task", "copy/t400")


def test_a_recipe_shows_resolved_values_and_whether_it_was_run() -> None:
    names = registry.recipe_names()
    for name in names:
        found = document("recipe", name)
        assert found["name"] == name
        assert len(found["resolved"]) == 1 + len(found["variants"])
        ran = any(part["result"] for part in found["resolved"])
        assert ("not run yet" in shown("recipe", name)) or ran


def test_a_variant_that_changes_one_group_shows_what_a_run_takes() -> None:
    """Of nnRNN's recipe two groups have rates of their own; its variant for 300 steps changes both partly."""
    whole, of_300 = document("recipe", "ptb_char/nnrnn")["resolved"]
    assert whole["values"]["optim.groups"] == {"orthogonal": {"lr": 8e-05}, "lower": {"weight_decay": 1e-4}}
    assert of_300["values"]["optim.groups"] == {"orthogonal": {"lr": 6e-05}, "lower": {"weight_decay": 1e-4}}
    for name in registry.recipe_names():
        recipe = registry.recipe(*name.split("/"))
        assert recipe is not None
        for variant, part in zip(recipe.variants, document("recipe", name)["resolved"][1:], strict=True):
            kept = {} if "name" in variant.optim else recipe.optim.get("groups", {})
            shown_groups = part["values"].get("optim.groups", {})
            assert set(kept) <= set(shown_groups), name


def test_a_suite_shows_its_cells() -> None:
    found = document("suite", "quick")
    assert found["cells"] >= len(found["models"]) * len(found["seeds"])
    assert "quick: " in shown("suite", "quick")


@pytest.mark.parametrize("name", registry.sweep_names())
def test_a_sweep_shows_what_it_searches(name: str) -> None:
    found, text = document("sweep", name), shown("sweep", name)
    assert found["name"] == name and text.startswith(f"{name}: ")
    assert found["space"] and all(key in text for key in found["space"])


def test_the_range_and_scale_of_a_search_are_said() -> None:
    text = shown("sweep", "roarnn/lr")
    assert "0.0001 to 10, logarithmic" in text and "Made for roarnn on any task; sampler random" in text


@pytest.mark.parametrize("width", [40, 80, None])
def test_a_card_with_many_published_numbers_fits_its_lines(width: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    from stablebench.cli import show

    monkeypatch.setattr(show, "terminal_width", lambda: width)
    lines = shown("task", "psmnist").splitlines()
    assert max(map(len, lines)) <= (width or 120)
    assert any("cornn_cornn_tab1_h128" in line for line in lines)


def test_installed_packages_of_run_are_counted(tmp_path: Path, record: RunRecord) -> None:
    """The installed packages of a run are counted and listed with json."""
    ran = record.environment.model_copy(update={"packages": ["numpy==2", "torch==2.11"]})
    (tmp_path / "record.json").write_text(record.model_copy(update={"environment": ran}).model_dump_json())
    assert "2 installed; --json lists them" in shown("run", str(tmp_path)) and "torch==2.11" not in shown(
        "run", str(tmp_path)
    )
    assert document("run", str(tmp_path))["environment"]["packages"] == ["numpy==2", "torch==2.11"]


def test_a_run_is_found_by_folder_by_name_and_by_hash(tmp_path: Path, record: RunRecord) -> None:
    folder = tmp_path / "copy" / "rnn" / "abc-s0"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(record.model_dump_json())
    for name in (str(folder), "copy/rnn/abc-s0", "abc-s0"):
        assert document("run", name, "--runs-dir", str(tmp_path))["spec_hash"] == record.spec_hash
    text = shown("run", str(folder))
    assert "test loss 0.25" in text
    assert any(line.split() == ["optim.lr", "0.001", *"your --set, or the suite".split()] for line in text.splitlines())
    (folder / "record.json").write_text("{")
    broken = CliRunner().invoke(app, ["show", "run", str(folder)])
    assert broken.exit_code == 2
    assert "record.json" in broken.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["modle", "rnn"], "No kind named 'modle'. Did you mean model?"),
        (["model", "roarn"], "No model named 'roarn'. Did you mean roarnn?"),
        (["task", "copi"], "No task named 'copi'. Did you mean copy?"),
        (["task", "copy/t100000"], "variant named 't100000'. Did you mean t10000?"),
        (["recipe", "psmnist/roarn"], "No recipe named 'psmnist/roarn'. Did you mean psmnist/roarnn?"),
        (["sweep", "roarnn/rh"], "No sweep named 'roarnn/rh'. Did you mean roarnn/rho?"),
        (["suite", "quik"], "No suite named 'quik'. Did you mean quick?"),
        (["run", "nothing"], "No run 'nothing'"),
        (["run", "a/b/../../../etc"], "No run"),
        (["run", "*"], "No run '*'"),
    ],
)
def test_an_unknown_name_is_one_message_and_exit_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["show", *arguments, "--runs-dir", str(tmp_path)])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
