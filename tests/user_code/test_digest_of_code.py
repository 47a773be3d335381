"""What the digest of a user's model covers: all code that its runs execute, and nothing else."""

import hashlib
import json
from pathlib import Path

import pytest
from own_models import SMALL, as_in_a_new_process, cell, cli, digest, helper, write

from stablebench.execution.events import RunCallbacks
from stablebench.execution.local import run_locally
from stablebench.models import registry as model_registry
from stablebench.models.user_code import origins
from stablebench.runs.store import RunFolder, all_runs, run_folder
from stablebench.specs.resolve import RunRequest, resolve
from stablebench.training.run import ExecutionOptions

ALONE = cell("GAIN = 0.9\nact = torch.tanh\nimport numpy, math, pydantic, stablebench.data.metrics")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_in_a_new_process()
    monkeypatch.chdir(tmp_path)


def train(*more: str) -> tuple[dict, RunFolder]:
    as_in_a_new_process()
    result = cli("train", "--model", "cell.py:Leaky", *SMALL, "--runs-dir", "runs", "--json", "-q", *more)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    return record, next(f for f in all_runs(Path("runs")) if f.read_record().spec_hash == record["spec_hash"])


@pytest.mark.parametrize("name", ["cell.py:Leaky", "mynet.cell:Leaky", "mynet/cell.py:Leaky"])
def test_one_file_is_its_own_digest(name: str, tmp_path: Path) -> None:
    write(tmp_path, {"cell.py": ALONE, "mynet/cell.py": ALONE, "mynet/__init__.py": '"""Says a word."""\n'})
    assert digest(name) == hashlib.sha256(ALONE.encode()).hexdigest()


@pytest.mark.parametrize("imports", [("from helper import act, GAIN", "pass"), ("", "from helper import act, GAIN")])
def test_a_changed_helper_is_another_run(imports: tuple[str, str], tmp_path: Path) -> None:
    write(tmp_path, {"cell.py": cell(*imports), "helper.py": helper(0.9)})
    first, _ = train()
    write(tmp_path, {"helper.py": helper(0.1)})  # of the same size, within the same second
    second, _ = train()
    assert first["spec_hash"] != second["spec_hash"]
    assert first["result"]["test"] != second["result"]["test"]
    write(tmp_path, {"helper.py": helper(0.9)})
    again, _ = train("--rerun")
    assert again["spec_hash"] == first["spec_hash"] and again["result"]["test"] == first["result"]["test"]


def test_a_helper_of_another_folder_on_the_path_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"cell.py": cell("from helper import act, GAIN"), "lib/helper.py": helper(0.9)})
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    before = digest("cell.py:Leaky")
    write(tmp_path, {"lib/helper.py": helper(0.1)})
    assert digest("cell.py:Leaky") != before


