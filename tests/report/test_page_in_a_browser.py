"""The report page in a headless Chromium: sorts, filters, switches axes and columns, fits screens and paper.

The browser is Chromium where it is installed, or one that listens for its DevTools protocol at
`STABLEBENCH_BROWSER` (`http://127.0.0.1:9222`).
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_maker import made_record, store

from stablebench.report.page import page

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        address = os.environ.get("STABLEBENCH_BROWSER")
        if address:
            yield driver.chromium.connect_over_cdp(address)
            return
        path = next(filter(None, map(shutil.which, _NAMES)), None)
        if path is None and not Path(driver.chromium.executable_path).exists():
            pytest.skip("there is no Chromium on this machine")
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        started = driver.chromium.launch(executable_path=path, args=[*flags, "--disable-background-networking"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def opened(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, list[str]]]:
    """Return the page, opened, and what it complains about or asks for."""
    folder = tmp_path_factory.mktemp("page")
    records = [
        made_record(model, task, seed, rate)
        for model, rate in (("alpha", 0.005), ("beta", 0.02), ("gamma", 0.04), ("<script>", 0.03))
        for task in ("copy", "adding")
        for seed in range(2)
    ]
    runs = [(store(folder / "runs", record), record) for record in records]
    path = folder / "report.html"
    path.write_text(page("in a browser", runs, how="stablebench report", cards=lambda name: None))
    shown = browser.contexts[0].pages[0] if os.environ.get("STABLEBENCH_BROWSER") else browser.new_page()
    complaints: list[str] = []
    shown.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.on("request", lambda request: None if request.url == path.as_uri() else complaints.append(request.url))
    shown.goto(path.as_uri())
    yield shown, complaints


def _column(shown: Any, name: str) -> list[str]:
    script = """name => {
        const table = document.querySelector('#task-1 table');
        const heads = [...table.tHead.rows[0].cells].map(c => c.textContent.trim());
        const rows = [...table.tBodies[0].rows].filter(row => !row.hidden);
        return rows.map(row => row.cells[heads.indexOf(name)].textContent.trim());
    }"""
    return shown.evaluate(script, name)


def test_the_page_opens_without_an_error_and_asks_for_nothing(opened: tuple[Any, list[str]]) -> None:
    shown, complaints = opened
    assert shown.title() == "in a browser - stablebench"
    assert complaints == []


def test_a_click_sorts_and_a_second_one_turns_it_round(opened: tuple[Any, list[str]]) -> None:
    shown, complaints = opened
    head = shown.locator("#task-1 thead button", has_text="loss").first
    head.click()
    rising = [float(text.split()[0]) for text in _column(shown, "loss")]
    assert rising == sorted(rising) and len(rising) == 4
    assert shown.locator("#task-1 th[aria-sort='ascending']").count() == 1
    head.press("Enter")
    assert [float(text.split()[0]) for text in _column(shown, "loss")] == rising[::-1]
    shown.locator("#task-1 thead button", has_text="updates/s").first.click()
    assert shown.locator("#task-1 th[aria-sort='descending']").count() == 1  # the fastest first
    assert complaints == []


def test_a_search_hides_rows_and_lines_of_other_models(opened: tuple[Any, list[str]]) -> None:
    shown, complaints = opened
    shown.fill("#search", "*AM*")
    assert _column(shown, "model") == ["gamma"]
    visible = "[...document.querySelectorAll('#task-1 svg g[data-model]')].filter(g => g.style.display !== 'none')"
    assert set(shown.evaluate(f"{visible}.map(g => g.dataset.model)")) == {"gamma"}
    assert shown.inner_text("#said") == "1 of 4 models shown"
    shown.fill("#search", "beta, alpha")
    assert sorted(_column(shown, "model")) == ["alpha", "beta"]
    shown.fill("#search", '"alph"')
    assert _column(shown, "model") == []
    shown.fill("#search", "")
    assert len(_column(shown, "model")) == 4
    assert complaints == []


def test_the_axis_switches_between_logarithmic_and_linear(opened: tuple[Any, list[str]]) -> None:
    shown, _ = opened
    figure = shown.locator("#task-1 figure").first
    assert figure.get_attribute("data-scale") == "log"
    figure.locator("[data-axis]").click()
    assert figure.get_attribute("data-scale") == "linear"
    assert (
        figure.locator("[data-panel='linear']").is_visible() and not figure.locator("[data-panel='log']").is_visible()
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_in_both_schemes(opened: tuple[Any, list[str]], scheme: Any) -> None:
    shown, _ = opened
    shown.emulate_media(color_scheme=scheme)
    shown.set_viewport_size({"width": 360, "height": 740})
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360
    dark = shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"
    assert dark == (scheme == "dark")


_NINE = {
    "rnn": 1,
    "lstm": 2,
    "roarnn": 30,
    "eyernn": 12,
    "dizzy": 3,
    "exprnn": 29,
    "nnrnn": 31,
    "urnn": 15,
    "cornn": 28,
}


@pytest.fixture(scope="module")
def nine(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a page of nine models on three tasks, five seeds each, opened on its own."""
    folder = tmp_path_factory.mktemp("nine")
    hardware = "AMD EPYC 9B45 128-Core Processor, 1 thread"
    records = [
        made_record(model, task, seed, 0.001 * rate, hardware=hardware)
        for model, rate in _NINE.items()
        for task in ("copy", "adding", "digits")
        for seed in range(5)
    ]
    path = folder / "report.html"
    runs = [(store(folder / "runs", record), record) for record in records]
    path.write_text(page("nine models", runs, how="stablebench report", cards=lambda name: None))
    shown = browser.contexts[0].new_page() if os.environ.get("STABLEBENCH_BROWSER") else browser.new_page()
    shown.goto(path.as_uri())
    yield shown
    shown.close()


