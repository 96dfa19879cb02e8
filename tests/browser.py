"""A headless browser for tests of pages, where one is installed."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         "--disable-dev-shm-usage")  # fmt: skip


@contextlib.contextmanager
def started() -> Iterator[Any]:
    """A driver of Chromium that records the console and the network; skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs the package selenium")
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs Chromium and its driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    from selenium.webdriver.chrome.service import Service

    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield browser
    finally:
        browser.quit()


def show(browser: Any, path: Path, width: int, scheme: str = "light") -> None:
    """Opens a file in a window of so many pixels."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    preferred = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})
    browser.get(path.as_uri())


def requests(browser: Any) -> list[str]:
    """What has been asked for since the last call, but for data inside the page."""
    messages = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    sent = (m["params"]["request"]["url"] for m in messages if m["method"].endswith("WillBeSent")
            and "request" in m["params"])  # fmt: skip
    return [url for url in sent if not url.startswith("data:")]
