"""The report page in a headless Chromium: opens without an error, sorts, filters, switches axes, fits a phone.

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
    rising = [float(text) for text in _column(shown, "loss")]
    assert rising == sorted(rising) and len(rising) == 4
    assert shown.locator("#task-1 th[aria-sort='ascending']").count() == 1
    head.press("Enter")
    assert [float(text) for text in _column(shown, "loss")] == rising[::-1]
    assert complaints == []


def test_a_search_hides_rows_and_lines_of_other_models(opened: tuple[Any, list[str]]) -> None:
    shown, complaints = opened
    shown.fill("#search", "AM")
    assert _column(shown, "model") == ["gamma"]
    visible = "[...document.querySelectorAll('#task-1 svg g[data-model]')].filter(g => g.style.display !== 'none')"
    assert set(shown.evaluate(f"{visible}.map(g => g.dataset.model)")) == {"gamma"}
    assert shown.inner_text("#said") == "1 models shown"
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
