"""The report page: well-formed, safe, the same in its tables as in its figures, and small."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from run_maker import made_record, store

import stablebench.report
from stablebench.report.page import page
from stablebench.report.sections import styles_of

FOLDER = Path(stablebench.report.__file__).parent
_VOID = {"meta", "input", "br", "link"}


class Checked(HTMLParser):
    """Follows the tags of a page and notes what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.addresses: list[str] = []
        self.drawings = self.titles = 0
        self.handlers: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert len(given) == len(attrs), f"{tag} has an attribute twice"
        self.ids += [given["id"] or ""] if "id" in given else []
        self.handlers += [name for name in given if name.startswith("on")]
        self.addresses += [given[key] or "" for key in ("href", "src", "action", "xlink:href") if key in given]
        self.references += (given.get("aria-labelledby") or given.get("for") or "").split()
        if tag in ("svg", "img"):
            self.drawings += 1
            assert given.get("role") == "img" and given.get("aria-labelledby")
        self.titles += tag == "title" and "svg" in self.open and self.open[-1] == "svg"
        if tag not in _VOID and not self.get_starttag_text().endswith("/>"):  # pyright: ignore
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data.strip())


def made_page(tmp_path: Path, *records: object, **more: object) -> str:
    lines = [
        {"step": s, "split": "train", "loss": 1.0, "gradient_norm": 2.0 / s, "wall_s": 1.0} for s in (10, 20, 30)
    ] + [{"step": 20, "split": "probe", "energy": 3.5, "wall_s": 1.0}]
    runs = [(store(tmp_path, r, lines), r) for r in records]  # pyright: ignore
    return page("the title", runs, how="stablebench report", **({"cards": lambda name: None} | more))  # pyright: ignore


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    records = [
        made_record(model, task, seed, rate)
        for model, rate in (("rnn", 0.005), ("lstm", 0.02), ("gru", 0.04))
        for task in ("copy", "adding")
        for seed in range(3)
    ]
    records.append(made_record("gru", "copy", 3, status="diverged"))
    return made_page(tmp_path_factory.mktemp("runs"), *records)


def test_the_page_is_well_formed_and_refers_to_itself_alone(text: str) -> None:
    found = Checked(text)
    assert found.open == [] and text.startswith("<!doctype html>")
    assert len(found.ids) == len(set(found.ids)) > 10
    assert set(found.references) <= set(found.ids)
    assert found.addresses and all(a.startswith("#") and a[1:] in found.ids for a in found.addresses)
    assert "default-src 'none'" in text and not re.search(r"https?:|url\(|@import|fetch\(", text)


def test_every_drawing_has_a_title_and_its_numbers_as_a_table(text: str) -> None:
    found = Checked(text)
    # per task: curve, baseline, target, parameters, seconds, gradient norm, probe; over tasks: steps, samples, seconds
    assert found.drawings == found.titles == 2 * 7 + 3
    assert text.count("The numbers of this figure") == found.drawings
    assert text.count("norm of the gradient of the training loss</title>") == 2
    assert text.count("energy (probe)</title>") == 2


def test_numbers_of_the_leaderboard_stand_on_the_page(text: str) -> None:
    found = Checked(text)
    assert "2, 1 diverged" not in found.cells and "3, 1 diverged" in found.cells
    loss = made_record("lstm", "copy", 1, 0.02).result.test["loss"]  # pyright: ignore - the median of three seeds
    assert f"{loss:.4g}" in found.cells
    assert "rnn" in found.cells and "mean rank" not in found.cells  # its heading is a button
    assert text.count('<button type="button" data-sort>mean rank</button>') == 1


def test_a_row_has_its_command(text: str) -> None:
    assert re.search(r"for seed in 0 1 2; do stablebench train --model lstm --task adding .*--seed \$seed; done", text)
    assert "for seed in 0 1 2 3; do stablebench train --model gru --task copy" in text


