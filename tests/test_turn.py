"""One agent turn: what is well-formed training text and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duel.turn import blocks, command, format_ok, format_problem, thought

GOOD = "THOUGHT: look first\n\n```bash\nls -la\n```"


def test_a_turn_with_one_block_is_well_formed() -> None:
    assert format_ok(GOOD)
    assert command(GOOD) == "ls -la"
    assert thought(GOOD) == "look first"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("   \n", "empty"),
        ("I think we are done.", "no-block"),
        ("```python\nprint()\n```", "no-block"),
        (GOOD + "\n\n```bash\npwd\n```", "several-blocks"),
        ("THOUGHT: x\n```bash\n\n```", "empty-block"),
        ("THOUGHT: x\n```bash\n```", "empty-block"),
        ("THOUGHT: x\n```bash\nls", "open-block"),
        (GOOD + "\n```bash\npw", "open-block"),
        ("<|tool_calls_section_begin|>functions.bash:0", "leaked-tool-tokens"),
        (GOOD + "<|tool_call_end|>", "leaked-tool-tokens"),
        ("<tool_call>{}</tool_call>\n" + GOOD, "leaked-tool-tokens"),
    ],
)
def test_a_malformed_turn_is_refused_with_its_reason(text: str, problem: str) -> None:
    assert format_problem(text) == problem
    assert not format_ok(text)


def test_a_cut_reply_is_refused_however_it_looks() -> None:
    assert format_problem(GOOD, "length") == "cut"


def test_the_second_agent_version_has_its_own_fence() -> None:
    assert command("x\n```mswea_bash_command\nls\n```") == "ls"


@pytest.mark.parametrize("space", [" ", "\t", "\r", "\u00a0", "\u2009 "])
def test_white_space_behind_the_fence_is_no_other_fence(space: str) -> None:
    """The harness's own pattern allows any: models write a no-break space there."""
    assert command(f"x\n```bash{space}\nls\n```") == "ls"


def test_backticks_inside_a_command_do_not_end_it() -> None:
    text = "THOUGHT: x\n\n```bash\necho '```' && ls\n```"
    assert blocks(text) == ["echo '```' && ls"]


@given(st.text())
def test_no_text_raises(text: str) -> None:
    format_problem(text)
    thought(text)
    command(text)


def test_the_real_turns_hold_the_several_block_replies_that_were_counted(shared) -> None:  # type: ignore[no-untyped-def]
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(shared / "mini_swe_agent" / "train-00000.parquet").to_pylist()
    turns = [m["content"] for row in rows for m in row["messages"] if m["role"] == "assistant"]
    assert len(turns) == 1250
    assert sum(len(blocks(turn)) > 1 for turn in turns) == 31
