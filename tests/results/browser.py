"""A real browser without a screen, driven by WebDriver over HTTP: https://www.w3.org/TR/webdriver2/."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
# No first-run pages and nothing of its own over a network; and root has no sandbox.
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--disable-dev-shm-usage"),
)
PATIENCE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Browser:
    """A session with a browser."""

    session: str
    http: requests.Session

    def open(self, page: Path) -> None:
        """Load a page from a file, and wait until it is there."""
        self._post("url", {"url": page.as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self._post("execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector: str) -> str:
        """An element, by a CSS selector."""
        found = self._post("element", {"using": "css selector", "value": selector})
        return str(found[ELEMENT])

    def click(self, selector: str) -> None:
        """Click on an element as a person would: it must be there to be seen."""
        self._post(f"element/{self.find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Type into an element."""
        self._post(f"element/{self.find(selector)}/value", {"text": text})

    def resize(self, width: int, height: int) -> None:
        """Give the window another size."""
        self._post("window/rect", {"width": width, "height": height})

    def screenshot(self) -> bytes:
        """The window as PNG."""
        answer = self.http.get(f"{self.session}/screenshot", timeout=PATIENCE_SECONDS)
        return base64.b64decode(answer.json()["value"])

    def complaints(self) -> list[str]:
        """What the console says that is wrong, refused loads among it."""
        entries = self._post("se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def until(self, script: str, wanted: Any) -> None:
        """Wait until a script returns what is wanted: what is drawn, is drawn a little later."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (actual := self.run(script)) != wanted:
            assert time.monotonic() < deadline, f"{script}: {actual!r}, not {wanted!r}"

    def _post(self, command: str, body: dict[str, Any]) -> Any:
        answer = self.http.post(f"{self.session}/{command}", json=body, timeout=PATIENCE_SECONDS)
        value = answer.json()["value"]
        assert answer.ok, value
        return value


@contextmanager
def browser(tool: Callable[[str], str], folder: Path, *options: str) -> Iterator[Browser]:
    """A browser for as long as it is used; skips the test where there is none."""
    chromium, driver = tool("chromium"), tool("chromedriver")
    process = subprocess.Popen(
        [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    http = requests.Session()
    http.trust_env = False  # no proxy leads to this machine
    try:
        assert process.stdout is not None
        lines = (line for line in process.stdout if "started successfully on port" in line)
        port = next(lines).rstrip().rstrip(".").rpartition(" ")[2]
        arguments = [*OPTIONS, f"--user-data-dir={folder / 'profile'}", *options]
        wanted: dict[str, Any] = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": chromium, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        base = f"http://127.0.0.1:{port}/session"
        body = {"capabilities": {"alwaysMatch": wanted}}
        answer = http.post(base, json=body, timeout=PATIENCE_SECONDS).json()["value"]
        assert "sessionId" in answer, answer
        session = f"{base}/{answer['sessionId']}"
        try:
            yield Browser(session, http)
        finally:
            http.delete(session, timeout=PATIENCE_SECONDS)
    finally:
        http.close()
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
