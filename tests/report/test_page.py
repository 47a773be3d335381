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
from stablebench.report import palette
from stablebench.report.dot_labels import FONT, placed
from stablebench.report.page import page
from stablebench.report.sections import palette_css, styles_of
from stablebench.report.summary import period

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


def test_the_page_draws_with_the_palette_of_the_figures() -> None:
    styles = styles_of(["roarnn", "lstm", "roarnn"])
    assert styles == {"lstm": "c1 d1", "roarnn": "c0 d0"}
    rules = palette_css()
    for look in range(palette.COUNT):
        colour, dashes = palette.colour_and_dashes(look)
        assert f"--c{colour}: {palette.LIGHT[colour]};" in rules and f"--c{colour}: {palette.DARK[colour]};" in rules
        drawn = " ".join(f"{4 * length:g}" for length in palette.DASHES[dashes])
        assert not drawn or f".d{dashes} .line {{ stroke-dasharray: {drawn}; }}" in rules


def test_the_result_and_a_leaderboard_come_first(text: str) -> None:
    body = text[text.index("<body>") :]
    (result,) = re.findall(r'<p class="result">(.*?)</p>', body)
    assert (
        result
        == "gru leads on adding and copy. No two models are tested against each other: that takes 5 seeds of both."
    )
    order = ['class="result"', 'id="task-1"', 'id="task-2"', 'id="overall"', 'id="environments"']
    assert sorted(map(body.index, order)) == list(map(body.index, order))
    assert "begun 2026-01-01, 00:00 UTC" in body and "+00:00" not in body


def test_the_result_counts_the_pairs_that_are_decided(tmp_path: Path) -> None:
    """With six seeds a pair is decided on a task, and over tasks."""
    records = [
        made_record(m, t, s, r)
        for m, r in (("rnn", 0.001), ("gru", 0.04))
        for t in ("copy", "adding")
        for s in range(6)
    ]
    text = made_page(tmp_path, *records)
    assert "gru leads on adding and copy. 2 of 2 pairs are decided at 5 %, over tasks 1 of 1." in text


def test_nobody_leads_where_no_model_beats_the_baseline(tmp_path: Path) -> None:
    records = [made_record(m, t, 0, r) for m, r in (("rnn", 1e-5), ("gru", 2e-5)) for t in ("copy", "adding")]
    (result,) = re.findall(r'<p class="result">(.*?)</p>', made_page(tmp_path, *records))
    assert result.startswith("No model beats the baseline on adding and copy. ")
    records += [made_record(m, "digits", 0, r) for m, r in (("rnn", 0.01), ("gru", 0.04))]
    (result,) = re.findall(r'<p class="result">(.*?)</p>', made_page(tmp_path / "more", *records))
    assert "no model beats the baseline on adding and copy" in result.lower() and "gru leads on digits" in result


def test_eight_columns_are_shown_and_the_others_by_a_switch(text: str) -> None:
    head = re.findall(r"<thead><tr>(.*?)</tr></thead>", text, re.DOTALL)[0]
    cells = [(re.sub("<.*?>", "", cell), "more" in cell.split(">")[0]) for cell in re.findall(r"<th .*?</th>", head)]
    shown = [name for name, more in cells if not more]
    assert shown == ["model", "#", "loss", "solved", "updates to target", "parameters", "updates/s", "marks"]
    assert {"seeds", "batch", "peak MB", "mean updates to target"} <= {name for name, more in cells if more}
    row = re.findall(r'<tr data-model="gru">(.*?)</tr>', text, re.DOTALL)[0]
    assert [more == ' class="more"' for more in re.findall(r"<td( class=\"more\")? data-value", row)] == [
        more for _, more in cells[1:]
    ]


def test_what_is_not_ranked_is_said_on_top(tmp_path: Path) -> None:
    short, long = made_record("rnn", points=10), made_record("gru", points=20)
    assert "On copy nothing is ranked: its rows differ in updates." in made_page(tmp_path, short, long)


