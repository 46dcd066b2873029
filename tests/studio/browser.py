"""A studio as a process of its own, and a browser that looks at it and at nothing else."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

import semiseg

STATIC = Path(semiseg.__file__).parent / "studio" / "static"
ROOT = Path(__file__).parents[2]

FLAGS = (
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--no-first-run",
)
"""No network of the browser's own, and WebGL drawn by the processor."""

SECONDS = 180
"""How long a page may take on a busy machine."""


def needed() -> str:
    """The browser's program; skips the test, and says why, where something is missing."""
    pytest.importorskip("playwright", reason="needs `pip install playwright`")
    if not (STATIC / "index.html").is_file():
        pytest.skip("the pages are not built: make web")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip("no Chromium: apt-get install chromium, or CHROMIUM=/path/to/it")
    return found


@dataclass
class Studio:
    """A running server.

    Attributes:
        url: without a slash at the end.
        folder: the dataset.
        process: to kill.
    """

    url: str
    folder: Path
    process: subprocess.Popen[str]

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(SECONDS)


@contextlib.contextmanager
def serving(folder: Path, *options: str, port: int = 0) -> Iterator[Studio]:
    """Serve a dataset in another process until the block ends."""
    command = [
        sys.executable,
        "-m",
        "semiseg",
        "studio",
        str(folder),
        "--port",
        str(port),
        "--json",
        *options,
    ]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    ) as process:
        studio = Studio("", folder, process)
        try:
            studio.url = json.loads(_first_object(process))["url"].rstrip("/")
            yield studio
        finally:
            studio.stop()


def _first_object(process: subprocess.Popen[str]) -> str:
    """What a process says up to the end of its first JSON object."""
    assert process.stdout is not None
    text = ""
    while not text.endswith("}\n"):
        line = process.stdout.readline()
        assert line, f"the server ended with {process.wait()}"
        text += line
    return text


@dataclass
class Watched:
    """A page, and what should not have happened on it."""

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        page = self.page
        page.set_default_timeout(SECONDS * 1000)
        page.on(
            "console",
            lambda m: self.wrong.append(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda e: self.wrong.append(f"uncaught: {e}"))
        page.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.url + "/", "data:", "blob:")):
            self.wrong.append(f"request off the host: {request.url}")

    def go(self, address: str) -> None:
        self.page.goto(f"{self.url}/#/{address}")

    def case(self, name: str) -> None:
        """Open a case and wait until it can be drawn on."""
        self.go(f"case/{name}")
        self.opened(name)

    def opened(self, name: str) -> None:
        self.page.locator("h1", has_text=name).wait_for()
        self.page.wait_for_selector('.stage[data-ready="true"], .failure')
        assert not self.page.locator(".failure").count(), self.page.locator(".failure").inner_text()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def stroke(self, *places: tuple[float, float]) -> None:
        """Draw through places: shares of the scan's part of the screen, from its upper left corner."""
        box = self.page.locator("canvas.scan").bounding_box()
        assert box
        points = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in places]
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*point, steps=6)
        self.page.mouse.up()

    def told(self, text: str) -> None:
        """Wait for a notice, and take it away."""
        note = self.page.locator(".toast", has_text=text).first
        note.wait_for()
        with contextlib.suppress(
            Exception
        ):  # it goes by itself after some seconds, on a busy machine before this
            note.get_by_role("button").click(timeout=3000)

    def picture(self, name: str) -> None:
        """Write a picture for the docs where ``PICTURES`` names a folder."""
        if folder := os.environ.get("PICTURES"):
            from PIL import Image

            self.page.wait_for_timeout(1500)
            with Image.open(io.BytesIO(self.page.screenshot())) as shot:
                shot.save(Path(folder) / f"{name}.webp", quality=80, method=6)

    def facts(self) -> str:
        return str(self.page.locator("section[aria-label=Case]").inner_text())


@contextlib.contextmanager
def chromium(program: str) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


def look(browser: Browser, url: str, *, theme: str = "dark") -> Watched:
    """A page of a fresh profile; small, because a processor draws it, but for pictures."""
    size = {"width": 1440, "height": 900} if os.environ.get("PICTURES") else {"width": 1000, "height": 700}
    context = browser.new_context(viewport=size)
    context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    return Watched(context.new_page(), url)