def test_version_of_installed_package_that_is_imported_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version of an installed package that is imported counts."""
    write(tmp_path, {"cell.py": ALONE})
    alone = digest("cell.py:Leaky")
    write(tmp_path, {"cell.py": ALONE + "def later():\n    import einops_like\n"})
    site = tmp_path / "lib" / "site-packages"
    write(
        site, {"einops_like/__init__.py": "", "einops_like-1.0.dist-info/METADATA": "Name: einops-like\nVersion: 1.0\n"}
    )
    write(site, {"einops_like-1.0.dist-info/top_level.txt": "einops_like\n"})
    monkeypatch.syspath_prepend(str(site))
    origins._providers.cache_clear()
    first = digest("cell.py:Leaky")
    entry = model_registry.model_entry("cell.py:Leaky")
    assert entry.code is not None and entry.code.packages == ("einops-like==1.0",) and first != alone
    write(site, {"einops_like-1.0.dist-info/METADATA": "Name: einops-like\nVersion: 1.1\n"})
    origins._providers.cache_clear()
    assert digest("cell.py:Leaky") != first
    origins._providers.cache_clear()


def test_seeds_of_changed_code_are_rows_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, {"cell.py": cell("from helper import act, GAIN"), "helper.py": helper(0.9)})
    train("--seed", "0")
    write(tmp_path, {"helper.py": helper(0.1)})
    train("--seed", "1")
    words = ["compare", "--models", "cell.py:Leaky", *SMALL, "--runs-dir", "runs", "--json", "--no-run", "--seeds", "2"]
    words[words.index("--task")] = "--tasks"
    result = cli(*words)
    assert result.exit_code == 0, result.output
    (row,) = [row for table in json.loads(result.stdout)["tables"] for row in table["rows"]]
    assert list(row["seeds"]) == ["1"]
    page = cli("report", "runs", "-o", "page.html")
    assert page.exit_code == 0, page.output
    hashes = {f.read_record().spec.model.source or "" for f in all_runs(Path("runs"))}
    text = Path("page.html").read_text()
    assert len(hashes) == 2 and all(f"Leaky (file {source[:6]}" in text for source in hashes)


def test_process_that_begins_after_change_runs_code_as_it_was(tmp_path: Path) -> None:
    """A suite goes on for hours; its cells must not run what was written since under the hash of what was asked for."""
    write(tmp_path, {"cell.py": cell("from helper import act, GAIN"), "helper.py": helper(0.9)})
    expected, _ = train()
    settings = {"model.hidden": 6, "train.steps": 6, "train.batch_size": 4, "train.eval_every": 6, "optim.lr": 0.01}
    settings |= {"engine": "reference"}
    asked = resolve(RunRequest("cell.py:Leaky", "copy", T=5, settings=settings))
    assert asked.spec.spec_hash() == expected["spec_hash"]
    write(tmp_path, {"helper.py": helper(0.1)})
    said: list[str] = []
    ends = []
    told = RunCallbacks(on_update=lambda _, what: said.append(str(what)), on_end=ends.append)
    assert run_locally([asked], ExecutionOptions(tmp_path / "later"), 1, told) == 0
    assert [end.status for end in ends] == ["finished"], ends
    assert run_folder(tmp_path / "later", asked.spec).read_record().result.test == expected["result"]["test"]
    assert any("helper.py changed since the run was asked for" in line for line in said)


def test_module_of_a_computed_name_counts_or_is_refused(tmp_path: Path) -> None:
    """A module that is imported by a computed name counts from the start or is refused."""
    at_head = "act, GAIN = (lambda m: (m.act, m.GAIN))(__import__('hel' + 'per'))"
    write(tmp_path, {"cell.py": cell(at_head), "helper.py": helper(0.9)})
    first, _ = train()
    write(tmp_path, {"helper.py": helper(0.1)})
    second, _ = train()
    assert first["spec_hash"] != second["spec_hash"]
    write(tmp_path, {"cell.py": cell(lazy="m = __import__('hel' + 'per'); act, GAIN = m.act, m.GAIN")})
    as_in_a_new_process()
    late = cli("train", "--model", "cell.py:Leaky", *SMALL, "--runs-dir", "runs")
    assert late.exit_code == 2 and "helper.py" in late.stderr and "digest does not cover" in late.stderr, late.output


def test_a_record_says_which_files_its_digest_cannot_cover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = "import importlib; m = importlib.import_module('plug' + 'in_of_test'); act, GAIN = m.act, m.GAIN"
    write(tmp_path, {"cell.py": cell(lazy=lazy), "lib/plugin_of_test.py": helper(0.9)})
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    result = cli("train", "--model", "cell.py:Leaky", *SMALL, "--runs-dir", "runs")
    assert result.exit_code == 0 and "plugin_of_test.py ran too" in result.stderr, result.output
    (folder,) = all_runs(Path("runs"))
    assert folder.read_record().uncovered == [str(tmp_path / "lib" / "plugin_of_test.py")]


def test_a_run_is_read_from_its_own_copy_after_its_files_changed(tmp_path: Path) -> None:
    write(tmp_path, {"cell.py": cell("from helper import act, GAIN"), "helper.py": helper(0.9)})
    record, folder = train()
    (tmp_path / "cell.py").unlink()
    write(tmp_path, {"helper.py": helper(0.1)})
    as_in_a_new_process()
    scored = cli("evaluate", str(folder.path), "--json")
    assert scored.exit_code == 0 and scored.stderr == "", scored.output
    metrics = json.loads(scored.stdout)["evaluation"]["metrics"]
    assert metrics["loss"] == pytest.approx(record["result"]["test"]["loss"], rel=1e-6)
    for command in (["verify"], ["probe-gradients", "--what", "flow", "-q"], ["train", "--rerun", "-q", "--resume"]):
        as_in_a_new_process()
        result = cli(*command, str(folder.path))
        assert result.exit_code == 0, result.output


def test_other_code_that_is_named_for_run_is_refused_with_file(tmp_path: Path) -> None:
    """Other code that is named for a run is refused with the file."""
    write(tmp_path, {"cell.py": cell("from helper import act, GAIN"), "helper.py": helper(0.9)})
    _, folder = train()
    write(tmp_path, {"helper.py": helper(0.1)})
    as_in_a_new_process()
    result = cli("evaluate", str(folder.path), "--model", "cell.py:Leaky")
    assert result.exit_code == 2 and f"{tmp_path / 'helper.py'} changed" in result.stderr
    as_in_a_new_process()
    named = cli("evaluate", str(folder.path), "--model", f"{folder.path}/code/cell.py:Leaky")
    assert named.exit_code == 0, named.output


def test_a_copy_that_lacks_a_file_is_written_again(tmp_path: Path) -> None:
    write(tmp_path, {"cell.py": cell("from helper import act, GAIN"), "helper.py": helper(0.9)})
    _, folder = train()
    (folder.path / "code" / "helper.py").unlink()
    record = folder.read_record()
    folder.write_record(record.model_copy(update={"status": "interrupted"}))
    train()
    assert (folder.path / "code" / "helper.py").read_text() == helper(0.9)
