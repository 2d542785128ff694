"""Requests that the stand-in words are as unlike each other as those of real users."""

from __future__ import annotations

import asyncio
import random
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from duel import offline, settings
from duel.bookkeeping import LeftOut
from duel.execution.executor import Start
from duel.offline.rules import row_words
from duel.records import Message
from duel.scaling import episodes, likeness, table
from duel.scaling.phrasing import Phrasing
from duel.scaling.plans import Ground, Place
from duel.scaling.scaled_rows import ScaledRow
from tests.conftest import ROOT


def bundled_grounds() -> list[Ground]:
    """The definitions of each bundled repository, read from its files without a sandbox."""
    grounds = []
    for file in sorted((ROOT / "tools" / "recording" / "repositories").iterdir()):
        last: dict[str, str] = {}
        for commit in tomllib.loads(file.read_text("utf-8"))["commits"]:
            last |= commit.get("files", {})
        places: dict[str, Place] = {}
        for path, text in last.items():
            for number, line in enumerate(text.splitlines(), 1):
                for known in table("ground")["defined"]:
                    fits = "test" not in path and path.rpartition(".")[2] in known["suffixes"].split()
                    if fits and (found := re.match(known["head"], line)):
                        below = [*text.splitlines(), ""][number]
                        places.setdefault(found[1], Place(found[1], path, number, line, below))
        grounds.append(Ground([*places.values()], "1a2b3c4d5e", "make -s test"))
    return grounds


def drawn_rows(count: int, monkeypatch: pytest.MonkeyPatch) -> list[ScaledRow]:
    grounds = bundled_grounds()
    starts = [(Start(f"acme/r{number}", f"{number:040x}"), "MIT") for number in range(6 * len(grounds))]

    async def state(start: Start) -> SimpleNamespace:
        return SimpleNamespace(commit=start.commit, close=close)

    async def close() -> None:
        pass

    async def survey(state: Any) -> Ground:
        return grounds[int(state.commit, 16) % len(grounds)]

    monkeypatch.setattr(episodes, "survey", survey)

    async def plans() -> list[ScaledRow]:
        rows = []
        for _, draft, _ in await episodes._drawn(SimpleNamespace(state=state), starts, count, 0, LeftOut()):
            [request] = draft.made["asked"]
            rows.append(draft.model_copy(update={"messages": [Message(role="user", content=request)]}))
        return rows

    return asyncio.run(plans())


def test_five_hundred_requests_of_the_stand_in_are_as_varied_as_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    flags, defaults = offline.overrides(True)
    rows, drops = drawn_rows(800, monkeypatch), LeftOut()
    phrasing = Phrasing(settings.load(Path("/nonexistent"), flags, defaults), b"secret", drops)
    for row, job in zip(rows, phrasing.jobs(rows), strict=True):
        said = row_words.reply(job.requests()[0].messages)
        job.wanted[0].check(said, 0.5, said)
        row.messages[0].content = said
    kept = sorted(likeness.varied(rows, drops), key=lambda row: random.Random(row.id).random())[: likeness.SAMPLE]
    assert len(kept) == likeness.SAMPLE
    found = likeness.figures(kept)
    worded = ("distinct frames", "near-duplicates", "distinct-2", "self-BLEU-4")
    assert [line for line in likeness.missed(found) if line.startswith(worded)] == []
