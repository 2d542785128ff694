"""Take the documents' pictures: `python docs/take_screenshots.py demo docs/screenshots`.

Needs playwright and Debian's chromium, as the tests do. Nothing but pages on disk is opened. With a third argument it
takes head, list and one turn at three widths, light and dark, into that folder: for looking at after a change.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
DESKTOP, PHONE, WIDE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}, {"width": 2000, "height": 1100}


def main() -> None:
    """The report in light and dark, its list, one turn, on a phone; the page that people vote on."""
    from playwright.sync_api import sync_playwright

    from duel import settings
    from duel.stages import review
    from duel.workspace import Workspace

    workspace, pictures = Path(sys.argv[1]).absolute(), Path(sys.argv[2])
    page_url = (workspace / "report" / "index.html").as_uri()
    best = min(path.stem for path in (workspace / "final").glob("*.json"))
    ballots = workspace / "review" / "reader.html"
    review.run(Workspace(workspace), settings.load(workspace), rater="reader", page=ballots)
    views = {
        "page-light": (page_url, DESKTOP, "light"),
        "page-dark": (page_url, DESKTOP, "dark"),
        "turn": (f"{page_url}#{best}", DESKTOP, "light"),
        "phone": (page_url, PHONE, "light"),
        "review": (ballots.as_uri(), DESKTOP, "light"),
        "review-dark": (ballots.as_uri(), DESKTOP, "dark"),
        "review-phone": (ballots.as_uri(), PHONE, "light"),
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name, (url, size, scheme) in views.items():
            page = opened(browser, url, size, scheme)
            page.screenshot(path=str(pictures / f"{name}.png"))
            if name == "page-light":
                take_list(page, pictures / "list.png")
            page.close()
        if len(sys.argv) > 3:
            take_all(browser, page_url, Path(sys.argv[3]))
        browser.close()


def opened(browser: Any, url: str, size: dict[str, int], scheme: str) -> Any:
    page = browser.new_page(viewport=size, color_scheme=scheme, device_scale_factor=1)
    page.goto(url)
    page.wait_for_load_state("networkidle")
    return page


def take_list(page: Any, picture: Path) -> None:
    page.evaluate("document.getElementById('turns').scrollIntoView()")
    page.screenshot(path=str(picture))


def take_all(browser: Any, url: str, folder: Path) -> None:
    """Head, list and the first turn at three widths, light and dark."""
    for name, size in {"desktop": DESKTOP, "phone": PHONE, "wide": WIDE}.items():
        for scheme in ("light", "dark"):
            page = opened(browser, url, size, scheme)
            page.screenshot(path=str(folder / f"{name}-{scheme}.png"))
            take_list(page, folder / f"{name}-{scheme}-list.png")
            page.locator("#rows a").first.click()
            page.wait_for_selector(".reply.challenger")
            page.screenshot(path=str(folder / f"{name}-{scheme}-turn.png"))
            page.close()


if __name__ == "__main__":
    main()
