"""A headless browser for tests, driven by WebDriver's HTTP interface (W3C)."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.service import wait_until

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_PORT = re.compile(r"started successfully on port (\d+)")


class Browser:
    """One window of a browser."""

    def __init__(self, http: httpx.Client, session: str) -> None:
        self._http = http
        self._session = session

    def _call(self, path: str, body: dict[str, Any]) -> Any:
        response = self._http.post(f"/session/{self._session}/{path}", json=body)
        assert response.status_code == 200, response.text
        return response.json()["value"]

    def open(self, url: str) -> None:
        """Load a page."""
        self._call("url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """Return what a script of the page returns."""
        return self._call("execute/sync", {"script": script, "args": list(arguments)})


@contextmanager
def browser(directory: Path) -> Iterator[Browser]:
    """Open a browser with an empty profile; skip the test if none is installed."""
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no browser: install the Debian packages chromium and chromium-driver")
    directory.mkdir(exist_ok=True)
    log = directory / "chromedriver.log"
    environment = {**os.environ, "HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
    with (
        log.open("w") as output,
        subprocess.Popen(
            [driver, "--port=0"], stdout=output, stderr=output, env=environment
        ) as process,
    ):
        try:
            found: Any = wait_until(lambda: _PORT.search(log.read_text()))
            port = found[1]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0) as http:
                options = {
                    "binary": binary,
                    "args": [*FLAGS, f"--user-data-dir={directory / 'profile'}"],
                }
                wanted = {"alwaysMatch": {"goog:chromeOptions": options}}
                response = http.post("/session", json={"capabilities": wanted})
                assert response.status_code == 200, response.text
                session = response.json()["value"]["sessionId"]
                try:
                    yield Browser(http, session)
                finally:
                    http.delete(f"/session/{session}")
        finally:
            process.terminate()