_CUT = """() => [...document.querySelectorAll('.scroll')]
    .filter(box => box.getClientRects().length && box.scrollWidth > box.clientWidth + 1)
    .map(box => box.getAttribute('aria-label'))"""


@pytest.mark.parametrize("width", [1368, 1920])
def test_nothing_is_out_of_sight_on_a_screen(nine: Any, width: int) -> None:
    nine.set_viewport_size({"width": width, "height": 900})
    assert nine.evaluate("document.documentElement.scrollWidth") <= width
    assert nine.evaluate(_CUT) == []


def test_the_switch_shows_all_columns_and_hides_them_again(nine: Any) -> None:
    nine.set_viewport_size({"width": 1368, "height": 900})
    seeds = nine.locator("#task-1 thead th", has_text="seeds").first
    assert not seeds.is_visible()
    nine.click("[data-columns]")
    assert seeds.is_visible() and nine.get_attribute("[data-columns]", "aria-pressed") == "true"
    nine.click("[data-columns]")
    assert not seeds.is_visible()


def test_heads_and_names_stay_over_their_columns_on_a_phone(nine: Any) -> None:
    """Scrolled both ways, the first column's head stays over the names, and every head over its column."""
    nine.set_viewport_size({"width": 400, "height": 300})
    found = nine.evaluate("""() => {
        const box = document.querySelector('#task-1 .scroll'), table = box.querySelector('table');
        box.scrollIntoView();
        box.scrollLeft = 170; box.scrollTop = 90;
        const edge = box.getBoundingClientRect(), rows = [...table.tBodies[0].rows];
        const row = rows.find(r => r.getBoundingClientRect().top > edge.top + 100);
        const at = (x, y) => document.elementFromPoint(x, y).closest('th, td');
        const columns = [...table.tHead.rows[0].cells].map((head, i) => [head, row.cells[i]])
            .filter(([head]) => head.getClientRects().length)
            .map(([head, cell]) => Math.abs(head.getBoundingClientRect().left - cell.getBoundingClientRect().left));
        const y = table.tHead.getBoundingClientRect();
        return {
            moved: [box.scrollLeft, box.scrollTop],
            corner: at(edge.left + 30, edge.top + 20).textContent.trim(),
            name: at(edge.left + 30, row.getBoundingClientRect().top + 10) === row.cells[0],
            left: table.tHead.rows[0].cells[0].getBoundingClientRect().left - edge.left,
            top: table.tHead.rows[0].cells[3].getBoundingClientRect().top - edge.top,
            columns,
        };
    }""")
    assert min(found["moved"]) > 50
    assert found["corner"] == "model" and found["name"]
    assert abs(found["left"]) <= 1 and abs(found["top"]) <= 1
    assert len(found["columns"]) == 8 and max(found["columns"]) <= 1


def test_names_of_dots_do_not_overprint(nine: Any) -> None:
    nine.set_viewport_size({"width": 1368, "height": 900})
    nine.evaluate("document.querySelector('#task-1 .dots').scrollIntoView()")
    overlaps = nine.evaluate("""() => [...document.querySelectorAll('#task-1 g[data-panel]')].flatMap(panel => {
        const boxes = [...panel.querySelectorAll('.dots text')].map(t => [t.textContent, t.getBoundingClientRect()]);
        return boxes.flatMap(([a, p], i) => boxes.slice(0, i)
            .filter(([, q]) => p.width && p.left < q.right && q.left < p.right)
            .filter(([, q]) => p.top + 4 < q.bottom && q.top + 4 < p.bottom)
            .map(([b]) => `${a} on ${b}`));
    })""")
    assert nine.locator("#task-1 .dots text").count() >= 9 and overlaps == []


def test_no_table_is_cut_on_a4(nine: Any, tmp_path: Path) -> None:
    across = round((210 - 24) / 25.4 * 96)  # between the margins, in CSS pixels
    nine.set_viewport_size({"width": across, "height": 1000})
    nine.emulate_media(media="print", color_scheme="dark")
    try:
        found = nine.evaluate("""() => [...document.querySelectorAll('table, figure')]
            .filter(e => e.getClientRects().length).map(e => [e.tagName, e.getBoundingClientRect().right])""")
        assert len(found) > 20 and max(right for _, right in found) <= across + 1
        assert nine.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert nine.evaluate("getComputedStyle(document.querySelector('.more')).display") == "none"
        figures = nine.evaluate("[...document.querySelectorAll('#task-1 .figures figure')].map(f => f.offsetTop)")
        assert figures[0] == figures[1] < figures[2]  # two next to each other
    finally:
        nine.emulate_media(media="screen", color_scheme="light")
