"""A real browser for the page: headless Chromium, offline."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Finished, run_command
from tests.reporting.hostile import build_hostile
from tests.reporting.workspaces import build

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser")
FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage --force-color-profile=srgb""".split()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for one file of tests: while it is open, an event loop runs in this thread.

    The headless shell draws the same pages with two thirds of the whole browser's CPU. Where neither is installed the
    tests are skipped, but in CI they fail.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed, and CI may not skip the page's tests")
        pytest.skip("chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=program, args=FLAGS)
        yield chromium
        chromium.close()


class Watched:
    """A tab that notes what must not happen: requests, errors on the console, dialogs, downloads, new windows."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(offline=True, **({"viewport": {"width": 1280, "height": 900}} | options))
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.requests, self.trouble = list[str](), list[str]()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on(
            "console", lambda line: self.trouble.append(line.text) if line.type in {"error", "warning"} else None
        )
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.trouble.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.on("download", lambda download: self.trouble.append(f"download {download.url}"))
        self.context.on("page", lambda opened: self.trouble.append(f"window {opened.url}"))

    def open(self, workspace: Path, address: str = "") -> Any:
        """The report of `workspace`, loaded anew, once its list is there."""
        if address:  # from the same page a fragment leads nowhere else
            self.page.goto("about:blank")
        self.page.goto((workspace / "report" / "index.html").as_uri() + address)
        self.page.wait_for_selector("html[data-ready=yes]", state="attached")
        return self.page

    def assert_quiet(self) -> None:
        """Nothing but the page itself was asked for, and nothing was complained of."""
        assert [url for url in self.requests if not url.startswith(("file://", "blob:"))] == []
        assert all(url.split("#")[0].endswith("index.html") for url in self.requests), self.requests
        assert self.trouble == []

    def forget(self) -> None:
        """As new, for the next test: a tab of its own costs each test 0.7 s of the processor."""
        self.context.clear_permissions()
        self.page.evaluate("localStorage.clear()")
        self.requests, self.trouble = [], []


@pytest.fixture(scope="module")
def tabs() -> dict[str, list[Watched]]:
    """The tabs that no test uses now, by their options."""
    return {}


@pytest.fixture
def tab(browser: Any, tabs: dict[str, list[Watched]]) -> Iterator[Callable[..., Watched]]:
    """Open a watched tab: `tab()` or `tab(viewport=…, color_scheme="dark")`."""
    taken: list[tuple[str, Watched]] = []

    def make(**options: Any) -> Watched:
        free = tabs.setdefault(repr(options), [])
        taken.append((repr(options), free.pop() if free else Watched(browser, **options)))
        return taken[-1][1]

    yield make
    for options, watched in taken:
        watched.forget()
        tabs[options].append(watched)


@pytest.fixture
def shot() -> Callable[[Any, str], None]:
    """Save a screenshot into the folder that SHOTS names, for people to look at; without it there is none."""
    folder = os.environ.get("SHOTS")
    return lambda page, name: folder and page.screenshot(path=str(Path(folder) / f"{name}.png"))


def report(workspace: Path, *flags: str) -> Finished:
    """Run report.py over `workspace`."""
    return run_command("report.py", "--workspace", workspace, *flags)


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of 150 turns with its report, for the tests that only look at it."""
    root = build(tmp_path_factory.mktemp("judged"), 150)
    assert report(root).code == 0
    return root


NARROW = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True}


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hostile workspace with its report."""
    root = build_hostile(tmp_path_factory.mktemp("hostile"))
    assert report(root).code == 0
    return root


def found(page: Any) -> str:
    """What the list says it shows."""
    return str(page.inner_text("#found"))


def numbers(page: Any, column: str) -> list[float]:
    """The figures of a column, as far as rows are drawn."""
    return [float(text) for text in page.locator(f"#rows td.{column}").all_inner_texts() if text != "–"]


def open_first(page: Any) -> None:
    """Open the first turn of the list by keyboard."""
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector(".reply.challenger")


def no_sideways_scroll(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


# The least contrast (WCAG 2.2) of these colors on the page's grounds.
CONTRAST = """names => {
  const style = getComputedStyle(document.documentElement);
  const light = name => {
    const hex = style.getPropertyValue('--' + name).trim();
    const [r, g, b] = [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16) / 255)
      .map(c => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const grounds = ['page', 'paper', 'raised'];
  return Math.min(...names.flatMap(name => grounds.map(ground => ratio(light(name), light(ground)))));
}"""
