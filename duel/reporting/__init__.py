"""Pages for people: the report in Markdown, the page for the browser, charts, and the buckets of kept turns."""

from functools import cache
from importlib import resources


@cache
def page_file(name: str, folder: str = "reporting/page") -> str:
    return (resources.files("duel") / folder / name).read_text(encoding="utf-8")
