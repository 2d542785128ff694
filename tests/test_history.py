"""Long histories: what is left out is said, what is newest stays."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from duel.history import fit, history_tokens
from duel.records import Message


def conversation(turns: int, size: int = 300) -> list[Message]:
    messages = [Message(role="system", content="rules"), Message(role="user", content="the task")]
    for number in range(turns):
        messages.append(Message(role="assistant", content=f"step {number} " + "a" * size))
        messages.append(Message(role="user", content=f"output {number} " + "b" * size))
    return messages


def test_a_history_that_fits_is_left_alone() -> None:
    messages = conversation(3)
    assert fit(messages, 10_000) == messages


def test_the_oldest_turns_go_behind_a_visible_marker() -> None:
    fitted = fit(conversation(20), 1500)
    assert history_tokens(fitted) <= 1500
    assert fitted[0].content == "rules"
    assert fitted[1].content.startswith("the task")
    assert "earlier messages are left out" in fitted[1].content
    assert fitted[-1].content.startswith("output 19")


def test_roles_still_alternate_after_fitting() -> None:
    roles = [message.role for message in fit(conversation(20), 1500)]
    assert all(first != second for first, second in pairwise(roles))


def test_one_enormous_observation_loses_its_middle() -> None:
    messages = [
        *conversation(1),
        Message(role="assistant", content="cat big"),
        Message(role="user", content="x" * 90_000),
    ]
    fitted = fit(messages, 2000)
    assert history_tokens(fitted) <= 2000
    assert "characters are left out here" in fitted[-1].content
    assert fitted[-1].content.startswith("xxx")


@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(max_size=400)), min_size=1, max_size=20),
    st.integers(300, 4000),
)
def test_fitting_never_raises_never_grows_and_keeps_the_last_message(parts: list[tuple[str, str]], limit: int) -> None:
    messages = [Message(role="system", content="s"), *(Message(role=r, content=c) for r, c in parts)]  # type: ignore[arg-type]
    fitted = fit(messages, limit)
    assert history_tokens(fitted) <= max(history_tokens(messages), limit)
    assert fitted[-1].role == messages[-1].role
    if history_tokens(messages) <= limit:
        assert fitted == messages
