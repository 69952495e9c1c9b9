"""MLflow's UI in a real browser: the links open tables and charts that are drawn."""

import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from pipeline.core import paths
from pipeline.tracking import Identity
from pipeline.tracking.mlflow import store, ui, views
from tests import browser, fakes
from tests.tracking.mlflow.sweeps import close_cell, log_metrics, open_cell, open_trial

NARROW = {"source": "compress/narrow", "compression": "width", "distillation": "logits", "cell": "narrow"}
# Errors of MLflow's own pages: a request for the current user without a login, and a size that changed while drawing.
KNOWN_ERRORS = ("users/current", "ResizeObserver loop completed")
CHARTS = {"Results": 5, "Size": 4, "Data": 4, "Compression": 6, "Learning curves": 2}
SECTIONS = {"Results": 2, "Size": 2, "Data": 2, "Compression": 3, "Learning curves": 1}
DRAWN = """
const drawn = [...document.querySelectorAll('.js-plotly-plot')];
return drawn.filter((plot) => plot.querySelectorAll('.point, .points path, .scatterlayer path, .y-axis').length).length;
"""


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    yield from browser.start()


@pytest.fixture(scope="module")
def links(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Serve a store of a small plan; return the address of each link by its name."""
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{shutil.copy(empty_database, folder / 'mlflow.db')}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setattr(paths, "ROOT", folder)
        patch.setattr(ui, "LOG", folder / "ui.log")
        _fill(folder)
        port = ui._find_free_port(None)
        server = ui._start_server(uri, port)
        try:
            ui._wait_for_server(server, port)
            lines = views.write_views(store.connect(uri))
            yield dict(link.format(address=f"http://{ui.HOST}:{port}").split(": ", 1) for link in lines)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()
            store._create_store.cache_clear()


def _fill(folder: Path) -> None:
    """Log a plan of two sizes and two ratios, a compression, and a comparison with a page."""
    points = [("mrpc", model, ratio) for model in ("bert-tiny", "bert-mini") for ratio in (0.3, 1.0)]
    known = [make(*point, (0, 1)) for point in points for make in (fakes.finetuning, fakes.evaluation)]
    for record in [*known, fakes.evaluation(*points[0], (0, 1)) | NARROW]:
        parent = open_cell(Identity.from_record(record))
        for trial in record["trials"]:
            live = open_trial(Identity.from_record(record), trial["seed"], parent)
            for row in fakes.curve(record, trial):
                log_metrics(live, int(row.pop("step")), row)
            live.finish(trial)
        close_cell(parent, record)
    page = folder / "index.html"
    page.write_text("<!doctype html><title>report</title><h1>How the models of this plan scale</h1>")
    record = {"stage": "compare", "cell": "plan", "trials": [], "summary": {}}
    close_cell(open_cell(Identity.from_record(record)), record, [page])


def list_errors(driver: webdriver.Chrome) -> list[str]:
    """Return the errors in the console."""
    entries = driver.get_log("browser")
    errors = [entry["message"] for entry in entries if entry["level"] == "SEVERE"]
    return [error for error in errors if not any(known in error for known in KNOWN_ERRORS)]


def visit(driver: webdriver.Chrome, address: str) -> None:
    """Open an address in a new page: a browser keeps the page if only the part after # differs."""
    driver.get("about:blank")
    driver.get(address)


@pytest.mark.parametrize("kind", CHARTS)
def test_every_view_draws_its_charts(driver: webdriver.Chrome, links: dict[str, str], kind: str) -> None:
    address = links[f"{kind} of mrpc"]
    visit(driver, address if "compareRunsMode" in address else f"{address}&compareRunsMode=CHART")
    WebDriverWait(driver, browser.PATIENCE).until(
        lambda it: len(it.find_elements(By.CSS_SELECTOR, ".js-plotly-plot")) >= 1
    )
    for chart in driver.find_elements(By.CSS_SELECTOR, ".js-plotly-plot"):
        driver.execute_script("arguments[0].scrollIntoView()", chart)  # MLflow draws what is in sight
    WebDriverWait(driver, browser.PATIENCE).until(lambda it: it.execute_script(DRAWN) >= 1)
    counts = re.findall(r"\((\d+)\)", driver.find_element(By.TAG_NAME, "body").text)  # of each section's charts
    assert sum(map(int, counts[: SECTIONS[kind]])) == CHARTS[kind]
    assert list_errors(driver) == []


def test_the_table_of_results_shows_every_cell(driver: webdriver.Chrome, links: dict[str, str]) -> None:
    visit(driver, links["Results of mrpc"])
    WebDriverWait(driver, browser.PATIENCE).until(
        lambda it: "5 matching runs" in it.find_element(By.TAG_NAME, "body").text
    )
    text = driver.find_element(By.TAG_NAME, "body").text
    for name in ("mrpc-bert-tiny-0.3-standard", "mrpc-bert-mini-1.0-standard", "narrow", "score"):
        assert name in text
    assert list_errors(driver) == []


def test_the_description_holds_the_links(driver: webdriver.Chrome, links: dict[str, str]) -> None:
    visit(driver, links["Results of mrpc"])
    WebDriverWait(driver, browser.PATIENCE).until(lambda it: it.find_elements(By.LINK_TEXT, "compression"))
    hrefs = {
        element.text: element.get_attribute("href")
        for element in driver.find_elements(By.TAG_NAME, "a")
        if element.text in ("results", "size", "data", "compression", "learning curves", views.REPORT)
    }
    expected = {name.removesuffix(" of mrpc").lower(): address for name, address in links.items() if "mrpc" in name}
    assert hrefs == expected | {views.REPORT: links[views.REPORT]}


def test_the_report_opens_inside_the_store(driver: webdriver.Chrome, links: dict[str, str]) -> None:
    visit(driver, links[views.REPORT])
    WebDriverWait(driver, browser.PATIENCE).until(lambda it: it.find_elements(By.TAG_NAME, "iframe"))
    driver.switch_to.frame(driver.find_element(By.TAG_NAME, "iframe"))
    WebDriverWait(driver, browser.PATIENCE).until(lambda it: "How the models of this plan scale" in it.page_source)
    driver.switch_to.default_content()
    assert list_errors(driver) == []
