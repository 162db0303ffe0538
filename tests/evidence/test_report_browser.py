"""The report in a real browser: nothing fetched, nothing run, nothing wider than a phone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from families import continual
from synthetic_out import make_out

from bequeath.evidence.report import write_report

CHROMIUM = os.environ.get("CHROMIUM") or next(
    (p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None
)
NAMES = ("<script>alert(1)</script>", "a class with quite a long name, to see what becomes of it",
         "<img src=x onerror=alert(2)>", "four")  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "out"
    return write_report(make_out(out, n=300, classes=NAMES, seeds=2, steps=40))


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_quiet_narrow_and_alone(browser: Any, report: Path, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert said == []
    assert asked == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("table.heat th", has_text="<script>alert(1)</script>").count() >= 2
    assert page.locator("img").count() == 0
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) < 200) == (scheme == "dark")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser: Any, report: Path, scheme: str) -> None:
    """Every text colour of the page against the paper behind it: at least 4.5 to 1."""
    page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    page.goto(report.as_uri())
    ratios = page.evaluate(
        """() => {
          const style = getComputedStyle(document.documentElement);
          const light = name => {
            const hex = style.getPropertyValue('--' + name).trim().slice(1);
            const [r, g, b] = [0, 2, 4].map(i => parseInt(hex.slice(i, i + 2), 16) / 255)
              .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05)
            / (Math.min(light(a), light(b)) + 0.05);
          const found = {};
          for (const name of ['ink', 'muted', 'good', 'bad', 'accent'])
            for (const behind of ['paper', 'page'])
              found[name + ' on ' + behind] = ratio(name, behind);
          for (let k = 0; k < 8; k++) found['s' + k] = 1.5 * ratio('s' + k, 'paper');
          return found;
        }"""
    )
    assert {name: r for name, r in ratios.items() if r < 4.5} == {}  # marks: 3 to 1, times 1.5
    page.close()


def test_a_table_sorts_and_reads_without_the_script(browser: Any, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    table = page.locator("table.sortable", has_text="accuracy ↑").first
    table.locator("th button", has_text="accuracy").click()
    column = table.locator("tbody tr td:nth-child(2)")
    values = [float(column.nth(k).get_attribute("data-value")) for k in range(column.count())]
    assert values == sorted(values) and len(values) == 4
    still = browser.new_context(java_script_enabled=False).new_page()
    still.goto(report.as_uri())
    assert still.locator("table.sortable").count() == page.locator("table.sortable").count()
    assert still.locator("th button").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_matrix_and_curves_fit_a_phone(
    browser: Any, tmp_path_factory: pytest.TempPathFactory, scheme: str
) -> None:
    path = write_report(continual(tmp_path_factory.mktemp("continual") / "out"))
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    cells = page.locator("table.heat.plain").nth(1).locator("tbody td")
    shades = [
        float(cells.nth(k).evaluate("cell => getComputedStyle(cell).backgroundColor")
              .removesuffix(")").rpartition(",")[2])
        for k in (0, 20)
    ]  # fmt: skip
    assert shades[0] > 0.4 and shades[1] < 0.05  # just learnt, and forgotten
    first = page.locator("nav a", has_text="What the runs recorded")
    first.click()
    assert page.evaluate("location.hash") == "#left"
    assert page.locator("#left svg.plot").count() == 1
    page.close()
