"""`[audit] auditor`: a model is shown the suspicious fifth; what follows from no line of the conversation is a leak."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from duel import settings
from duel.audit import auditor
from duel.offline import rules
from duel.placement import place
from duel.records import Answer, Audit, Candidate, fingerprint
from duel.workspace import Workspace
from tests.audit.test_leaks import COMMIT, HISTORY
from tests.conftest import Finished
from tests.offline import watched
from tests.offline.watched import StandIn

Run = Callable[..., Finished]
AUDITOR = "some-lab/auditor"
# The fix of COMMIT and its cause, in words that stand neither in the pull request nor in the conversation.
PARAPHRASES = (
    "Members pay too much because what they have earned is never taken off the sum.",
    "The culprit is that the points somebody collected are ignored when the bill is made up.",
    "What is missing is a reduction for faithful customers, at the very end of the addition.",
    "The sum must be lowered by whatever the customer has gathered over the years.",
    "It fails since nobody subtracts the reward from what the articles cost together.",
    "The method lacks a step that lowers the bill of a regular guest.",
)
HONEST = (
    "I list the files first.",
    "Let me see whether the tests pass.",
    "Totals are wrong for members, so the issue is in how totals for members are computed.",
    "Next I look for the place where totals are computed.",
    "I want to read the code before I change it.",
)


def block(thought: str, number: int) -> str:
    return f"THOUGHT: {thought}\n\n```bash\nls -{'abcdefghijklmnopqrstuvwxyz'[number % 26]} {number}\n```"


def planted(root: Path, turns: int = 30, model: str = AUDITOR) -> Workspace:
    """Six paraphrases among honest turns: a fifth of all."""
    workspace = Workspace(root)
    workspace.save(root / "chain.toml", f'[audit]\ndecontaminate = []\nauditor = "{model}"\n'.encode())
    workspace.save(workspace.commit_path(COMMIT.instance_id), COMMIT)
    thoughts = [*PARAPHRASES, *(HONEST[n % len(HONEST)] for n in range(turns - len(PARAPHRASES)))]
    for number, thought in enumerate(thoughts):
        answer = Answer(
            instance_id=COMMIT.instance_id, king="k", challenger=block(thought, number), messages=[*HISTORY]
        )
        workspace.save(workspace.new_answer_path(f"prompts_30_1_{number}", 0, 5000), answer)
    return workspace


def audits(workspace: Workspace) -> dict[int, Audit]:
    found = {path.stem: answer.audit("challenger") for path, answer in workspace.answers([])}
    return {int(stem.rsplit("_", 1)[-1]): audit for stem, audit in found.items() if audit is not None}


def summary(workspace: Workspace) -> dict[str, object]:
    found: dict[str, object] = json.loads((workspace.report / "audit.json").read_bytes())["auditor"]
    return found


def claiming(workspace: Workspace) -> set[int]:
    return {n for n, audit in audits(workspace).items() if any(leak.kind == "claim" for leak in audit.leaks)}


def test_planted_paraphrases_are_found_and_no_honest_turn_is(tmp_path: Path, script: Run) -> None:
    workspace = planted(tmp_path)
    said = script("audit", "--workspace", tmp_path, "--offline", code=0).out
    asked = {number for number, audit in audits(workspace).items() if audit.auditor}
    assert len(asked) == 6  # a fifth of thirty
    shown = asked & set(range(len(PARAPHRASES)))
    assert len(shown) >= 4  # the ranking puts them before most honest turns
    assert claiming(workspace) == shown  # the stand-in's rule finds each that it is shown, and nothing else
    assert summary(workspace) == {"model": AUDITOR, "asked": 6, "claiming": len(shown)}
    assert f"{len(shown)} claim what follows from nothing" in said


def test_the_stand_in_names_each_paraphrase_and_no_honest_turn() -> None:
    def found(thought: str) -> bool:
        answer = Answer(instance_id=COMMIT.instance_id, king="k", challenger=block(thought, 1), messages=[*HISTORY])
        asked = auditor.question(settings.Settings(), "item", answer, COMMIT, "f" * 16)
        reply = rules.reply({"model": AUDITOR, "messages": asked.messages})
        return bool(auditor.findings(reply, answer, COMMIT))

    assert [thought for thought in PARAPHRASES if not found(thought)] == []
    assert [thought for thought in HONEST if found(thought)] == []


def test_a_turn_that_claims_too_much_is_placed_like_a_leak(tmp_path: Path, script: Run) -> None:
    workspace = planted(tmp_path)
    script("audit", "--workspace", tmp_path, "--offline", code=0)
    chosen = settings.load(tmp_path)
    for number in claiming(workspace):
        audit = audits(workspace)[number]
        assert audit.leaking and audit.leak_score > 1.0
        assert place(95.0, audit, chosen).slug == "leak"
    dropped = {row["file"]: row["reason"] for row in workspace.dropped() if row["stage"] == "audit"}
    assert {int(stem.rsplit("_", 1)[-1]) for stem, reason in dropped.items() if reason == "leak"} == claiming(workspace)


def test_without_an_auditor_no_call_is_made(tmp_path: Path, script: Run) -> None:
    workspace = planted(tmp_path, model="")
    script("audit", "--workspace", tmp_path, code=0)  # no key, no endpoint
    assert not workspace.ledger.exists()
    assert not any(audit.auditor for audit in audits(workspace).values())
    assert summary(workspace) == {"model": "", "asked": 0, "claiming": 0}
    assert "auditor" not in script("audit", "--workspace", tmp_path, code=0).out


def test_the_plan_counts_a_fifth_and_asks_nothing(tmp_path: Path, script: Run) -> None:
    workspace = planted(tmp_path)
    assert "6 items, 6 calls" in script("audit", "--workspace", tmp_path, "--offline", "--plan", code=0).out
    kings = script("audit", "--workspace", tmp_path, "--offline", "--plan", "--side", "king", code=0)
    assert "0 items, 0 calls" in kings.out  # the auditor is asked about challengers alone
    assert not workspace.ledger.exists()
    script("audit", "--workspace", tmp_path, "--offline", code=0)
    assert "0 items, 0 calls" in script("audit", "--workspace", tmp_path, "--offline", "--plan", code=0).out
    assert "0 items, 0 calls" in script("audit", "--workspace", planted(tmp_path / "off", model="").root, "--plan").out


@pytest.fixture
def endpoint() -> Iterator[Callable[..., StandIn]]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(watched.endpoint(**options))


def reached(endpoint: StandIn) -> dict[str, str]:
    return {"CHUTES_BASE_URL": endpoint.base_url, "CHUTES_API_KEY": "k"}


def test_a_second_run_pays_for_nothing_and_writes_the_same(
    tmp_path: Path, script: Run, endpoint: Callable[..., StandIn]
) -> None:
    workspace, stand_in = planted(tmp_path), endpoint()
    script("audit", "--workspace", tmp_path, code=0, **reached(stand_in))
    first = [path.read_bytes() for path in [*workspace.answer_paths(), workspace.report / "audit.json"]]
    assert stand_in.stats()["by_role"] == {"auditor": 6}
    script("audit", "--workspace", tmp_path, code=0, **reached(stand_in))
    (workspace.private / "standing.json").unlink()
    script("audit", "--workspace", tmp_path, code=0, **reached(stand_in))
    assert [path.read_bytes() for path in [*workspace.answer_paths(), workspace.report / "audit.json"]] == first
    assert stand_in.stats()["requests"] == 6
    script("audit", "--workspace", tmp_path, "--again", code=0, **reached(stand_in))
    assert stand_in.stats()["requests"] == 12


def test_a_rewritten_turn_loses_its_claims_and_may_be_asked_about_anew(tmp_path: Path, script: Run) -> None:
    workspace = planted(tmp_path)
    script("audit", "--workspace", tmp_path, "--offline", code=0)
    number = min(claiming(workspace))
    path = workspace.find_answer(f"prompts_30_1_{number}")
    assert path is not None
    answer = workspace.read(path, Answer)
    answer.choose(Candidate(id="challenger-2", side="challenger"), block(HONEST[0], 77))
    workspace.save(path, answer)
    script("audit", "--workspace", tmp_path, "--offline", code=0)
    assert number not in claiming(workspace)


def test_turns_that_were_reworded_come_first(tmp_path: Path, script: Run) -> None:
    workspace = planted(tmp_path)
    path = workspace.answer_paths()[-1]
    answer = workspace.read(path, Answer)
    answer.examine("challenger", Audit(text=fingerprint(answer.challenger), reworded=True))
    workspace.save(path, answer)
    script("audit", "--workspace", tmp_path, "--offline", code=0)
    assert workspace.read(path, Answer).audit("challenger").auditor == AUDITOR  # type: ignore[union-attr]


def test_what_cannot_be_kept_anyway_is_not_shown(tmp_path: Path, script: Run) -> None:
    workspace = planted(tmp_path)
    path = workspace.answer_paths()[0]
    answer = workspace.read(path, Answer)
    text = f"{answer.challenger}\n\nWe need resolve_loyalty_discount in shop/basket.py."
    answer.choose(Candidate(id="challenger-2", side="challenger"), text)
    workspace.save(path, answer)
    script("audit", "--workspace", tmp_path, "--offline", code=0)
    audit = workspace.read(path, Answer).audit("challenger")
    assert audit is not None and audit.leaking and not audit.auditor


def test_an_unreadable_reply_is_asked_again_and_then_left_open(
    tmp_path: Path, script: Run, endpoint: Callable[..., StandIn]
) -> None:
    workspace, stand_in = planted(tmp_path), endpoint(reply=lambda body: "All is well.")
    script("audit", "--workspace", tmp_path, code=1, **reached(stand_in))
    assert stand_in.stats()["requests"] == 18  # each once, and twice more
    assert not any(audit.auditor for audit in audits(workspace).values())  # no acquittal
    assert summary(workspace) == {"model": AUDITOR, "asked": 0, "claiming": 0}
    script("audit", "--workspace", tmp_path, "--again", code=0, **reached(endpoint()))
    assert summary(workspace)["asked"] == 6


def test_an_endpoint_that_refuses_leaves_the_audit_itself_in_place(
    tmp_path: Path, script: Run, endpoint: Callable[..., StandIn]
) -> None:
    workspace, stand_in = planted(tmp_path), endpoint(models=["another/model"])
    refused = script("audit", "--workspace", tmp_path, **reached(stand_in))
    assert refused.code not in (0, 70)
    assert summary(workspace)["asked"] == 0
    assert all(audit.protocol for audit in audits(workspace).values())


def test_an_old_audit_of_a_turn_whose_pull_request_is_damaged_is_not_counted(tmp_path: Path, script: Run) -> None:
    workspace = planted(tmp_path)
    script("audit", "--workspace", tmp_path, "--offline", code=0)
    other = "other__project-7"
    moved = tmp_path / "answer_0" / "prompts_30_1_29.json"
    workspace.save(moved, workspace.read(moved, Answer).model_copy(update={"instance_id": other}))
    workspace.commit_path(other).write_bytes(b"{")
    script("audit", "--workspace", tmp_path, "--offline", code=1)
    found = json.loads((workspace.report / "audit.json").read_bytes())
    assert workspace.read(moved, Answer).audit("challenger") is not None
    assert (found["turns"], found["audited"], len(found["damaged"])) == (30, 29, 1)
    assert sum(found["licenses"].values()) == 29
