"""Opening a page in headless Chromium, where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
QUIET += ("--disable-background-networking", "--disable-component-update", "--hide-scrollbars")
# Before anything of the page runs: errors are written where the test reads them; and frames come by the clock, for a
# browser that writes the document out makes two or three and then no more.
WATCH = """<script>
window.requestAnimationFrame = (act) => setTimeout(() => act(performance.now()), 16);
addEventListener("error", (e) => {
  document.documentElement.dataset.errors = (document.documentElement.dataset.errors || "") + e.message + ";";
});</script>"""

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=f"no browser: none of {', '.join(NAMES)} is on the PATH")


@dataclass(frozen=True)
class Opened:
    """What the browser had in the end. elements: attributes by id, `html` for the root; pressed: of the buttons
    that are pressed or not, in order; console: lines; seconds: all."""

    elements: dict[str, dict[str, str]]
    pressed: list[str]
    console: list[str]
    seconds: float

    def number(self, name: str, of: str = "canvas") -> float:
        return float(self.elements[of][f"data-{name}"])


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, dict[str, str]] = {}
        self.pressed: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "aria-pressed" in values:
            self.pressed.append(values["aria-pressed"])
        if tag == "html" or "id" in values:
            self.found[values.get("id", tag)] = values | {"tag": tag}


def open_page(page: Path, folder: Path, script: str = "", width: int = 1280, flags: tuple[str, ...] = ()) -> Opened:
    """Open a copy of the page that watches for errors, run `script` in it after the page's own, and read it back.

    What the script leaves in `document.documentElement.dataset` is in `elements["html"]`.
    """
    html = page.read_text(encoding="utf-8").replace("<head>", f"<head>{WATCH}", 1)
    copy = folder / "watched.html"
    copy.write_text(html.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    profile = folder / f"profile-{time.monotonic_ns()}"
    words = [*QUIET, *flags, "--enable-logging=stderr", f"--user-data-dir={profile}", f"--window-size={width},900"]
    start = time.monotonic()
    done = subprocess.run(
        [CHROMIUM, *words, "--virtual-time-budget=4000", "--dump-dom", copy.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    seconds = time.monotonic() - start
    parser = _Elements()
    parser.feed(done.stdout)
    console = re.findall(r".*CONSOLE.*", done.stderr)
    return Opened(parser.found, parser.pressed, console, seconds)
