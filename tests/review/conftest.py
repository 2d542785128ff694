"""A workspace of judged turns, and a real browser for the page people vote on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from duel.workspace import Workspace
from tests.reporting.conftest import browser, shot
from tests.reporting.workspaces import build

__all__ = ["browser", "shot"]


@pytest.fixture(scope="session")
def judged_turns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 of them, for each test to copy."""
    return build(tmp_path_factory.mktemp("judged") / "work", 120)


@pytest.fixture
def workspace(judged_turns: Path, tmp_path: Path) -> Workspace:
    """120 judged turns."""
    return Workspace(shutil.copytree(judged_turns, tmp_path / "work"))


class Tab:
    """A tab that notes what must not happen, and keeps what is downloaded."""

    def __init__(self, browser: Any, clock: bool = False, **options: Any) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        if clock:  # one that can be moved forward: it runs as any other until then
            self.page.clock.install()
        self.requests: list[str] = []
        self.trouble: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.trouble.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.context.on("page", lambda opened: self.trouble.append(f"window {opened.url}"))

    def _heard(self, line: Any) -> None:
        # A server that is down is told in the page; the browser tells it on the console as well.
        if line.type in {"error", "warning"} and "ERR_CONNECTION_REFUSED" not in line.text:
            self.trouble.append(line.text)

    def forget(self) -> None:
        """Make it a tab that nobody has used."""
        self.page.evaluate("localStorage.clear()")
        self.page.goto("about:blank")
        self.requests.clear()
        self.trouble.clear()

    def open(self, address: str) -> Any:
        """The page, once its first pair is there."""
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready=yes]", state="attached")
        return self.page

    def assert_quiet(self, *own: str) -> None:
        """Nothing but the page itself was asked for, and nothing was complained of."""
        assert [url for url in self.requests if not url.startswith((*own, "blob:"))] == []
        assert self.trouble == []


@pytest.fixture(scope="module")
def plain_tab(browser: Any) -> Tab:
    """The tab of every test that asks for nothing special: a new one takes a process, and three times as long."""
    return Tab(browser)


@pytest.fixture
def tab(browser: Any, plain_tab: Tab) -> Iterator[Callable[..., Tab]]:
    """Open a tab: `tab()`, `tab(clock=True)` or `tab(viewport=…, color_scheme="dark")`."""
    opened: list[Tab] = []

    def make(**options: Any) -> Tab:
        opened.append(Tab(browser, **options) if options or opened else plain_tab)
        return opened[-1]

    yield make
    for one in opened:
        if one is plain_tab:
            one.forget()
        else:
            one.context.close()
