"""`duel audit` over a workspace, as a user runs it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from duel import settings
from duel.placement import place
from duel.records import Answer, Audit, Candidate, Commit, Made, Message, Side, fingerprint
from duel.workspace import Workspace
from tests.audit.test_leaks import COMMIT
from tests.conftest import Finished, run_command

Run = Callable[..., Finished]
HISTORY = [
    Message(role="system", content="One bash code block with ONE command. NEVER use `cd`."),
    Message(role="user", content="Totals are wrong for members."),
]
REPLIES = {
    "prompts_9_1_1": "I list the files.\n\n```bash\nls\n```",
    "prompts_9_1_2": "We need resolve_loyalty_discount in shop/basket.py.\n\n```bash\ncat shop/basket.py\n```",
    "prompts_9_1_3": "I list the files.\n\n```bash\nls\n```",
    "prompts_9_1_4": "I go there.\n\n```bash\ncd shop && ls\n```",
    "prompts_9_1_5": "Mail jane.doe@acme-works.com about it.\n\n```bash\ncat README\n```",
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "run")
    (made.root).mkdir()
    (made.root / "chain.toml").write_text('[audit]\ndecontaminate = ["ids.txt"]\nlicenses = ["MIT"]\n')
    (made.root / "ids.txt").write_text("ACME__other-1\n")
    made.save(made.commit_path(COMMIT.instance_id), COMMIT.model_copy(update={"license": "MIT"}))
    made.save(made.commit_path("acme__other-1"), Commit(instance_id="acme__other-1", license="GPL-2.0"))
    for stem, reply in REPLIES.items():
        instance_id = "acme__other-1" if stem.endswith("5") else COMMIT.instance_id
        answer = Answer(instance_id=instance_id, king="k", challenger=reply, assistant=reply, messages=HISTORY)
        made.save(made.new_answer_path(stem, 0, 5000), answer)
    return made


@pytest.fixture
def audit() -> Callable[..., Finished]:
    return lambda workspace, *arguments: run_command("audit", "--workspace", workspace.root, *arguments)


def audits(workspace: Workspace, side: Side = "challenger") -> dict[str, Audit]:
    """The audit of each answer's text on `side`; what is about another text counts as none."""
    found = {path.stem: answer.audit(side) for path, answer in workspace.answers([])}
    return {stem: audit for stem, audit in found.items() if audit is not None}


def rules(audit: Audit) -> list[str]:
    return [problem.rule for problem in audit.protocol.problems] if audit.protocol else []


def dropped(workspace: Workspace) -> dict[str, str]:
    return {row["file"]: row["reason"] for row in workspace.dropped() if row["stage"] == "audit"}


def test_every_answer_gets_its_audit_and_the_report_counts_them(workspace: Workspace, audit: Run) -> None:
    done = audit(workspace)
    assert done.code == 0
    found = audits(workspace)
    assert [found[stem].leaking for stem in REPLIES] == [False, True, False, False, False]
    assert {leak.kind for leak in found["prompts_9_1_2"].leaks} == {"identifier", "path"}
    assert found["prompts_9_1_2"].leak_score > 1
    assert found["prompts_9_1_3"].duplicates_of == "prompts_9_1_1"
    assert found["prompts_9_1_1"].duplicates_of == ""
    assert rules(found["prompts_9_1_4"]) == ["cd"]
    assert found["prompts_9_1_5"].secrets == {"email": 1}
    assert found["prompts_9_1_5"].contaminated == "instance of ids.txt"
    assert "GPL-2.0" in found["prompts_9_1_5"].license_refused
    report = json.loads((workspace.report / "audit.json").read_text())
    assert (report["audited"], report["leaking"], report["contamination"]["checked"]) == (5, 1, {"ids.txt": 1})
    assert "leaking" in done.out
    assert "contaminated" in done.out


