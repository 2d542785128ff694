"""A history is replayed by its dataset's rules; what a candidate did is evidence only where the replay is faithful."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duel import offline, shell
from duel.execution import harness as harnesses
from duel.execution.bubblewrap import Bubblewrap
from duel.execution.checkouts import Sources
from duel.execution.executor import Outcome, Printed, Start
from duel.execution.harness import MiniSweAgent, SweZero
from duel.execution.replay import EvidenceRules, Task, alike, as_done, normal, observe, replay
from duel.records import Message, Observed
from duel.records.executed import same
from tests.execution.conftest import in_sandbox

RULES = EvidenceRules()
EVERY_RUN = bool(os.environ.get("DUEL_TEST_EVERY_RUN"))
"""Also the runs whose tasks and programs others show; the figure of docs/execution.md is of all."""


def history(*turns: tuple[str, str]) -> list[Message]:
    messages = [Message(role="system", content="Be an agent."), Message(role="user", content="Fix it.")]
    for reply, seen in turns:
        messages += [Message(role="assistant", content=reply), Message(role="user", content=seen)]
    return messages


def block(command: str) -> str:
    return f"THOUGHT: on\n\n```bash\n{command}\n```"


def observed(mirrors: Path, task: Task, rules: EvidenceRules = RULES) -> dict[str, Observed]:
    async def work(executor: Bubblewrap) -> dict[str, Observed]:
        return await observe(executor, task, rules)

    found: dict[str, Observed] = in_sandbox(mirrors, work)
    return found


def test_a_machine_without_room_costs_the_turn_and_not_the_run(mirrors: Path, small: Start) -> None:
    async def work(executor: Bubblewrap) -> list[Observed]:
        whole, full = executor.scratch, executor.scratch / "full"
        full.touch()
        task = Task("a", small, history(), {"king-1": block("cat a.txt")})
        kept = (await observe(executor, task, RULES))["king-1"]
        executor.scratch = full  # no folder can be made here, neither a room nor a checkout
        try:
            other = replace(task, start=replace(small, test_patch="\n"))
            lost = [(await observe(executor, one, RULES))["king-1"] for one in (task, other)]
        finally:
            executor.scratch = whole
        return [kept, *lost]

    kept, *lost = in_sandbox(mirrors, work)
    assert kept.ran
    assert [one.reason for one in lost] == ["sandbox", "sandbox"]


def telling(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One run of each task, and each that uses a program which none before it does: 50 of the sample's 132."""
    seen: set[str] = set()
    found = []
    for row in rows:
        messages = [Message(**message) for message in row["messages"]]
        steps = harnesses.steps(messages, harnesses.of(messages))
        told = {row["instance_id"], *(one.name for ran, _ in steps for one in shell.parse(ran).commands)}
        found += [row] if told - seen else []
        seen |= told
    return found


def test_recorded_observations_of_the_bundled_sample_come_back_exactly(tmp_path: Path) -> None:
    rows = pq.read_table(offline.SAMPLE / "trajectories.parquet").to_pylist()
    rows, observations = (rows, 1266) if EVERY_RUN else (telling(rows), 523)
    pulls = {row["instance_id"]: row for row in pq.read_table(offline.SAMPLE / "pulls.parquet").to_pylist()}

    async def whole() -> Counter[str]:
        executor = Bubblewrap(Sources(tmp_path / "cache", offline=True))
        found: Counter[str] = Counter()
        width = asyncio.Semaphore(4)

        async def one(row: dict[str, object]) -> None:
            async with width:
                pull = pulls[row["instance_id"]]
                messages = [Message(**message) for message in row["messages"]]  # type: ignore[attr-defined]
                harness = harnesses.of(messages)
                start = Start(pull["repo"], pull["base_commit"], pull["test_patch"])
                state = await executor.state(start)
                found.update((await replay(state, harnesses.steps(messages, harness), harness)).alike)
                await state.close()

        try:
            await asyncio.gather(*map(one, rows))
        finally:
            await executor.close()
        return found

    assert asyncio.run(whole()) == {"exact": observations}


