"""Take the README's pictures of both pages: `python docs/take_screenshots.py demo docs/screenshots`.

Needs playwright and Debian's chromium, as the tests do. Nothing but the page on disk is opened.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}


def main() -> None:
    """The report in light and dark, one turn, on a phone; the page that people vote on."""
    from playwright.sync_api import sync_playwright

    from duel import settings
    from duel.stages import review
    from duel.workspace import Workspace

    workspace, pictures = Path(sys.argv[1]).absolute(), Path(sys.argv[2])
    pictures.mkdir(parents=True, exist_ok=True)
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
            page = browser.new_page(viewport=size, color_scheme=scheme, device_scale_factor=1)  # type: ignore[arg-type]
            page.goto(url)
            page.wait_for_load_state("networkidle")
            if url == ballots.as_uri():
                page.keyboard.press("2")
            page.screenshot(path=str(pictures / f"{name}.png"))
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
