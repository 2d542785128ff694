"""What waits in a file comes back as it was, and leaves nothing behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duel.errors import UserError
from duel.exports.example import SpilledMessages
from duel.records import Message
from duel.spill import Spill

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.lists(TEXT, max_size=3), max_size=6))
def test_values_come_back_in_any_order(values: list[list[str]]) -> None:
    spill = Spill()
    places = [spill.put(value) for value in values]
    assert [place.value() for place in reversed(places)] == values[::-1]


def test_nothing_lies_in_the_folder_meanwhile_or_later(tmp_path: Path) -> None:
    place = Spill(tmp_path).put(["here"])
    assert not [*tmp_path.iterdir()]
    assert place.value() == ["here"]


def test_a_full_disk_is_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    spill = Spill(tmp_path)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match="the disk is full"):
        spill.put("x")


@given(st.lists(TEXT, min_size=1, max_size=5), st.lists(TEXT, min_size=1, max_size=5))
def test_a_conversation_reads_as_its_messages_do(one: list[str], other: list[str]) -> None:
    spill = Spill()
    first, second = (tuple(Message(role="user", content=text, name="n") for text in texts) for texts in (one, other))
    waiting = [SpilledMessages(messages, spill) for messages in (first, second)]
    for messages, spilled in zip((first, second, first), (*waiting, waiting[0]), strict=True):
        assert len(spilled) == len(messages)
        assert tuple(spilled) == messages == spilled[:]
        assert spilled[-1] == messages[-1]
        assert spilled[-1].model_dump() == messages[-1].model_dump()
    assert waiting[0].rewritten(first) is waiting[0]
    assert tuple(waiting[0].rewritten(second)) == second


def test_the_newest_values_wait_in_memory_and_what_nobody_holds_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: (written.append(at), write(file, data, at))[1])
    spill = Spill(tmp_path, newest=2)
    kept = [spill.put([number]) for number in range(3)]
    assert len(written) == 1
    kept.append(spill.put(["replaced"]))
    del kept[-1]
    kept += [spill.put([number]) for number in (3, 4)]
    assert len(written) == 3
    assert [place.value() for place in kept] == [[0], [1], [2], [3], [4]]
