"""A headless Chromium, driven over a pipe in its DevTools protocol: no package and no driver besides the browser.

https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WAITS = 30.0  # seconds for an answer or a state
SETTINGS = ["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--no-first-run", "--disable-gpu",
            "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
            "--disable-extensions", "--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb",
            "--mute-audio"]  # fmt: skip
SLOW_GL = "--enable-unsafe-swiftshader"  # WebGL without a GPU, for TensorBoard's projector


class BrowserError(Exception):
    """The browser answered with an error, too late, or not at all."""


def program() -> str | None:
    """The path of an installed browser. FROSTLINE_TEST_BROWSER names another."""
    named = [name] if (name := os.environ.get("FROSTLINE_TEST_BROWSER")) else PROGRAMS
    return next((path for name in named if (path := shutil.which(name))), None)


# A mark, because it is seen before the fixtures of a session train a run.
needs_browser = pytest.mark.skipif(
    program() is None, reason=f"no browser: {', '.join(PROGRAMS)} (FROSTLINE_TEST_BROWSER names another)"
)


@contextmanager
def browser(profile: Path) -> Iterator["Tab"]:
    """A tab of a browser that ends with the block. profile: an empty folder."""
    receives, sends = os.pipe()
    hears, tells = os.pipe()
    command = [str(program()), *SETTINGS, SLOW_GL, f"--user-data-dir={profile}", "about:blank"]
    script = f'exec "$@" 3<&{receives} 4>&{tells}'  # the protocol's own descriptors
    with (profile / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command], pass_fds=(receives, tells), stdout=log, stderr=log
        )
    os.close(receives)
    os.close(tells)
    try:
        yield Tab(sends, hears)
    finally:
        os.close(sends)  # the browser ends when its pipe does
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(hears)


class Tab:
    """requests: addresses since the last `open`. errors: of the console, of scripts and of the browser since then."""

    def __init__(self, sends: int, hears: int) -> None:
        self._sends, self._hears = sends, hears
        self._read, self._number, self._session = b"", 0, ""
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    # --- the protocol ---

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        content = json.dumps(message).encode() + b"\0"
        while content:
            content = content[os.write(self._sends, content) :]
        deadline = time.monotonic() + WAITS
        while (answer := self._next(deadline)).get("id") != self._number:
            self._note(answer)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        return dict(answer["result"])

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._read:
            if not select.select([self._hears], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BrowserError(f"no answer within {WAITS:g} s")
            content = os.read(self._hears, 1 << 20)
            if not content:
                raise BrowserError("the browser ended; browser.log in its profile may say why")
            self._read += content
        first, _, self._read = self._read.partition(b"\0")
        return dict(json.loads(first))

    def _note(self, event: dict[str, Any]) -> None:
        about = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(about["request"]["url"][:200])  # data: may be long
            case "Runtime.exceptionThrown":
                details = about["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description", details["text"]))
            case "Runtime.consoleAPICalled" if about["type"] in ("error", "assert"):
                self.errors.append(" ".join(str(it.get("value", it.get("description"))) for it in about["args"]))
            case "Log.entryAdded" if about["entry"]["level"] == "error":
                self.errors.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")

    # --- what a person does ---

    def open(self, address: str) -> None:
        """Wait until the page and what it names are loaded."""
        self.requests, self.errors = [], []
        if error := self.call("Page.navigate", url=address).get("errorText"):
            raise BrowserError(f"{address}: {error}")
        self.until("document.readyState === 'complete'")

    def look(self, width: int = 1280, scheme: str = "light", height: int = 900, media: str = "screen") -> None:
        """width, height: of the window, in pixels. scheme: light or dark. media: screen or print."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call(
            "Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited if it is a promise."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise BrowserError(str(found["exceptionDetails"].get("exception", {}).get("description")))
        return found["result"].get("value")

    def until(self, script: str, seconds: float = WAITS) -> Any:
        """The first value of an expression that is true."""
        deadline = time.monotonic() + seconds
        while not (found := self.run(script)):
            if time.monotonic() > deadline:
                raise BrowserError(f"not within {seconds:g} s: {script}")
            time.sleep(0.05)
        return found

    def click(self, element: str) -> None:
        """Click with the mouse. element: an expression for it, such as document.body."""
        at = self.run(
            f"(() => {{ const it = {element}; it.scrollIntoView({{block: 'center', behavior: 'instant'}});"
            " const box = it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        place = {"x": at[0], "y": at[1], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **place)

    def press(self, key: str) -> None:
        """key: Tab, Enter or a space."""
        code, number, text = {"Tab": ("Tab", 9, ""), "Enter": ("Enter", 13, "\r"), " ": ("Space", 32, " ")}[key]
        names = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **names)
        self.call("Input.dispatchKeyEvent", type="keyUp", **names)

    def shoot(self, file: Path, *, whole: bool = True) -> None:
        """Write a PNG. whole: of the whole page, not of the window alone."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        file.write_bytes(base64.b64decode(shot["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16_000), "scale": 1}}