def test_speeds_of_two_machines_are_told_apart(tmp_path: Path) -> None:
    """A row that ran on both has neither a speed nor a median of seconds."""
    old, new = (made_record(model, hardware=model) for model in ("lstm", "gru"))
    both = [made_record("rnn", seed=seed, hardware=model) for seed, model in enumerate(("lstm", "gru"))]
    text = made_page(tmp_path, old, new, *both)
    one = "Updates/s and seconds compare within one hardware only: lstm on cpu, lstm, 1 thread; all others on cpu, gru"
    other = one.replace("lstm", "*").replace("gru", "lstm").replace("*", "gru")
    assert one in text or other in text
    assert "of each of 2 models against its seconds" in text and "of each of 3 models against its parameters" in text
    assert "compare within" not in made_page(tmp_path / "one", old)


@pytest.mark.parametrize(
    "times, said",
    [
        ([], None),
        (["2026-11-29T22:20:03+00:00"], "2026-11-29, 22:20 UTC"),
        (["2026-11-29T22:45:00+00:00", "2026-11-29T22:20:03+00:00"], "2026-11-29, 22:20 to 22:45 UTC"),
        (["2026-11-29T22:20:03+00:00", "2026-12-01T00:00:01+00:00"], "2026-11-29 22:20 to 2026-12-01 00:00 UTC"),
    ],
)
def test_times_are_to_the_minute(times: list[str], said: str | None) -> None:
    assert period(times) == said


@pytest.mark.parametrize("count", [2, 9, 20])
def test_names_of_dots_overprint_nothing(count: int) -> None:
    """Names of dots at nearly one place lie on no other name and on no dot."""
    dots = [(500 + 3 * (i % 3), 300 + i % 4, f"model_{i}") for i in range(count)]
    places = placed(dots, (124, 0, 960, 548))
    boxes = []
    for (_, _, name), place in zip(dots, places, strict=True):
        assert place is not None
        width = 0.55 * FONT * len(name)
        left = place[0] - width if place[2] == "end" else place[0]
        boxes.append((left, place[1] - 0.8 * FONT, left + width, place[1]))
    boxes += [(x - 9, y - 9, x + 9, y + 9) for x, y, _ in dots[:1]]
    for i, a in enumerate(boxes):
        assert 124 <= a[0] and a[2] <= 960 and 0 <= a[1] and a[3] <= 548
        assert not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in boxes[:i])


def test_a_name_without_room_is_left_out() -> None:
    places = placed([(500, 300, f"model_{i:02}") for i in range(60)], (124, 0, 960, 548))
    assert None in places and places[0] is not None


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_colours_have_the_contrast_that_wcag_asks_for(mode: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", (FOLDER / "page.css").read_text(), flags=re.DOTALL)
    colours = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", blocks[mode]))
    lines = {f"c{i}": colour for i, colour in enumerate((palette.LIGHT, palette.DARK)[mode])}
    colours |= lines
    for name, least in [("text", 4.5), ("quiet", 4.5), ("link", 4.5), *((name, 3.0) for name in lines)]:
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
const { sortOrder, shownNames } = require("./page.js");
const names = ["rnn", "roarnn", "lstm", "Cell (leak 0.1, units 8)", "Cell (leak 0.2, units 8)"];
const shown = (search, ...off) => [...shownNames(names, search, new Set(off))];
console.log(JSON.stringify([
  sortOrder(["10", "9", "", "0.5", "1e-7"], false),
  sortOrder(["10", "9", "", "0.5", "1e-7"], true),
  sortOrder(["b", "a", "", "a"], false),
  shown("rnn"), shown("RO"), shown("*rnn"), shown("roarnn, lstm"), shown('"ro"'), shown('"rnn", lst'),
  shown("cell"), shown("Cell (leak 0.2, units 8), rnn"), shown("*0.1*"), shown(""), shown("", "rnn", "lstm"),
  shown("rnn", "rnn"), shown("l.tm"),
]));
"""
    done = subprocess.run([str(NODE), "-e", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    sorted_, shown = json.loads(done.stdout)[:3], json.loads(done.stdout)[3:]
    assert sorted_ == [[4, 3, 1, 0, 2], [0, 1, 3, 4, 2], [1, 3, 0, 2]]
    one, two = "Cell (leak 0.1, units 8)", "Cell (leak 0.2, units 8)"
    assert shown == [
        *(["rnn"], ["roarnn"], ["rnn", "roarnn"], ["roarnn", "lstm"], [], ["rnn", "lstm"]),
        *([one, two], [two, "rnn"], [one], ["rnn", "roarnn", "lstm", one, two], ["roarnn", one, two], [], []),
    ]
