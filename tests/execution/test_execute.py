"""`duel execute`: what stands in the answers afterwards, what a second run does, what a user is told."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from duel import settings
from duel.errors import SettingsError
from duel.records import Answer, Candidate, Commit, Message
from duel.settings import Settings
from duel.stages import execute
from duel.workspace import Workspace
from tests.execution.conftest import make_repository


def block(command: str) -> str:
    return f"THOUGHT: on\n\n```bash\n{command}\n```"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Three answers about one pull request, one about a repository that is not to be had, one about an unknown one."""
    start = make_repository(tmp_path / "mirrors", "owner/repo", {"a.txt": "one\n"})
    work = Workspace(tmp_path / "work")
    for number, (instance, king, challenger) in enumerate(
        [
            ("owner__repo-1", "cat a.txt", "sed -i s/one/1/ a.txt"),
            ("owner__repo-1", "cat a.txt", "head a.txt"),
            ("owner__repo-1", "cat a.txt", "cat b.txt"),
            ("owner__gone-1", "ls", "ls -l"),
            ("nobody__knows-1", "ls", "ls -l"),
        ]
    ):
        answer = Answer(
            instance_id=instance,
            king=block(king),
            challenger=block(challenger),
            messages=[Message(role="system", content="s"), Message(role="user", content="u")],
            candidates=[
                Candidate(id="king-1", side="king", chosen=True),
                Candidate(id="challenger-1", side="challenger", chosen=True),
                Candidate(id="challenger-2", side="challenger", text=block("wc -l a.txt")),
            ],
            repo=instance.rpartition("-")[0].replace("__", "/"),
        )
        work.save(work.root / "answer_0" / f"prompts_5_1_{number + 1}.json", answer)
    for instance, repo in (("owner__repo-1", "owner/repo"), ("owner__gone-1", "owner/gone")):
        work.save(work.commit_path(instance), Commit(instance_id=instance, repo=repo, commit=start.commit))
    (work.root / "chain.toml").write_text('[execute]\nbackend = "bubblewrap"\nrepositories = "../mirrors"\n')
    return work


def chosen(workspace: Workspace) -> Settings:
    return settings.load(workspace.root)


def answers(workspace: Workspace) -> list[Answer]:
    return [answer for _, answer in workspace.answers([])]


def test_every_candidate_is_executed_and_what_cannot_be_is_named(workspace: Workspace) -> None:
    result = execute.run(workspace, chosen(workspace), offline=True)
    one, two, three, gone, unknown = answers(workspace)
    seen = {c.id: c.observed for c in one.candidates}
    assert all(seen.values())
    assert seen["king-1"].printed == "Observation: one\n"  # type: ignore[union-attr]
    assert "+1" in seen["challenger-1"].changed  # type: ignore[union-attr]
    assert seen["challenger-2"].printed == "Observation: 1 a.txt\n"  # type: ignore[union-attr]
    assert three.chosen("challenger").observed.exit == 1  # type: ignore[union-attr]
    assert gone.chosen("king").observed.reason == "no-repository"  # type: ignore[union-attr]
    assert unknown.chosen("king").observed.reason == "no-commit"  # type: ignore[union-attr]
    assert result.found["turns"] == 5
    assert result.found["evidence"] == 3
    assert result.found["alike"] == 1  # cat and head print the same
    assert result.found["without"] == {"no-commit": 1, "no-repository": 1}
    assert result.exit_code == 1
    assert {row["reason"] for row in workspace.dropped()} == {"no-commit", "no-repository"}
    assert orjson.loads((workspace.report / "execute.json").read_bytes()) == result.found
    assert two.chosen("king").text == ""  # type: ignore[union-attr]


def test_a_second_run_executes_only_what_has_changed(workspace: Workspace) -> None:
    execute.run(workspace, chosen(workspace), offline=True)
    before = {path: path.read_bytes() for path in workspace.answer_paths()}
    path = workspace.answer_paths()[0]
    answer = workspace.read(path, Answer)
    answer.king = block("cat a.txt | wc -c")
    workspace.save(path, answer)
    result = execute.run(workspace, chosen(workspace), offline=True)
    assert workspace.read(path, Answer).chosen("king").observed.printed == "Observation: 4\n"  # type: ignore[union-attr]
    after = {path: path.read_bytes() for path in workspace.answer_paths()}
    assert [p for p in before if before[p] != after[p]] == [path]
    assert result.found["turns"] == 5
    rewritten = [p for p in workspace.answer_paths() if p.stat().st_mtime_ns]
    assert len(rewritten) == 5


def test_what_was_executed_stands_when_a_candidate_is_added(workspace: Workspace) -> None:
    """A command may print another time each time; votes that rest on what it printed would be asked and paid anew."""
    path = workspace.answer_paths()[0]
    answer = workspace.read(path, Answer)
    answer.king = block("date +%s%N")
    workspace.save(path, answer)
    execute.run(workspace, chosen(workspace), offline=True)
    first = workspace.read(path, Answer)
    first.put(Candidate(id="refined-1", side="challenger", text=block("ls")))
    workspace.save(path, first)
    execute.run(workspace, chosen(workspace), offline=True)
    second = workspace.read(path, Answer)
    assert next(one for one in second.candidates if one.id == "refined-1").observed.printed == "Observation: a.txt\n"  # type: ignore[union-attr]
    assert second.chosen("king") == first.chosen("king")


def test_a_damaged_answer_is_named_and_the_others_are_executed(workspace: Workspace) -> None:
    (workspace.root / "answer_0" / "prompts_5_1_2.json").write_text("{")
    result = execute.run(workspace, chosen(workspace), offline=True)
    assert result.exit_code == 1
    assert result.found["evidence"] == 2


def test_without_a_back_end_the_message_says_what_to_set(workspace: Workspace) -> None:
    (workspace.root / "chain.toml").write_text("")
    with pytest.raises(SettingsError, match="no back end is set"):
        execute.run(workspace, chosen(workspace))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('backend = "bublewrap"', "unknown executor"),
        ('backend = "bubblewrap"\nrepositories = "none"', "folder of mirrors"),
    ],
)
def test_a_wrong_setting_is_one_clear_message(workspace: Workspace, line: str, said: str) -> None:
    (workspace.root / "chain.toml").write_text(f"[execute]\n{line}\n")
    with pytest.raises(SettingsError, match=said):
        execute.run(workspace, chosen(workspace))