def test_both_sides_start_where_the_history_ends(mirrors: Path, small: Start) -> None:
    messages = history(
        (block("cat a.txt"), "Observation: one\ntwo\n"),
        (block("echo three >> a.txt"), "Observation: "),
    )
    texts = {"king-1": block("cat a.txt"), "challenger-1": block("sed -i 's/two/2/' a.txt")}
    found = observed(mirrors, Task("t", small, messages, texts))
    king, challenger = found["king-1"], found["challenger-1"]
    assert (king.ran, king.exit, king.printed, king.changed) == (True, 0, "Observation: one\ntwo\nthree\n", "")
    assert challenger.changed == "--- a/a.txt\n+++ b/a.txt\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n"
    assert (challenger.faithful, challenger.replayed, challenger.differs) == (1.0, 2, [])
    assert king.base == small.commit
    assert "bubblewrap" in king.executor
    assert not same(king, challenger)


def test_a_turn_whose_history_does_not_come_back_has_no_evidence(mirrors: Path, small: Start) -> None:
    messages = history(
        (block("cat a.txt"), "Observation: something else\n"),
        (block("ls"), "Observation: a.txt\nsrc\n"),
    )
    found = observed(mirrors, Task("t", small, messages, {"king-1": block("ls")}))["king-1"]
    assert not found.ran
    assert found.why_not == "unfaithful: 1 of 2 observations came back"
    assert (found.faithful, found.differs) == (0.5, [0])
    lenient = observed(mirrors, Task("t", small, messages, {"king-1": block("ls")}), EvidenceRules(min_faithful=0.5))
    assert lenient["king-1"].ran


def test_an_edit_that_ended_otherwise_leaves_no_evidence_however_faithful_the_rest_is(
    mirrors: Path, small: Start
) -> None:
    reads = [(block(f"sed -n {n}p a.txt"), f"Observation: {'one' if n == 1 else 'two'}\n") for n in (1, 2) * 4]
    failed = "Observation: sed: can't read a.txt: No such file or directory\n"
    found = observed(
        mirrors, Task("t", small, history(*reads, (block("sed -i s/one/1/ a.txt"), failed)), {"k": block("ls")})
    )
    assert found["k"].why_not.startswith("edit-differs: command 9 ")


def test_without_replay_only_first_turns_have_evidence(mirrors: Path, small: Start) -> None:
    rules = EvidenceRules(replay=False)
    first = observed(mirrors, Task("t", small, history(), {"k": block("cat a.txt")}), rules)
    assert first["k"].printed == "Observation: one\ntwo\n"
    assert first["k"].faithful is None
    later = observed(mirrors, Task("t", small, history((block("ls"), "Observation: x")), {"k": block("ls")}), rules)
    assert later["k"].reason == "no-replay"


def test_a_submission_shows_all_that_its_history_changed(mirrors: Path, small: Start) -> None:
    messages = history((block("sed -i s/one/1/ a.txt"), "Observation: "))
    texts = {"k": block("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"), "c": "I give up."}
    found = observed(mirrors, Task("t", small, messages, texts))
    assert found["k"].submits
    assert "+1\n" in found["k"].changed
    assert found["c"].why_not == "no-command: the reply holds no command"


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (Start("some/missing", "a" * 40), "no-repository"),
        (Start("some/small", "b" * 40), "no-commit"),
        (Start("some/small", ""), "no-commit"),
        (Start("../../etc", "a" * 40), "no-repository"),
        (Start("some/small", "--upload-pack=touch /tmp/x"), "no-commit"),
    ],
)
def test_what_cannot_be_checked_out_is_named_and_the_others_go_on(
    mirrors: Path, small: Start, start: Start, reason: str
) -> None:
    tasks = [Task("bad", start, history(), {"k": block("ls")}), Task("good", small, history(), {"k": block("ls")})]

    async def work(executor: Bubblewrap) -> dict[str, dict[str, Observed]]:
        return {task.key: found async for task, found in as_done(partial(observe, executor), tasks, 2)}

    found = in_sandbox(mirrors, work)
    assert found["bad"]["k"].reason == reason
    assert found["good"]["k"].ran


