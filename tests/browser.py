"""A real browser without a window, for the tests of what a user sees."""

import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,900")
PATIENCE = 120  # seconds, on a machine that does other things too


def start() -> Iterator[webdriver.Chrome]:
    """Yield a driver that keeps what the console and the network say; skip, with the reason, where there is none."""
    binary = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    service = shutil.which("chromedriver")
    if binary is None or service is None:
        pytest.skip(f"needs chromedriver and a browser: none of {', '.join(BROWSERS)} is here with it")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(service))
    yield started
    started.quit()