def test_runs_that_never_arrived_get_no_time(tmp_path: Path) -> None:
    """Runs that never arrived are not given the time they were followed."""
    records = [made_record(m, "copy", seed, rate) for m, rate in (("rnn", 0.001), ("gru", 0.04)) for seed in (0, 1)]
    found = Checked(made_page(tmp_path, *records))
    assert "never (0/2, > 200)" in found.cells and "never (0/2, > 2)" in found.cells  # updates, seconds
    assert "200 (0/2)" not in found.cells


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "../../../etc/passwd",
    "</style></title><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "'; rm -rf ~; '",
]


def test_hostile_names_are_text(tmp_path: Path) -> None:
    records = [
        made_record(f"x.py:{name}", "copy", seed, hardware=name, selection=name, source="0" * 64)
        for name in HOSTILE
        for seed in (0, 1)
    ]
    found = made_page(tmp_path / "runs", *records, unreadable={name: name for name in HOSTILE})
    checked = Checked(found)
    assert checked.open == [] and checked.handlers == []
    assert found.count("<script") == 1 and "<img" not in found and "onload=alert(1)>" not in found.replace("&gt;", "")
    assert "{{ 7 * 7 }}" in found and ">49<" not in found
    for name in HOSTILE:
        assert any(name in cell for cell in checked.cells)
    assert all(re.fullmatch(r"#[a-z0-9-]+", a) for a in checked.addresses)
    assert re.search(r"--model &#39;x\.py:&#39;&#34;&#39;&#34;&#39;; rm -rf", found)  # quoted for the shell


def test_models_keep_their_line_over_the_page() -> None:
    styles = styles_of(f"model_{i:02}" for i in range(64))
    assert len(set(styles.values())) == 64
    assert styles_of(["b", "a", "b"]) == {"a": "c0 d0", "b": "c1 d0"}


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_colours_have_the_contrast_that_wcag_asks_for(mode: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", (FOLDER / "page.css").read_text(), flags=re.DOTALL)
    colours = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", blocks[mode]))
    for name, least in [("text", 4.5), ("quiet", 4.5), ("link", 4.5), *((f"c{i}", 3.0) for i in range(8))]:
        for ground in ("ground", "raised"):
            light, dark = sorted((_luminance(colours[name]), _luminance(colours[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= least, f"{name} on {ground}"


def large_page(models: int, tasks: int, folder: Path) -> str:
    runs = []
    for kind in (
        made_record(f"m_{m}", f"t_{t}", rate=0.001 * (m + 1), points=30) for m in range(models) for t in range(tasks)
    ):
        for seed in range(2):
            spec = kind.spec.model_copy(update={"seed": seed})
            runs.append((folder, kind.model_copy(update={"spec": spec})))
    return page("large", runs, how="stablebench report", cards=lambda name: None)


def test_a_row_costs_a_few_kilobytes(tmp_path: Path) -> None:
    small, larger = (len(large_page(models, 2, tmp_path).encode()) for models in (4, 12))
    assert (larger - small) / 16 < 12_000  # with 80 points a curve; a large page has 20


@pytest.mark.slow
def test_page_of_fifty_models_and_twenty_tasks_is_few_megabytes(tmp_path: Path) -> None:
    """A page of fifty models and twenty tasks is a few megabytes."""
    found = large_page(50, 20, tmp_path)
    assert len(found.encode()) < 5_000_000
    assert found.count('<tr data-model="m_7"') > 20


NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="there is no node to run the page's script with")
def test_the_script_sorts_and_filters(tmp_path: Path) -> None:
    script = tmp_path / "page.js"
    script.write_text((FOLDER / "page.js").read_text())
    code = """
const { sortOrder, isShown } = require("./page.js");
console.log(JSON.stringify([
  sortOrder(["10", "9", "", "0.5", "1e-7"], false),
  sortOrder(["10", "9", "", "0.5", "1e-7"], true),
  sortOrder(["b", "a", "", "a"], false),
  isShown("roaRNN (hidden 32)", "ROA 32", new Set()),
  isShown("roarnn", "lstm", new Set()),
  isShown("roarnn", "", new Set(["roarnn"])),
]));
"""
    done = subprocess.run([str(NODE), "-e", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[4, 3, 1, 0, 2], [0, 1, 3, 4, 2], [1, 3, 0, 2], True, False, False]