def test_a_nul_byte_is_named(mirrors: Path, small: Start) -> None:
    found = observed(mirrors, Task("t", small, history(), {"k": block("echo a\0b"), "c": block("ls")}))
    assert found["k"].reason == "not-a-command"
    assert found["c"].ran


def test_tasks_are_taken_only_when_there_is_room(mirrors: Path, small: Start) -> None:
    taken = 0

    def endless():  # type: ignore[no-untyped-def]
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield Task(str(number), small, history(), {"k": block("true")})

    async def work(executor: Bubblewrap) -> int:
        seen = 0
        stream = as_done(partial(observe, executor), endless(), 3)
        async for _ in stream:
            seen += 1
            if seen == 5:
                break
        await stream.aclose()  # type: ignore[attr-defined]
        return seen

    assert in_sandbox(mirrors, work) == 5
    assert taken <= 5 + 3


# -- the datasets' formats ------------------------------------------------------------------------------------------


def outcome(out: str = "", err: str = "", **fields: object) -> Outcome:
    def stream(text: str) -> Printed:
        return Printed(text[:65_536] + text[65_536:][-65_536:], len(text))

    return replace(Outcome(stream(out), stream(err)), **fields)  # type: ignore[arg-type]


def test_swe_zero_shows_errors_behind_output_and_cuts_in_the_middle() -> None:
    show = SweZero().show
    assert show(outcome("a\n", "b")) == "Observation: a\n\nb"
    assert show(outcome("", "b")) == "Observation: b"
    long = show(outcome("x" * 5000 + "y" * 5000))
    assert long == f"Observation: {'x' * 4000}\n\n... (output truncated, 2000 chars elided) ...\n\n{'y' * 4000}"
    huge = show(outcome("x" * 300_000 + "y" * 300_000))
    assert "(output truncated, 592000 chars elided)" in huge
    assert show(outcome("part", ended_by="time")) == "Observation: part\n\n[command timed out]"
    assert show(outcome(ended_by="time")) == "Observation: [command timed out]"


def test_mini_swe_agent_shows_the_exit_code_and_cuts_at_ten_thousand() -> None:
    show = MiniSweAgent().show
    assert show(outcome("a\n", exit=1)) == "<returncode>1</returncode>\n<output>\na\n</output>"
    assert "<elided_chars>\n2000 characters elided\n</elided_chars>" in show(outcome("x" * 12_000))


def test_a_reply_that_the_harness_refused_is_not_run() -> None:
    two = f"{block('ls')}\n{block('pwd')}"
    refused = "Please always provide EXACTLY ONE action in triple backticks, found 2 actions."
    mini = history((two, refused), (block("ls"), "<returncode>0</returncode>\n<output>\na\n</output>"))
    assert harnesses.steps(mini, harnesses.of(mini)) == [("ls", mini[-1].content)]
    zero = history(
        (two, "Observation: a"), ("no block", "Please always provide EXACTLY ONE action in triple backticks.")
    )
    assert harnesses.steps(zero, harnesses.of(zero)) == [("ls", "Observation: a")]


def test_the_checkout_lies_where_the_history_shows_it() -> None:
    path = "/tmp/swe_zero_worktrees/rsteube__carapace__63bcd150c22a__0a1b2c3d"
    messages = history((block("pwd"), f"Observation: {path}\n"))
    assert harnesses.place(messages, harnesses.of(messages)) == path
    hostile = history((block("pwd"), "Observation: /tmp/swe_zero_worktrees/../../etc__63bcd150c22a__0a1b2c3d"))
    assert harnesses.place(hostile, harnesses.of(hostile)) == "/repo"


def test_real_rows_are_read_as_their_harness_wrote_them(shared: Path) -> None:
    rows = pq.read_table(shared / "swe_zero" / "train-00000.parquet").to_pylist()
    for row in rows:
        messages = [Message(**message) for message in row["messages"]]
        harness = harnesses.of(messages)
        steps = harnesses.steps(messages, harness)
        assert type(harness) is harnesses.SweZero
        assert len(steps) == sum(message.role == "assistant" for message in messages)
        for ran, seen in steps:
            assert ran
            assert alike(seen, seen) == "exact"
            assert len(seen) <= len("Observation: ") + 8000 + 60
    rows = pq.read_table(shared / "mini_swe_agent" / "train-00000.parquet").to_pylist()
    counted = 0
    for row in rows:
        messages = [Message(**message) for message in row["messages"]]
        harness = harnesses.of(messages)
        assert type(harness) is harnesses.MiniSweAgent
        counted += len(harnesses.steps(messages, harness))
    assert counted == 1178


