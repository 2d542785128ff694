"""Take the README's pictures of a report's page: `python docs/take_screenshots.py demo docs/screenshots`.

Needs playwright and Debian's chromium, as the tests do. Nothing but the page on disk is opened.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
SIZES = {
    "page": {"width": 1280, "height": 860},
    "phone": {"width": 390, "height": 844},
    "wide": {"width": 2000, "height": 1100},
}


def main() -> None:
    """Head, list and one turn at three widths, light and dark; the README shows some of them."""
    from playwright.sync_api import sync_playwright

    workspace, pictures = Path(sys.argv[1]).absolute(), Path(sys.argv[2])
    pictures.mkdir(parents=True, exist_ok=True)
    page_url = (workspace / "report" / "index.html").as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name, size in SIZES.items():
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
                page.goto(page_url)
                page.wait_for_selector("html[data-ready=yes]", state="attached")
                page.screenshot(path=str(pictures / f"{name}-{scheme}.png"))
                page.evaluate("document.getElementById('turns').scrollIntoView()")
                page.screenshot(path=str(pictures / f"{name}-{scheme}-list.png"))
                page.locator("#rows a").first.click()
                page.wait_for_selector(".reply.challenger")
                page.screenshot(path=str(pictures / f"{name}-{scheme}-turn.png"))
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
