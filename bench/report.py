"""The report over 10,000 judged turns: seconds and memory to write it, seconds for the browser to open it.

    python -m bench.report [--turns 10000] [--workspace DIR]

Makes a seeded workspace with histories of 20 to 60 KB (kept where --workspace names a folder), runs report.py twice,
and opens index.html in headless Chromium where it is installed. Budget: 10 s, 400 MB, 2 s; 100,000 turns: 60 s.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.reporting.workspaces import build  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=10_000)
    parser.add_argument("--workspace", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.workspace or Path(folder)
        if not (root / "score").is_dir():
            build(root, arguments.turns, history=(20_000, 60_000), size=2)
        for label in ("first run", "second run"):
            wall, cpu = timed([sys.executable, str(ROOT / "report.py"), "--workspace", str(root)])
            print(f"{label:<12}{wall:6.2f} s  {cpu:6.2f} s of CPU", flush=True)
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        size = (root / "report" / "index.html").stat().st_size / 1e6
        print(f"memory at most {memory:.0f} MB, index.html {size:.1f} MB", flush=True)
        open_page(root)


def timed(call: list[str]) -> tuple[float, float]:
    """Seconds on the clock and of CPU."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(call, check=True, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def open_page(root: Path) -> None:
    """Open the page, a turn, and search: what a reader waits for."""
    import shutil

    program = shutil.which("chromium")
    if program is None:
        print("chromium is not installed: the page was not opened")
        return
    from playwright.sync_api import sync_playwright

    from tests.reporting.conftest import FLAGS, Watched

    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=FLAGS)
        watched = Watched(browser)
        start = time.perf_counter()
        page = watched.open(root)
        ready = time.perf_counter() - start
        page.keyboard.press("j")
        start = time.perf_counter()
        page.keyboard.press("Enter")
        page.wait_for_selector(".reply.challenger")
        opened = time.perf_counter() - start
        page.keyboard.press("Escape")
        keys = page.evaluate(KEYS)
        print(f"index.html ready after {ready:.2f} s, a turn after {opened:.2f} s", flush=True)
        print(
            f"a first key in the search is answered after {keys[0]:.0f} ms, the next after {max(keys[1:]):.0f} at most"
        )
        assert watched.trouble == []  # many turns lie in files beside the page, which it asks for
        browser.close()


# Milliseconds from a key to the frame that shows its answer.
KEYS = """async () => {
  const query = document.getElementById('query');
  const taken = [];
  for (const text of ['r', 're', 'res', 'rese']) {
    const start = performance.now();
    query.value = text;
    query.dispatchEvent(new Event('input'));
    await new Promise(shown => requestAnimationFrame(() => setTimeout(shown)));
    taken.push(performance.now() - start);
    await new Promise(rest => setTimeout(rest, 400));
  }
  return taken;
}"""


if __name__ == "__main__":
    main()