def test_a_listing_reads_as_the_dataset_recorded_it(mirrors: Path) -> None:
    """Formats, order and truncation, in a repository made here: folders list their entries oldest first."""
    from tests.execution.conftest import make_repository

    names = ["zeta.py", "alpha.py", "mid.py"]
    files = {f"pkg/{name}": f"# needle {name}\n" * 200 for name in names}
    start = make_repository(mirrors, "some/listed", files)
    shown = "\n".join(
        ["total 12", "drwxr-xr-x 2 root root 100 May  1 10:36 ."]
        + ["drwxr-xr-x 4 root root  80 May  1 10:36 .."]
        + [f"-rw-r--r-- 1 root root {len(files[f'pkg/{name}'])} May  1 10:36 {name}" for name in sorted(names)]
    )
    found = "".join(f"./pkg/{name}\n" for name in ("alpha.py", "mid.py", "zeta.py"))  # the order of git's checkout
    whole = "".join(
        f"pkg/{name}:{files[f'pkg/{name}'][:-1]}\n".replace("\n#", f"\npkg/{name}:#") for name in sorted(names)
    )
    cut = f"{whole[:4000]}\n\n... (output truncated, {len(whole) - 8000} chars elided) ...\n\n{whole[-4000:]}"
    messages = history(
        (block("ls -la pkg"), f"Observation: {shown}\n"),
        (block("find . -name '*.py'"), f"Observation: {found}"),
        (block("grep -r needle pkg"), f"Observation: {cut}"),
        (
            block("cat pkg/none; git log --oneline | wc -l"),
            "Observation: 1\n\ncat: pkg/none: No such file or directory\n",
        ),
        (block("git status | head -1"), "Observation: Not currently on any branch.\n"),
    )

    async def work(executor: Bubblewrap) -> list[str]:
        state = await executor.state(start)
        told = await replay(state, harnesses.steps(messages, SweZero()), SweZero())
        await state.close()
        return told.alike

    alikes = in_sandbox(mirrors, work)
    assert alikes[0] == "normal"
    assert alikes[1:4] == ["exact", "exact", "exact"]
    assert alikes[4] in ("exact", "")  # git words it by its version


@pytest.mark.parametrize(
    ("ours", "recorded", "expected"),
    [
        ("Observation: a\n", "Observation: a\n", "exact"),
        ("-rw-r--r-- 1 root root 10 Nov 26 15:56 a", "-rw-r--r-- 1 root root 10 May  1 10:36 a", "normal"),
        ("-rw-r--r-- 1 root root 11 Nov 26 15:56 a", "-rw-r--r-- 1 root root 10 May  1 10:36 a", ""),
        ("drwxr-xr-x 2 root root 60 Nov 26 15:56 d", "drwxr-xr-x 9 root root 4096 May  1 2024 d", "normal"),
        ("total 8\n", "total 176\n", "normal"),
        ("took 0.12 s at 0x7ffe12ab", "took 3.5 s at 0x55aa00ff", "normal"),
        ("/repo/a.py", "/tmp/swe_zero_worktrees/x__y__63bcd150c22a__0a1b2c3d/a.py", "normal"),
        ("/bin/bash: line 1: x: command not found", "bash: line 1: x: command not found", "normal"),
        ("b\na\n", "a\nb\n", "order"),
        ("a\n", "b\n", ""),
    ],
)
def test_what_no_replay_repeats_does_not_count(ours: str, recorded: str, expected: str) -> None:
    assert alike(ours, recorded) == expected


@given(st.text())
def test_what_is_normal_stays_so_and_everything_is_like_itself(text: str) -> None:
    assert alike(text, text) == "exact"
    assert normal(normal(text)) == normal(text)
