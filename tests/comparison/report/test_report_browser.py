"""The report in a real browser: silent, self-contained, as wide as the screen, and its script works.

Needs ``pip install playwright`` and a Chromium; ``SEMISEG_CHROMIUM`` names one that is not on the PATH.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.compared import data_for, dices, scored_run, trio

from semiseg.comparison.compare import compare
from semiseg.comparison.report.write import write_report

pytestmark = pytest.mark.slow  # a browser start and a report: about 15 s
PHONE, DESK = 375, 1440


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
    names = (os.environ.get("SEMISEG_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium found (apt-get install chromium, or set SEMISEG_CHROMIUM)")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods, one with a very long name, an upper bound, pictures."""
    root = tmp_path_factory.mktemp("browser")
    data = root / "Dataset001_Tiny"
    runs = [
        *trio(root, data=data),
        scored_run(root, "a_method_with_a_name_" + "x" * 150, dices(0.72), folder="long", data=data),
        scored_run(root, "supervised", dices(0.8), labeled=None, data=data),
    ]
    data_for(root, runs)
    return write_report(compare(runs), root / "out")[0]


class Visit:
    """An open page and what it said and asked for."""

    def __init__(self, browser: Any, report: Path, width: int = DESK, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(report.as_uri())

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def column(self, number: int) -> list[str]:
        """Texts of a column of the first table."""
        cells = self.page.locator(f"table.sortable >> nth=0 >> tbody tr > :nth-child({number})")
        return [text.split()[0] for text in cells.all_inner_texts()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_it_is_silent_asks_for_nothing_and_fits(browser: Any, report: Path, width: int, scheme: str) -> None:
    with Visit(browser, report, width, color_scheme=scheme) as visit:
        visit.page.locator("footer").scroll_into_view_if_needed()
        assert visit.said == []
        assert [url for url in visit.asked if not url.startswith("data:")] == [report.as_uri()]
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        unseen = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
        assert visit.page.evaluate(unseen) == 0
        paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_columns_sort_both_ways_and_missing_values_stay_last(browser: Any, report: Path) -> None:
    with Visit(browser, report) as visit:
        page = visit.page
        before = visit.column(1)
        p = page.get_by_role("button", name="p Holm").first
        p.click()
        ascending = visit.column(4)
        known = [float(text) for text in ascending if text not in ("–", "<")]
        assert known == sorted(known)
        assert ascending[-2:] == ["–", "–"]  # the baseline and the upper bound
        p.click()
        assert visit.column(4)[: len(known)] == [f"{value:.3f}" for value in sorted(known, reverse=True)]
        assert visit.column(4)[-2:] == ["–", "–"]
        heads = page.locator("table.sortable >> nth=0 >> th[aria-sort]")
        assert heads.count() == 1
        assert heads.first.get_attribute("aria-sort") == "descending"
        assert sorted(visit.column(1)) == sorted(before)
        assert visit.said == []


def test_the_keyboard_sorts_and_chooses_the_metric(browser: Any, report: Path) -> None:
    with Visit(browser, report) as visit:
        page = visit.page
        assert page.locator("[data-metric=Dice]:visible").count() == 2
        assert page.locator("[data-metric=HD95]:visible").count() == 0
        page.get_by_role("button", name="HD95").first.focus()
        page.keyboard.press("Enter")
        assert page.locator("[data-metric=HD95]:visible").count() == 2
        assert page.locator("[data-metric=Dice]:visible").count() == 0
        assert page.get_by_role("button", name="HD95").first.get_attribute("aria-pressed") == "true"


def test_light_and_dark_can_be_chosen(browser: Any, report: Path) -> None:
    with Visit(browser, report, color_scheme="dark") as visit:
        paper = "getComputedStyle(document.body).backgroundColor"
        ink = "getComputedStyle(document.querySelector('figure svg text')).fill"
        dark, written = visit.page.evaluate(paper), visit.page.evaluate(ink)
        visit.page.locator("#theme").click()
        assert visit.page.evaluate(paper) == "rgb(255, 255, 255)" != dark
        assert visit.page.evaluate(ink) != written  # the figures follow


def test_everything_is_there_without_scripts(browser: Any, report: Path) -> None:
    with Visit(browser, report, java_script_enabled=False) as visit:
        assert visit.page.locator("table.sortable:visible").count() == 3
        assert visit.page.locator("figure svg:visible").count() >= 6
        assert visit.page.locator(".switch:visible").count() == 0


def test_a_script_in_the_page_that_is_not_ours_does_not_run(
    browser: Any, report: Path, tmp_path: Path
) -> None:
    forged = tmp_path / "forged.html"
    text = report.read_text(encoding="utf-8")
    forged.write_text(
        text.replace("<footer>", "<script>document.title='forged'</script><footer>"), encoding="utf-8"
    )
    with Visit(browser, forged) as visit:
        assert visit.page.title().startswith("Comparison:")
        assert any("Content Security Policy" in line for line in visit.said)
