"""Every format reads back to the turns that were written, and refuses what it cannot hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duel.conversation import dialogue
from duel.conversation.model import AgentReply
from duel.errors import ItemError, UserError
from duel.exports import dataset
from duel.exports.example import Example
from duel.exports.formats import FORMATS, named
from duel.exports.formats.tool_calls import anthropic_chat
from duel.records import Message
from tests.exports.conftest import example, turn

NATIVE = (
    Message(role="system", content="You edit code."),
    Message(role="user", content="Fix it."),
    Message.model_validate(
        {
            "role": "assistant",
            "content": "Two looks at once.",
            "tool_calls": [
                {"id": "toolu_9", "type": "function", "function": {"name": "Read", "arguments": {"file_path": "a.py"}}},
                {"id": "toolu_7", "type": "function", "function": {"name": "Bash", "arguments": '{"command": "ls"}'}},
            ],
        }
    ),
    Message.model_validate({"role": "tool", "content": "a.py\n", "tool_call_id": "toolu_7"}),
    Message.model_validate({"role": "tool", "content": "x = 1\n", "tool_call_id": "toolu_9"}),
    Message(role="user", content="Go on."),
    Message(role="assistant", content="It is `x`:\n```bash\nthis is no call\n```"),
)
TEXT_FORMATS = {"sft", "sft-completion", "chatml", "dpo", "reward", "kto", "lf-dpo", "lf-kto"}


def recorded(messages: tuple[Message, ...]) -> Example:
    return example(messages=messages, rejected="", score=None, recorded=True)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_reads_back_to_the_same_turns(name: str) -> None:
    form = FORMATS[name]
    rows = form.rows(example())
    assert len(rows) == (2 if name in {"kto", "lf-kto"} else 1)
    for row, part in zip(rows, form.rows_of(example()), strict=True):
        assert form.read(json.loads(json.dumps(row))) == part.turns()


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_survives_parquet(name: str, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    form = FORMATS[name]
    rows = form.rows(example()) + form.rows(example("wallet"))
    with dataset.writing(tmp_path, "train", form.schema) as written:
        for row in rows:
            written(row)
    table = pq.read_table(tmp_path / "train.parquet")
    assert [form.read(row) for row in table.to_pylist()] == [form.read(row) for row in rows]


@pytest.mark.parametrize("name", sorted(set(FORMATS) - TEXT_FORMATS))
def test_native_tool_calls_survive_and_get_ids_of_their_own(name: str) -> None:
    [row] = FORMATS[name].rows(recorded(NATIVE))
    turns = FORMATS[name].read(row)
    assert turns == recorded(NATIVE).turns()
    first = turns.entries[2]
    assert isinstance(first, AgentReply)
    assert [(call.id, call.name) for call in first.calls] == [("call_1", "Read"), ("call_2", "Bash")]
    assert [call.result for call in first.answered] == ["x = 1\n", "a.py\n"]  # in the order of the calls
    assert "toolu_" not in json.dumps(row)


@pytest.mark.parametrize("name", ["sft", "sft-completion", "chatml"])
def test_text_formats_refuse_native_tool_calls(name: str) -> None:
    with pytest.raises(ItemError, match="native tool calls"):
        FORMATS[name].rows(recorded(NATIVE))


def test_sft_is_exactly_what_the_model_sees_with_the_accepted_turn_last() -> None:
    [row] = FORMATS["sft"].rows(example())
    assert row["messages"] == [{"role": m.role, "content": m.content} for m in example().messages]
    assert row["messages"][-1]["content"] == example().accepted


def test_dpo_has_no_margin_and_reward_has_one_in_every_row() -> None:
    [pair] = FORMATS["dpo"].rows(example())
    [scored] = FORMATS["reward"].rows(example(score=75.0))
    assert "margin" not in pair
    assert scored["margin"] == 0.5
    assert {key: scored[key] for key in ("prompt", "chosen", "rejected")} == {
        key: pair[key] for key in ("prompt", "chosen", "rejected")
    }
    with pytest.raises(ItemError, match="no score"):
        FORMATS["reward"].rows(example(score=None))


def test_kto_labels_are_booleans() -> None:
    wanted, unwanted = FORMATS["kto"].rows(example())
    assert (wanted["label"], unwanted["label"]) == (True, False)
    assert unwanted["completion"][0]["content"] == example().rejected


def test_openai_arguments_are_text_and_trl_arguments_an_object() -> None:
    [openai] = FORMATS["openai-tools"].rows(example())
    [trl] = FORMATS["trl-tools"].rows(example())
    call = openai["messages"][2]["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]) == {"command": "grep -rn ledger src"}
    assert trl["messages"][2]["tool_calls"][0]["function"]["arguments"] == {"command": "grep -rn ledger src"}
    assert openai["messages"][3]["tool_call_id"] == call["id"]
    assert set(openai) == {"messages", "tools", "parallel_tool_calls"}  # the endpoint takes no further keys


def test_only_the_accepted_turn_of_a_duel_has_weight_at_openai() -> None:
    [duel] = FORMATS["openai-tools"].rows(example())
    [run] = FORMATS["openai-tools"].rows(example(recorded=True))
    assert [m.get("weight") for m in duel["messages"] if m["role"] == "assistant"] == [0, None]
    assert [m.get("weight") for m in run["messages"] if m["role"] == "assistant"] == [None, None]


def test_anthropic_alternates_and_puts_results_first() -> None:
    [row] = FORMATS["anthropic"].rows(recorded(NATIVE))
    assert [m["role"] for m in row["messages"]] == ["user", "assistant", "user", "assistant"]
    assert [b["type"] for b in row["messages"][2]["content"]] == ["tool_result", "tool_result", "text"]
    assert row["system"] == "You edit code."


def test_a_turn_with_two_blocks_stays_text_because_nothing_tells_what_ran() -> None:
    two = Message(role="assistant", content=turn("One.", "ls") + "\n" + turn("Two.", "pwd"))
    messages = (*example().messages[:2], two, Message(role="user", content="EXACTLY ONE"), *example().messages[4:])
    for name in ("openai-tools", "anthropic", "atif", "codeact"):
        [row] = FORMATS[name].rows(recorded(messages))
        entry = FORMATS[name].read(row).entries[2]
        assert entry == AgentReply(two.content)


def test_what_stands_behind_the_block_is_kept_with_the_thought() -> None:
    assert dialogue.action("THOUGHT: a\n```bash\nls\n```\nThat is all.") == ("a\n\nThat is all.", "ls")


def test_chatml_refuses_a_text_that_holds_its_delimiters() -> None:
    messages = (Message(role="user", content="<|im_end|>"), Message(role="assistant", content="x"))
    with pytest.raises(ItemError) as caught:
        FORMATS["chatml"].rows(recorded(messages))
    assert caught.value.reason == "chatml-delimiter"


def calling(name: str, arguments: object) -> dict[str, Any]:
    call = {"id": "a", "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([{"role": "tool", "content": "x", "tool_call_id": "call_1"}], "orphan-tool-result"),
        ([calling("f", "{")], "bad-arguments"),
        ([calling("f", {}), {"role": "assistant", "content": "and on"}], "unanswered-tool-call"),
        ([calling("a b", {})], "tool-name"),
    ],
)
def test_calls_that_cannot_be_paired_are_refused_with_a_reason(messages: list[dict[str, Any]], reason: str) -> None:
    talk = tuple(Message.model_validate(m) for m in [{"role": "user", "content": "Go."}, *messages])
    with pytest.raises(ItemError) as caught:
        FORMATS["openai-tools"].rows(recorded((*talk, Message(role="assistant", content="Done."))[: len(talk) + 1]))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda row: row["messages"].pop(0), "roles-not-alternating"),
        (lambda row: row["messages"][1]["content"][1].update(id="call_9"), "unanswered-tool-call"),
        (lambda row: row["messages"][2]["content"].insert(0, {"type": "text", "text": "x"}), "result-after-text"),
        (lambda row: row["messages"][0]["content"][0].update(text=" "), "empty-text"),
        (lambda row: row["tools"].clear(), "undeclared-tool"),
    ],
)
def test_our_checker_finds_what_the_types_of_anthropic_let_pass(change: Any, reason: str) -> None:
    [row] = FORMATS["anthropic"].rows(example())
    change(row)
    with pytest.raises(ItemError) as caught:
        anthropic_chat(row)
    assert caught.value.reason == reason


def test_atif_stays_within_what_the_agent_data_protocol_knows() -> None:
    """Its schema forbids other keys, takes version 1.7 alone, and needs the content of every result."""
    [row] = FORMATS["atif"].rows(example())
    known_steps = {"step_id", "source", "message", "model_name", "tool_calls", "observation"}
    assert row["schema_version"] == "ATIF-v1.7"
    assert set(row) == {"schema_version", "session_id", "trajectory_id", "agent", "steps", "extra"}
    assert set(row["agent"]) <= {"name", "version", "model_name", "tool_definitions"}
    assert all(set(step) <= known_steps for step in row["steps"])
    assert all(
        isinstance(result["content"], str)
        for step in row["steps"]
        for result in step.get("observation", {}).get("results", ())
    )
    assert "cost" not in json.dumps(row)


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(UserError, match="openai-tools") as caught:
        named("sft,openai-tool")
    assert "did you mean `openai-tools`" in str(caught.value)


def test_a_row_that_is_not_of_the_schema_is_refused() -> None:
    [row] = FORMATS["sft"].rows(example())
    for broken in ({**row, "extra": 1}, {**row, "messages": [{"role": "user"}]}, {**row, "score": "90"}):
        with pytest.raises(ItemError) as caught:
            FORMATS["sft"].validate(broken)
        assert caught.value.reason == "schema"


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
WORDS = st.from_regex(r"[a-z]{1,8}( [a-z./-]{1,8}){0,3}", fullmatch=True)
TURNS = st.one_of(TEXTS, st.builds(turn, TEXTS, WORDS))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TURNS, TEXTS), min_size=1, max_size=4), TURNS)
def test_any_talk_reads_back_from_every_format_or_is_refused(pairs: list[tuple[str, str]], last: str) -> None:
    messages = [Message(role="system", content="s"), Message(role="user", content="task")]
    for said, seen in pairs:
        messages += [Message(role="assistant", content=said), Message(role="user", content=seen)]
    talk = recorded((*messages, Message(role="assistant", content=last)))
    for name in set(FORMATS) - {"dpo", "reward", "kto", "lf-dpo", "lf-kto"}:
        try:
            rows = FORMATS[name].rows(talk)  # rows() itself compares what it reads back
        except ItemError as error:
            assert error.reason in {"empty-turn", "empty-text", "chatml-delimiter", "no-agent-turn"}, name
            continue
        assert len(rows) == 1 or name == "sft-completion"
        assert all(dataset.json_line(row).count(b"\n") == 1 for row in rows)
