import json
import random
from collections import Counter

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duel import fence
from duel.offline import SAMPLE, rules
from duel.offline.rules.agent import Writer
from duel.offline.rules.conversation import ShownConversation
from duel.records import DIMENSIONS
from duel.turn import command, format_ok

KING = "offline-stand-in/king"
JUDGE = "offline-stand-in/judge-a"
MARK = "0123456789abcdef"


@pytest.fixture(scope="module")
def turns():
    """One turn of every bundled rollout: its history, and its pull request."""
    pulls = {row["instance_id"]: row for row in pq.read_table(SAMPLE / "pulls.parquet").to_pylist()}
    chance = random.Random(7)
    drawn = []
    for row in pq.read_table(SAMPLE / "trajectories.parquet").to_pylist():
        places = [i for i, message in enumerate(row["messages"]) if message["role"] == "assistant"][:10]
        drawn.append((row["messages"][: chance.choice(places)], pulls[row["instance_id"]]))
    return drawn


def king(history):
    return rules.reply({"model": KING, "messages": history})


def informed(history, pull, mark=MARK):
    hidden = "\n\n".join([pull["pr_description"], pull["patch"], pull["test_patch"]])
    text = f"Rules.\n\n{fence.fence('HIDDEN PULL REQUEST', hidden, mark)}\n\n"
    text += fence.fence("AGENT SYSTEM PROMPT", history[0]["content"], mark)
    return [{"role": "system", "content": text}, *history[1:]]


def challenger(history, pull, mark=MARK):
    return rules.reply({"model": KING, "messages": informed(history, pull, mark)})


def compared(history, first, second, mark=MARK):
    conversation = "\n".join(f"--- {message['role']} {mark} ---\n{message['content']}" for message in history)
    parts = [
        fence.fence("CONVERSATION", conversation, mark),
        fence.fence("REPLY 1", first, mark),
        fence.fence("REPLY 2", second, mark),
    ]
    return [{"role": "system", "content": "Compare."}, {"role": "user", "content": "\n\n".join(parts)}]


def verdict(history, first, second, model=JUDGE, mark=MARK):
    return json.loads(rules.reply({"model": model, "messages": compared(history, first, second, mark)}))


def test_the_role_is_told_by_the_content(turns):
    history, pull = turns[0]
    assert rules.role(history) == "king"
    assert rules.role(informed(history, pull)) == "challenger"
    assert rules.role(compared(history, "one", "two")) == "judge"


def test_every_turn_is_well_formed(turns):
    for history, pull in turns:
        assert format_ok(king(history))
        assert format_ok(challenger(history, pull))


def test_the_same_question_gets_the_same_reply_in_any_workspace(turns):
    for history, pull in turns[:20]:
        first, second = king(history), challenger(history, pull)
        assert (first, second) == (king(history), challenger(history, pull, mark="f" * 16))
        assert verdict(history, first, second) == verdict(history, first, second, mark="f" * 16)


def test_replies_vary(turns):
    commands = Counter(command(king(history)) for history, _ in turns)
    assert len(commands) > len(turns) / 3


def test_some_challengers_tell_what_only_the_pull_request_knows(turns):
    telling = 0
    for history, pull in turns:
        text = "\n".join(message["content"] for message in history)
        hidden = Writer([], "", informed(history, pull)[0]["content"])
        words = [word for word in (*hidden.hidden_names, *hidden.hidden_paths) if word not in text and len(word) > 6]
        telling += any(word in challenger(history, pull) for word in words)
    assert 2 <= telling <= len(turns) * 0.15


def test_a_verdict_has_five_dimensions_and_says_that_it_is_rule_made(turns):
    history, pull = turns[0]
    found = verdict(history, king(history), challenger(history, pull))
    assert {found[name] for name in DIMENSIONS} <= {0, 1, 2}
    assert found["reason"].startswith("Rule-made")


def test_a_judge_prefers_a_sensible_step_to_a_forbidden_one_in_both_orders(turns):
    history, _ = turns[0]
    good = "THOUGHT: look.\n\n```bash\nls lib\n```"
    bad = "I will run it.\n\n```bash\ncd lib && python run.py\n```\n\n```bash\nls\n```"
    assert verdict(history, good, bad)["protocol"] == 1
    assert verdict(history, bad, good)["protocol"] == 2


def test_judges_flip_sometimes_and_challengers_win_more_often_than_not(turns):
    flips = asked = 0
    value = 0.0
    for history, pull in turns[::2]:
        first, second = king(history), challenger(history, pull)
        for letter in "abc":
            one = verdict(history, first, second, f"judge-{letter}")
            other = verdict(history, second, first, f"judge-{letter}")
            for name in DIMENSIONS:
                asked += 1
                flips += one[name] == other[name] != 0
                value += {0: 0.5, 1: 0.0, 2: 1.0}[one[name]] + {0: 0.5, 1: 1.0, 2: 0.0}[other[name]]
    assert 0.05 < flips / asked < 0.40
    assert 0.54 < value / asked / 2 < 0.75


def test_a_judge_without_two_replies_gives_no_verdict():
    text = f"=== REPLY 1 {MARK} ===\nno end"
    assert "{" not in rules.reply({"model": JUDGE, "messages": [{"role": "user", "content": text}]})


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_any_conversation_gets_a_well_formed_turn(texts):
    assert format_ok(king([{"role": "user", "content": text} for text in texts]))


def test_paths_are_what_was_shown_and_not_what_was_typed():
    text = "Observation: ./src/a.py\nlib/b.go:12: x\n+++ b/src/c.rs\n\n```bash\ncat src/typed.py\n```\n"
    assert set(ShownConversation(text).paths) == {"src/a.py", "lib/b.go", "src/c.rs"}
    assert ShownConversation(text).read == {"src/typed.py"}


def test_a_long_line_without_blanks_is_read_in_no_time():
    text = "QUJD+/x" * 20_000 + ".py"
    assert len(ShownConversation(text).paths) <= 1


def test_real_histories_get_well_formed_turns(shared):
    for row in pq.read_table(shared / "mini_swe_agent" / "train-00000.parquet").to_pylist()[:6]:
        assert format_ok(king(row["messages"][:6]))