def test_what_cannot_be_kept_is_listed_by_the_rule_that_the_report_uses(workspace: Workspace, audit: Run) -> None:
    audit(workspace)
    assert dropped(workspace) == {
        "prompts_9_1_2": "leak",
        "prompts_9_1_4": "protocol",
        "prompts_9_1_5": "contaminated",
    }
    answer = workspace.find_answer("prompts_9_1_4")
    assert answer is not None
    placed = place(95.0, workspace.read(answer, Answer).audit("challenger"), settings.load(workspace.root))
    assert (placed.bucket, placed.slug) == (None, "protocol")


def test_a_new_challenger_keeps_no_finding_about_the_old_one(workspace: Workspace, audit: Run) -> None:
    path = workspace.root / "answer_0" / "prompts_9_1_3.json"
    audit(workspace)
    answer = workspace.read(path, Answer)
    assert answer.audit("challenger") is not None
    answer.choose(
        Candidate(id="challenger-1", side="challenger", made=Made(model="m")), "I read it.\n\n```bash\ncat a\n```"
    )
    assert answer.audit("challenger") is None
    workspace.save(path, answer)
    by_hand = workspace.root / "answer_0" / "prompts_9_1_4.json"  # an editor changes the text and nothing else
    workspace.save(by_hand, workspace.read(by_hand, Answer).model_copy(update={"challenger": "No block."}))
    assert "prompts_9_1_4" not in audits(workspace)
    audit(workspace)
    assert audits(workspace)["prompts_9_1_3"].duplicates_of == ""
    assert rules(audits(workspace)["prompts_9_1_4"]) == ["no-block"]


def test_reworded_challengers_are_counted_apart(workspace: Workspace, audit: Run) -> None:
    path = workspace.root / "answer_0" / "prompts_9_1_1.json"
    answer = workspace.read(path, Answer)
    answer.examine("challenger", Audit(text=fingerprint(answer.challenger), reworded=True))
    workspace.save(path, answer)
    done = audit(workspace)
    assert audits(workspace)["prompts_9_1_1"].reworded
    assert json.loads((workspace.report / "audit.json").read_text())["reworded_turns"] == ["prompts_9_1_1"]
    assert re.search(r"reworded +1", done.out)


def test_a_rerun_changes_no_byte(workspace: Workspace, audit: Run) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in workspace.root.rglob("*.json*")}

    audit(workspace)
    before = contents()
    audit(workspace)
    assert contents() == before


def test_another_side_leaves_the_challengers_audit_alone(workspace: Workspace, audit: Run) -> None:
    audit(workspace)
    before = audits(workspace)
    audit(workspace, "--side", "assistant")
    assert audits(workspace) == before
    found = audits(workspace, "assistant")
    assert {stem: one.leaking for stem, one in found.items()} == {stem: one.leaking for stem, one in before.items()}
    audit(workspace)
    assert audits(workspace, "assistant") == found


def test_a_damaged_answer_is_named_and_the_others_are_audited(workspace: Workspace, audit: Run) -> None:
    (workspace.root / "answer_0" / "prompts_9_1_4.json").write_bytes(b'{"instance_id": "x", ')
    done = audit(workspace)
    assert done.code == 1
    assert "prompts_9_1_4.json" in done.err
    assert audits(workspace)["prompts_9_1_2"].leaking


def test_an_answer_without_a_challenger_is_left_as_it_is(workspace: Workspace, audit: Run) -> None:
    path = workspace.root / "answer_0" / "prompts_9_1_1.json"
    workspace.save(path, workspace.read(path, Answer).model_copy(update={"challenger": ""}))
    before = path.read_bytes()
    audit(workspace)
    assert path.read_bytes() == before
    assert json.loads((workspace.report / "audit.json").read_text())["without"] == 1


def test_a_list_that_could_not_be_read_is_said_to_be_unchecked(workspace: Workspace, audit: Run) -> None:
    (workspace.root / "chain.toml").write_text('[audit]\ndecontaminate = ["pro"]\n')
    done = audit(workspace)
    assert "NOT checked" in done.out
    assert "pro" in json.loads((workspace.report / "audit.json").read_text())["contamination"]["unchecked"]


def test_a_folder_without_answers_is_the_users_mistake(tmp_path: Path, script) -> None:
    done = script("audit", "--workspace", tmp_path, code=2)
    assert "king.py" in done.err
