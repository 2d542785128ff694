"""Words for rows, by a model: what must survive survives, and nobody tells what was not observed."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duel import offline, settings
from duel.bookkeeping import LeftOut
from duel.calls import Reply, Request
from duel.offline.rules import row_words
from duel.scaling.phrasing import Phrasing, names_in
from duel.scaling.scaled_rows import ScaledRow
from tests.scaling.rows import row


def draft(**made: Any) -> ScaledRow:
    told = row("alpha", request="Where is total_price defined?", answer="`total_price` is in shop/tax.py, line 12.")
    told["messages"][2]["content"] = "shop/tax.py:12:def total_price(goods):"
    return ScaledRow.model_validate(
        told | {"made": {"kind": "locate", "asked": ["Where is total_price defined?"], "names": ["total_price"]} | made}
    )


class Model:
    """A model that says what it is told to: first of the request, then of each thought."""

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.asked: list[Request] = []
        self.rejected: list[str] = []

    async def __call__(self, request: Request) -> Reply:
        self.asked.append(request)
        thought = "NEXT CALL" in request.messages[-1]["content"]
        return Reply("I search for it." if thought else self.replies.pop(0))

    def reject(self, reply: Reply, reason: str) -> None:
        self.rejected.append(reason)


def worded(model: Any, told: ScaledRow) -> tuple[ScaledRow | None, LeftOut]:
    flags, defaults = offline.overrides(True)
    drops = LeftOut()
    phrasing = Phrasing(settings.load(Path("/nonexistent"), flags, defaults), b"secret", drops)
    [job] = phrasing.jobs([told])
    asyncio.run(job.work(model))
    return job.row, drops


def test_a_request_is_asked_again_until_its_names_are_in_it() -> None:
    model = Model("Where does it live?", "In which file is `total_price`?")
    made, _ = worded(model, draft())
    assert made is not None and made.messages[0].content == "In which file is `total_price`?"
    assert model.rejected == ["wording-loses-a-name"] and len(model.asked) == 2


def test_a_request_that_tells_the_answer_costs_the_row() -> None:
    made, drops = worded(Model(*["Is total_price in shop/tax.py?"] * 9), draft())
    assert made is None and drops == {"wording-names-more": 1}


def test_a_thought_is_asked_for_with_what_was_observed_before_it_alone() -> None:
    model = Model("Where is total_price?")
    made, _ = worded(model, draft(needs=["shop/tax.py:12:"]))
    assert made is not None and made.messages[1].content == "I search for it."
    [asked] = [request.messages[0]["content"] for request in model.asked if "NEXT CALL" in str(request.messages)]
    assert "total_price" in asked and "shop/tax.py" not in asked and "line 12" not in asked


@pytest.mark.parametrize(
    ("thought", "reason"),
    [
        ("It must be in shop/tax.py, so I search.", "wording-names-more"),
        ("A `def total_price(goods):` should turn up.", "wording-names-more"),
        ("", "wording-has-no-form"),
        ("```bash\nls\n```", "wording-has-no-form"),
    ],
)
def test_a_thought_that_knows_what_follows_costs_the_row(thought: str, reason: str) -> None:
    class Telling(Model):
        async def __call__(self, request: Request) -> Reply:
            reply = await super().__call__(request)
            return Reply(thought) if "NEXT CALL" in request.messages[-1]["content"] else reply

    made, drops = worded(Telling("Where is total_price?"), draft(needs=["x"]))
    assert made is None and drops == {reason: 1}


def test_the_leak_audit_finds_in_a_thought_what_only_the_rest_of_the_row_tells() -> None:
    told = draft(needs=["x"])
    told.messages[2].content = "core.py: the ledger keeps quarterly ballast coefficients in descending magnitude order"

    class Telling(Model):
        async def __call__(self, request: Request) -> Reply:
            reply = await super().__call__(request)
            known = "The ledger keeps quarterly ballast coefficients in descending magnitude order."
            return Reply(known) if "NEXT CALL" in request.messages[-1]["content"] else reply

    made, drops = worded(Telling("Where is total_price?"), told)
    assert made is None and drops == {"thought-tells-what-follows": 1}


@given(
    st.lists(st.from_regex(r"[a-z]{3,8}_[a-z]{3,8}", fullmatch=True), min_size=4, max_size=4, unique=True),
    st.sampled_from([kind for kind in row_words._grammar() if kind[0] != "["]),
    st.integers(),
)
def test_every_way_of_the_stand_in_keeps_the_names(names: list[str], kind: str, seed: int) -> None:
    draw = random.Random(seed)
    for way in row_words._grammar()[kind]:
        used = {int(digit) for digit in "1234" if f"${digit}" in way}
        said = row_words._filled(way, names, draw)
        assert "{" not in said and "$" not in said
        assert {number for number in used if names[number - 1] in said} == used


def test_what_must_survive() -> None:
    told = "Rename load_cfg to loadConfig in src/app/main.py, line 12 of `a b`; see README.md and v2.1, e.g. by hand."
    assert names_in(told) == ["load_cfg", "loadConfig", "src/app/main.py", "12", "a b", "README.md"]


def test_the_stand_in_says_the_same_in_every_workspace() -> None:
    flags, defaults = offline.overrides(True)
    chosen = settings.load(Path("/nonexistent"), flags, defaults)
    said = []
    for secret in (b"one", b"two"):
        [job] = Phrasing(chosen, secret, LeftOut()).jobs([draft(needs=["x"])])
        said.append([row_words.reply(request.messages) for request in job.requests()])
    assert said[0] == said[1] and len(said[0]) == 2
    assert json.dumps(said)
