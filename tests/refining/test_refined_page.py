"""The page shows what stands in final/ in the challenger's place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.refining.conftest import Story
from tests.refining.world import World
from tests.reporting.conftest import browser, tab, tabs

__all__ = ["browser", "tab", "tabs"]


def test_an_opened_turn_shows_the_rewrite_that_took_its_place(
    story: Callable[..., Story], request: pytest.FixtureRequest
) -> None:
    told = story(World(gain=0.6, words="glance"), 15, "\n[refine]\nfrom = 0\n")
    told.refine()
    stem, kept = next((stem, kept) for stem, kept in told.final().items() if kept.lineage)
    watched = request.getfixturevalue("tab")()
    page = watched.open(told.workspace.root, f"#{stem}")
    page.wait_for_selector("text=Rewrite in final/")
    assert "glance" in page.inner_text("#turn") and "against its parent" in page.inner_text("#turn")
    other = next(stem for stem in told.answers() if stem not in told.final())
    page.evaluate(f"location.hash = '#{other}'")
    page.wait_for_function(f"document.title.startsWith('{other}')")
    assert "Rewrite in final/" not in page.inner_text("#turn")
    watched.assert_quiet()
    assert kept.challenger
