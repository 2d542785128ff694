"""Who stays in the running: clean, working, different candidates, and of kings those that do what most do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duel.candidates import writer_request
from duel.judging.contests import NOISE, SECOND
from duel.records import Answer, Audit, Candidate, Made, Message, Observed, Refinement, Selection, fingerprint
from duel.settings import Settings
from duel.stages.choose import Running, knockout, pool, running


def text(command: str) -> str:
    return f"THOUGHT: next\n\n```bash\n{command}\n```"


def answer(side: Any, *commands: str, **fields: list[Any]) -> Answer:
    """One turn with a candidate of `side` for each command; `fields` by position."""
    found = Answer(instance_id="o__r-1", king="", messages=[Message(role="user", content="fix it")])
    for place, command in enumerate(commands):
        given = {name: values[place] for name, values in fields.items()}
        one = Candidate(id=f"{side}-{place + 1}", side=side, text=text(command), made=Made(plan=f"p{place}"), **given)
        found.choose(one, one.text) if not place else found.put(one)
    return found


def ran(exit: int = 0, printed: str = "", changed: str = "") -> Observed:
    return Observed(ran=True, exit=exit, printed=f"Observation: {printed}", changed=changed)


def race(found: Answer, side: Any, **generate: Any) -> Running:
    known = running(found, side, Settings.model_validate({"generate": generate}))
    assert known is not None
    return known


def left(known: Running) -> list[str]:
    return [one.id for one in known.left]


def leaking(command: str, score: float) -> Audit:
    return Audit(text=fingerprint(text(command)), leaking=True, leak_score=score)


def test_a_leak_and_a_broken_protocol_are_out_whatever_judges_would_say() -> None:
    found = answer("challenger", "ls", "cat a.py", "grep -n x a.py", audit=[None, leaking("cat a.py", 3.0), None])
    found.candidates[2].text += "\n\n```bash\nls\n```"
    known = race(found, "challenger")
    assert left(known) == ["challenger-1"]
    assert {name: said.outcome for name, said in known.out.items()} == {
        "challenger-2": "leak",
        "challenger-3": "protocol",
    }


def test_if_all_leak_the_least_leak_stands_and_no_duel_is_paid_for() -> None:
    audits = [leaking("ls a", 3.0), leaking("ls b", 1.5), leaking("ls c", 2.0)]
    assert left(race(answer("challenger", "ls a", "ls b", "ls c", audit=audits), "challenger")) == ["challenger-2"]


def test_a_command_that_failed_cannot_win() -> None:
    observed = [ran(exit=1), ran(printed="a"), Observed(ran=True, ended_by="time"), None]
    known = race(answer("challenger", "ls a", "ls b", "ls c", "ls d", observed=observed), "challenger")
    assert left(known) == ["challenger-2", "challenger-4"]
    assert known.out["challenger-1"].outcome == known.out["challenger-3"].outcome == "failed"


def test_if_all_failed_all_stay() -> None:
    observed = [ran(exit=1, printed="a"), ran(exit=2, printed="b")]
    known = race(answer("challenger", "ls a", "ls b", observed=observed), "challenger")
    assert left(known) == ["challenger-1", "challenger-2"]


def test_what_printed_and_changed_the_same_is_one_whatever_the_order_of_lines() -> None:
    observed = [ran(printed="a\nb"), ran(printed="b\na"), ran(printed="a\nb", changed="+x")]
    known = race(answer("challenger", "ls", "ls -1", "touch x", observed=observed), "challenger")
    assert left(known) == ["challenger-1", "challenger-3"]
    assert (known.out["challenger-2"].outcome, known.out["challenger-2"].to) == ("same", "challenger-1")


def test_the_very_same_text_is_one() -> None:
    assert left(race(answer("king", "ls", "ls", "ls -a"), "king")) == ["king-1", "king-3"]


def test_by_majority_the_kings_commonest_deed_stands_alone() -> None:
    kings = answer("king", "cat b.py", "cat  a.py", "cat 'a.py'", "ls")
    assert left(race(kings, "king", select="audit, execution, majority, judge")) == ["king-2"]
    assert left(race(kings, "king")) == ["king-1", "king-2", "king-3", "king-4"]
    observed = [ran(printed="x"), ran(printed="y"), ran(printed="z"), ran(printed="x")]
    executed = answer("king", "cat b.py", "cat  a.py", "cat 'a.py'", "ls", observed=observed)
    assert left(race(executed, "king", select="audit, execution, majority, judge")) == ["king-1"]


def test_what_a_here_document_holds_and_how_commands_are_joined_makes_another_deed() -> None:
    edits = [f"cat > a.py <<'EOF'\n{line}\nEOF" for line in ("x = 1", "x = 2", "x = 3")]
    assert len(race(answer("king", *edits), "king", select="majority").left) == 3
    assert len(race(answer("king", "ls && pwd", "ls || pwd", "ls | pwd"), "king", select="majority").left) == 3


def test_challengers_have_no_majority() -> None:
    several = answer("challenger", "cat b.py", "cat  a.py", "cat 'a.py'")
    assert len(race(several, "challenger", select="majority, judge").left) == 3


def test_second_kings_of_the_noise_floor_and_refined_turns_are_no_contenders() -> None:
    found = answer("king", "ls", "ls -a")
    found.put(Candidate(id="king-3", side="king", text=text("pwd"), made=Made(plan="abc-0-1000000")))
    rewrite = Made(refine=Refinement(round=1, parent="abc"))
    found.put(Candidate(id="king-4", side="king", text=text("cat x"), made=rewrite))
    assert [one.id for one in pool(found, "king")] == ["king-1", "king-2"]


@pytest.mark.parametrize("steps", ["guess", "audit execution", "audit, vote"])
def test_an_unknown_step_is_an_error(steps: str) -> None:
    with pytest.raises(ValueError, match="must be steps out of audit, execution, majority, judge"):
        Settings.model_validate({"generate": {"select": steps}})


@given(st.lists(st.integers(), min_size=1, max_size=40))
def test_a_knockout_of_n_takes_a_duel_less_and_finds_the_best(numbers: list[int]) -> None:
    async def duel(first: int, second: int) -> tuple[bool, None]:
        return second > first, None

    winner, lost = asyncio.run(knockout(numbers, duel))
    assert winner == max(numbers)
    assert len(lost) == len(numbers) - 1
    assert sorted([winner, *(loser for loser, _, _ in lost)]) == sorted(numbers)


def test_the_noise_floor_holds_an_unchosen_king_against_one_more() -> None:
    found = answer("king", "ls", "ls -a")
    second = Made(
        plan=writer_request(Settings(), "noise", "t", Settings().writers("king")[0], found.messages)
        .again(0, occurrence=SECOND)
        .key
    )
    found.put(Candidate(id="king-3", side="king", text=text("pwd"), made=second))
    assert _ids(found) == ("king-1", "king-3")
    better = found.candidates[1]
    found.choose(better.model_copy(update={"selection": Selection(outcome="chosen")}), better.text)
    assert _ids(found) == ("king-1", "king-3")  # the best of two is no equal of one more


def _ids(found: Answer) -> tuple[str, str]:
    pair = NOISE.pair("t", found, Settings())
    assert pair is not None
    assert pair.opponent == text("ls")
    return pair.ids
