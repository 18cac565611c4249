"""A browser for tests: headless Chromium over its DevTools protocol on a pipe, with nothing else installed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]
SECONDS = 30.0


def find_chromium() -> str | None:
    """The browser's path, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


class Browser:
    """One page. `complaints` are errors of scripts, and what the console or the content policy said."""

    def __init__(self, chromium: str, profile: Path, *, width: int = 1360, height: int = 900) -> None:
        down, self._write = os.pipe()
        self._read, up = os.pipe()
        command = [chromium, *QUIET, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
        # Chromium reads commands from file descriptor 3 and writes to 4.
        script = f'exec "$@" 3<&{down} 4>&{up}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "-", *command],
            pass_fds=(down, up),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(down)
        os.close(up)
        self._buffer, self._n, self._session = b"", 0, ""
        self._events: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol and its result."""
        self._n += 1
        message = {"id": self._n, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            got = self._next()
            if got.get("id") == self._n:
                if "error" in got:
                    raise RuntimeError(f"{method}: {got['error']}")
                return dict(got["result"])
            self._note(got)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._read, 1 << 16)
            if not data:
                raise RuntimeError("the browser has gone")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, event: dict[str, Any]) -> None:
        method, said = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(said["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.complaints.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self._events.append(said["request"])

    @property
    def requested(self) -> list[str]:
        """Every address that was asked for."""
        return [each["url"] for each in self._events]

    def open(self, address: str) -> None:
        """Go to an address and wait until it is there."""
        self.run("window.left = true")
        self.call("Page.navigate", url=address)
        self.wait("!window.left && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        got = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in got:
            raise RuntimeError(json.dumps(got["exceptionDetails"])[:500])
        return got["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until an expression holds; raises TimeoutError."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            try:
                if self.run(f"Boolean({script})"):
                    return
            except RuntimeError:  # between two pages there is nothing to ask
                pass
            time.sleep(0.03)
        raise TimeoutError(f"{script} never held; the page says: {self.text()[:1500]}")

    def click(self, selector: str) -> None:
        """Click what a selector finds first."""
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def fill(self, selector: str, value: str) -> None:
        """Put a value into an input, as typing does."""
        at = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{at}.value = {json.dumps(value)}; {at}.dispatchEvent(new Event('input', {{bubbles: true}}))")

    def choose_file(self, selector: str, path: Path) -> None:
        """Give a file input a file."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def text(self) -> str:
        """What the page shows."""
        return str(self.run("document.body.innerText"))

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 3000), "scale": 1}
        got = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(got["data"]))
