"""The report in a real browser: what is drawn, what answers to pointer and buttons, what is printed, what is loaded."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from pipeline.analysis.report import build_report
from pipeline.analysis.report.render_pool import RenderPool
from pipeline.analysis.results.cell_table import CellRow
from pipeline.analysis.results.costs import CellCost
from tests import browser
from tests.analysis import findings

HOSTILE = """</script><img src=x onerror="document.title='taken'">"""
FIND = """
const marks = document.querySelectorAll("#" + arguments[0] + " .live " + arguments[1]);
return [...marks].filter((mark) => mark.getBBox().width > 0 || mark.getBBox().height > 0).length;
"""
COLUMN = """
const rows = document.querySelector(arguments[0]).tBodies[0].rows;
return [...rows].map((row) => row.cells[arguments[1]].textContent);
"""


@pytest.fixture(scope="module")
def page(
    counted: list[CellRow], measured: list[CellCost], tmp_path_factory: pytest.TempPathFactory, drawing: RenderPool
) -> Path:
    folder = tmp_path_factory.mktemp("report")
    named = [replace(counted[0], cell=HOSTILE), *counted[1:]]
    build_report.write_report(
        findings.material(findings.made_cheaper(named), measured), folder, "parameters", 40, drawing
    )
    return folder / "index.html"


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    yield from browser.start()


@pytest.fixture(scope="module")
def opened(driver: webdriver.Chrome, page: Path) -> webdriver.Chrome:
    scheme(driver, "light")
    driver.get(page.as_uri())
    wait(driver, "light")
    return driver


def scheme(driver: webdriver.Chrome, name: str, media: str = "") -> None:
    wanted = {"media": media, "features": [{"name": "prefers-color-scheme", "value": name}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)


def wait(driver: webdriver.Chrome, drawn: str) -> None:
    WebDriverWait(driver, browser.PATIENCE).until(
        lambda it: it.execute_script("return document.body.dataset.drawn") == drawn
    )


def colour(driver: webdriver.Chrome, selector: str, name: str) -> str:
    found: str = driver.find_element(By.CSS_SELECTOR, selector).value_of_css_property(name)
    return found


def displayed(driver: webdriver.Chrome, selector: str) -> set[bool]:
    return {element.is_displayed() for element in driver.find_elements(By.CSS_SELECTOR, selector)}


def requests(driver: webdriver.Chrome) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent: list[dict[str, Any]] = [one["params"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    return [one["request"]["url"] for one in sent]


def test_every_figure_is_drawn_without_an_error_and_nothing_is_loaded(opened: webdriver.Chrome, page: Path) -> None:
    figures = [element.get_attribute("id") for element in opened.find_elements(By.CSS_SELECTOR, "figure.drawn")]
    assert len(figures) == 12
    assert all(opened.execute_script(FIND, name, "svg path") > 5 for name in figures)
    assert opened.get_log("browser") == []
    assert {url for url in requests(opened) if not url.startswith("data:")} == {page.as_uri()}


def test_the_figure_has_a_mark_for_each_cell_and_a_line_for_each_model(opened: webdriver.Chrome) -> None:
    """14 of 15 cells of two tasks and compressions, which are not part of the grid: 29 points, 10 lines."""
    found = opened.execute_script(
        'return [...document.querySelectorAll("#score-against-data .live .mark-symbol.role-mark")].map((group) => '
        "[group.children.length, group.children[0]?.getAttribute('opacity')])"
    )
    points = sum(count for count, opacity in found if opacity != "0")
    assert points == 29
    assert opened.execute_script(FIND, "score-against-data", ".mark-line.role-mark path") == 10


def test_a_name_out_of_a_plan_is_text_and_runs_nothing(opened: webdriver.Chrome) -> None:
    assert opened.title == build_report.TITLE
    assert opened.find_elements(By.CSS_SELECTOR, "main img:not(.still)") == []
    assert HOSTILE in opened.execute_script(COLUMN, "#score-against-data table", 1)


def test_pointing_at_a_mark_tells_its_numbers_and_dims_other_lines(opened: webdriver.Chrome) -> None:
    groups = opened.find_elements(By.CSS_SELECTOR, "#score-against-data .live .mark-symbol.role-mark")
    point = next(group for group in groups if group.find_elements(By.CSS_SELECTOR, "path[opacity='0']"))
    target = point.find_elements(By.CSS_SELECTOR, "path")[-1]
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
    ActionChains(opened).move_to_element(target).perform()
    tooltip = opened.find_element(By.ID, "vg-tooltip-element")
    WebDriverWait(opened, browser.PATIENCE).until(lambda _: "visible" in (tooltip.get_attribute("class") or ""))
    tooltip_values = dict(
        zip(*[iter(cell.text.rstrip(":") for cell in tooltip.find_elements(By.TAG_NAME, "td"))] * 2, strict=True)
    )
    assert set(tooltip_values) >= {"cell", "model", "score", "95%", "training examples"}
    assert float(tooltip_values["score"]) > 50
    dimmed = "#score-against-data .live .mark-line.role-mark path[opacity='0.12']"
    assert 0 < len(opened.find_elements(By.CSS_SELECTOR, dimmed)) < 10
    ActionChains(opened).move_to_element(opened.find_element(By.TAG_NAME, "h1")).perform()
    assert opened.find_elements(By.CSS_SELECTOR, dimmed) == []


def test_a_click_in_a_legend_leaves_its_entry_alone(opened: webdriver.Chrome) -> None:
    entries = opened.find_elements(By.CSS_SELECTOR, "#score-against-size .live .role-legend-label text")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", entries[0])
    dimmed = "#score-against-size .live .mark-line.role-mark path[opacity='0.12']"
    before = len(opened.find_elements(By.CSS_SELECTOR, dimmed))
    ActionChains(opened).click(entries[0]).perform()
    WebDriverWait(opened, browser.PATIENCE).until(lambda it: it.find_elements(By.CSS_SELECTOR, dimmed))
    assert before == 0
    ActionChains(opened).click(opened.find_element(By.CSS_SELECTOR, "#score-against-size .live .background")).perform()
    WebDriverWait(opened, browser.PATIENCE).until(lambda it: not it.find_elements(By.CSS_SELECTOR, dimmed))


def test_tables_sort_by_the_leading_number_up_and_down_with_holes_last(opened: webdriver.Chrome) -> None:
    table = "#cells table"
    first, parameters = opened.find_elements(By.CSS_SELECTOR, f"{table} thead button")[:2]
    before = opened.execute_script(COLUMN, table, 1)
    parameters.click()
    rising = opened.execute_script(COLUMN, table, 1)
    numbers = [float(text.removesuffix("M")) for text in rising if text]
    assert numbers == sorted(numbers)
    assert sorted(before) == sorted(rising)
    heading = parameters.find_element(By.XPATH, "..")
    assert heading.get_attribute("aria-sort") == "ascending"
    parameters.click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert opened.execute_script(COLUMN, table, 1) == sorted(rising, key=lambda text: -float(text.removesuffix("M")))
    first.click()
    assert (heading.get_attribute("aria-sort"), opened.execute_script(COLUMN, table, 0)[0][:9]) == (None, "bert-medi")
    assert opened.find_elements(By.CSS_SELECTOR, "#compression thead button") == []


def test_sorting_reads_units_and_keeps_the_order_of_equals(opened: webdriver.Chrome) -> None:
    texts = [
        "1,234",
        "59.1 MB",
        "12.3 (0.45)",
        "",
        "yes",
        "79k",
        "0.1M",
        "[2.0, 3.0]",
        "44 min 48 s",
        "1 h",
        "−0.5",
        "7%",
        "< 0.001",
        ">= 2.02 [2.02, ] dearer",
    ]
    sorted_ = opened.execute_script(
        """
        const table = document.createElement("table"), head = table.createTHead().insertRow();
        head.append(document.createElement("th"));
        const source = document.querySelector("#cells table");
        const body = source.tBodies[0], kept = [...body.rows];
        body.replaceChildren(...arguments[0].map((text, place) => {
          const row = document.createElement("tr");
          row.append(document.createElement("td"), document.createElement("td"));
          row.cells[0].textContent = place; row.cells[1].textContent = text;
          return row;
        }));
        source.tHead.rows[0].cells[1].querySelector("button").click();
        const found = [...body.rows].map((row) => row.cells[1].textContent);
        body.replaceChildren(...kept);
        return found;
        """,
        texts,
    )
    assert sorted_ == [
        "−0.5", "< 0.001", "[2.0, 3.0]", ">= 2.02 [2.02, ] dearer", "7%", "12.3 (0.45)", "1,234", "44 min 48 s", "1 h",
        "79k", "0.1M", "59.1 MB", "yes", "",
    ]  # fmt: skip


def test_a_dark_reader_gets_a_dark_page_and_figures_drawn_for_it(opened: webdriver.Chrome) -> None:
    label = "#score-against-size .live .role-axis-label text"
    light = (colour(opened, "body", "background-color"), colour(opened, label, "fill"))
    scheme(opened, "dark")
    wait(opened, "dark")
    assert colour(opened, "body", "background-color") == "rgba(13, 17, 23, 1)"
    assert (colour(opened, "body", "background-color"), colour(opened, label, "fill")) != light
    scheme(opened, "light")
    wait(opened, "light")
    assert (colour(opened, "body", "background-color"), colour(opened, label, "fill")) == light


def test_print_has_still_figures_on_white_and_no_controls(opened: webdriver.Chrome) -> None:
    assert (displayed(opened, ".still"), displayed(opened, ".live")) == ({False}, {True})
    scheme(opened, "dark", "print")
    assert (displayed(opened, ".still"), displayed(opened, ".live"), displayed(opened, "nav")) == (
        {True},
        {False},
        {False},
    )
    assert colour(opened, "body", "background-color") in ("rgba(255, 255, 255, 1)", "rgb(255, 255, 255)")
    scheme(opened, "light")
    wait(opened, "light")


def test_a_narrow_screen_has_one_panel_a_row_and_no_page_wider_than_itself(opened: webdriver.Chrome) -> None:
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_script("delete document.body.dataset.drawn")
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wait(opened, "light")
    assert opened.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    frames = "#score-against-data .live [class*='role-scope concat_'][class$=_group] > g > path.background"
    panels = opened.find_elements(By.CSS_SELECTOR, frames)
    left = [panel.rect["x"] for panel in panels]
    assert (len(left), max(left) - min(left) < 2) == (2, True)
    assert all(panel.rect["width"] >= 150 for panel in panels)
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_without_scripts_the_still_figures_are_there(driver: webdriver.Chrome, page: Path) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    driver.get(page.as_uri())
    assert displayed(driver, ".still") == {True}
    assert displayed(driver, ".hint") == {False}
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
