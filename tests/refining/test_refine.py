"""duel refine: borderline turns written once more, decided on by judges whose reasons the writer never saw."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from duel import settings
from duel.records import Answer, Audit, Candidate, Message, Score, fingerprint
from duel.refining import rewrites
from duel.refining.rewrites import of_answer
from duel.stages import refine, validate
from duel.workspace import Workspace
from tests.conftest import Finished, ended, forked_command
from tests.refining.conftest import Story
from tests.refining.world import SETTINGS, World

Make = Callable[..., Story]
Script = Callable[..., Finished]
NEAR = "\n[refine]\nfrom = 50\n"
ALL = "\n[refine]\nfrom = 0\n"


def text(story: Story) -> str:
    return (story.workspace.report / "report.md").read_text("utf-8")


def stage_calls(story: Story) -> int:
    return int(story.stand_in.stats()["requests"])


@pytest.mark.parametrize("executed", [False, True])
def test_after_stages_one_by_one_only_what_was_executed_is_and_no_vote_is_asked_anew(
    script: Script, tmp_path: Path, executed: bool
) -> None:
    (tmp_path / "chain.toml").write_text("[sample]\nn = 8\n[refine]\nfrom = 0\n[duel]\nbootstrap_resamples = 100\n")
    stages = ["prompt.py", "king.py", "ch.py", *["execute"] * executed, "audit", "validate.py", "report.py"]
    for name in stages:
        script(name, "--workspace", tmp_path, "--offline", code=0)
    with pytest.MonkeyPatch.context() as patch:  # killed once all is written and nothing is executed
        patch.setattr("duel.stages.execute.where_possible", lambda *_, **__: None)
        said = script("refine", "--workspace", tmp_path, "--offline", code=0).err
    (rewritten,) = (int(found) for found in re.findall(r"refine: (\d+) done", said))
    said = script("refine", "--workspace", tmp_path, "--offline", code=0).err
    assert "refine: nothing to do" in said
    every = [one for _, answer in Workspace(tmp_path).answers([]) for one in answer.candidates]
    ran = [one for one in every if one.observed is not None]
    assert len(every) > len(ran) == 0 if not executed else len(every) == len(ran)
    assert ("executed before" in said, "executing with" in said) == (False, executed)
    again = script("validate.py", "--workspace", tmp_path, "--offline", code=0).err
    assert rewritten > 2 and "refine-judge: " in again and not re.search(r"(?m)^judge: [1-9]", again)


def test_progress_knows_how_many_turns_are_borderline(story: Make) -> None:
    told = story(World(), 40, NEAR)
    stage = refine.Rewriting("refine", told.workspace, settings.load(told.workspace.root))
    turns = list(stage.open_turns())
    assert 0 < len(turns) == stage.total < 40


# -- what it brings, with a known truth ---------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["look", "glance"])
def test_a_rewrite_that_changes_nothing_is_promoted_as_often_as_the_control_arm_and_did_not_help(
    story: Make, words: str
) -> None:
    told = story(World(words=words), 40, NEAR)
    (row,) = told.refine()
    assert row["rewritten"] > 12 and row["control"]["turns"] == min(50, row["rewritten"])
    assert row["control"]["mean"] > 0.1, "asking again promotes some of them: that is the floor"
    assert abs(row["gain"]) <= row["gain_error"]
    assert row["helped"] is False
    assert "refining did not help" in text(told) and "refining helped" not in text(told)


def test_a_turn_that_is_written_as_it_was_is_never_promoted_however_often_it_is_judged(story: Make) -> None:
    told = story(World(), 40, NEAR)
    (row,) = told.refine()
    assert row["by_held_out"]["mean"] > 0 and row["against_parent"]["mean"] == 50
    assert row["promoted"] == 0
    assert not any(kept.lineage for kept in told.final().values())


def test_a_truly_better_rewrite_helps_and_the_report_says_by_how_much_held_out(story: Make) -> None:
    told = story(World(gain=0.4, words="glance"), 40, NEAR)
    verdict = orjson.loads(told.workspace.duel.read_bytes())
    before = set(told.final())
    (row,) = told.refine()
    assert row["helped"] is True
    assert row["against_parent"]["mean"] - row["against_parent"]["error"] > 50
    assert f"+{row['against_parent']['mean'] - 50:.1f} ± {row['against_parent']['error']:.1f} points" in text(told)
    taken = {stem: kept for stem, kept in told.final().items() if kept.lineage}
    assert len(taken) == row["promoted"] > 5 and not before & set(taken)
    for stem, kept in taken.items():
        (rewrite,) = told.answers()[stem].rewrites()
        assert kept.challenger == rewrite.text != told.answers()[stem].challenger
        assert kept.score == kept.lineage[0].score >= 80 and kept.lineage[0].against_parent > 50
        assert kept.lineage[0].judges == ["third/judge-c"]
    # The verdict is on the first challengers alone: every figure but the history of looks is what it was.
    after = orjson.loads(told.workspace.duel.read_bytes())
    assert after["looks"]["total"] == verdict["looks"]["total"] + 1
    assert {**after, "looks": None} == {**verdict, "looks": None}


def test_a_rewrite_that_only_pleases_its_coaches_is_promoted_by_them_and_by_nobody_else(story: Make) -> None:
    told = story(World(words="glance", flattery=0.8), 40, NEAR)
    (row,) = told.refine()
    assert row["by_coaches"] > row["by_held_out"]["mean"] + 0.3
    assert abs(row["gain"]) <= row["gain_error"] and row["helped"] is False


def test_a_leak_in_a_rewrite_never_reaches_final(story: Make, script: Script) -> None:
    told = story(World(gain=0.5, words="see", leaking=True), 15, ALL)
    (row,) = told.refine()
    assert row["refused"] == {"leak": row["rewritten"]} and row["promoted"] == 0
    assert not any(path for path in (told.workspace.root / "score").glob("_refine-1-king/*"))
    assert not any("splitlines" in path.read_text() for path in told.workspace.kept_paths("final"))
    for answer in told.rewritten.values():
        (rewrite,) = answer.rewrites()
        assert rewrite.audit is not None and rewrite.audit.leaking and rewrite.audit.protocol
        assert "splitlines" not in answer.challenger
    dropped = [row for row in told.workspace.dropped() if row["stage"] == "refine"]
    assert len(dropped) == row["rewritten"] and {row["reason"] for row in dropped} == {"refine-leak"}


def test_a_rewrite_that_speaks_of_its_reviewers_is_never_judged(story: Make) -> None:
    told = story(World(gain=0.5, words="as the reviewers said, look"), 15, ALL)
    (row,) = told.refine()
    assert row["refused"] == {"speaks-of-review": row["rewritten"]}


# -- what the writer sees, and who decides ------------------------------------------------------------------------


def test_the_writer_sees_its_own_turn_and_mapped_reasons_and_nothing_of_the_king(story: Make) -> None:
    world = World(words="glance")
    told = story(world, 15, ALL)
    told.run("refine")
    assert world.revisions
    challengers = {answer.challenger for answer in told.answers().values()}
    for messages in world.revisions:
        whole = "\n".join(str(message["content"]) for message in messages)
        assert messages[-2]["content"] in challengers and "HIDDEN PULL REQUEST" in whole
        assert "zebra" not in whole and "kingly" not in whole
        asked = str(messages[-1]["content"])
        assert "looks closer" in asked and "Reply 1" not in asked
        assert "Reviewer 1" in asked and "Reviewer 2" in asked and "Reviewer 3" not in asked


def test_only_held_out_judges_decide_and_their_missing_vote_leaves_a_turn_open(story: Make) -> None:
    world = World(gain=0.6, words="glance", silent="third/judge-c")
    told = story(world, 15, ALL)
    told.run("refine")
    told.run("validate.py", code=1)
    (row,) = told.report()
    assert row["open"] == row["rewritten"] and row["by_coaches"] > 0.3 and row["promoted"] == 0
    assert not any(kept.lineage for kept in told.final().values())
    world.silent = ""
    told.call("validate.py", "--again", "--workspace", told.workspace.root, code=0)
    (row,) = told.report()
    assert row["open"] == 0 and row["promoted"] > 0


def test_an_own_panel_can_decide_on_rewrites(story: Make) -> None:
    more = ALL + 'judges = ["some/judge-a"]\nheld_out = ["new/judge-x", "new/judge-y"]\n'
    told = story(World(gain=0.5, words="glance"), 15, more)
    told.refine()
    panel = {name for name in told.stand_in.stats()["by_model"] if name.startswith("new/")}
    assert panel == {"new/judge-x", "new/judge-y"}
    score = told.workspace.read(next((told.workspace.root / "score" / "_refine-1-coach").iterdir()), Score)
    assert {vote.judge for vote in score.votes} == {"some/judge-a"}


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ('judges = ["some/judge-a"]\nheld_out = ["some/judge-a"]', "both coaches and decides"),
        ('judges = ["no/such-judge"]', "a coach has not judged"),
        ('judges = ["some/judge-a", "other/judge-b", "third/judge-c"]', "no judge is left over"),
        ("rounds = 0", "rounds"),
        ("round = 2", "did you mean `rounds`"),
    ],
)
def test_who_coaches_cannot_decide(story: Make, script: Script, key: str, what: str) -> None:
    told = story(World(), 2, before=("king.py", "ch.py"))
    with (told.workspace.root / "chain.toml").open("a") as chain:
        chain.write(f"\n[refine]\n{key}\n")
    done = script("refine", "--workspace", told.workspace.root, code=2)
    assert what in done.err


def test_before_validate_there_is_nothing_to_refine(story: Make, script: Script) -> None:
    told = story(World(), 2, before=("king.py", "ch.py"))
    assert "run validate.py first" in script("refine", "--workspace", told.workspace.root, code=2).err


# -- rounds, resumption, plans ------------------------------------------------------------------------------------


def test_a_second_round_goes_on_from_the_better_text_and_the_lineage_tells(story: Make) -> None:
    told = story(World(gain=0.25, words="glance"), 40, ALL + "rounds = 2\n")
    first = {stem: answer.challenger for stem, answer in told.answers().items()}
    rows = told.refine(rounds=2)
    assert [row["round"] for row in rows] == [1, 2] and 0 < rows[1]["rewritten"] < rows[0]["rewritten"]
    chains = [of_answer(answer) for answer in told.rewritten.values()]
    descended = [chain for chain in chains if len(chain) == 2 and chain[1].parent.id == chain[0].candidate.id]
    assert descended, "some second rewrites start from the first"
    assert {stem: answer.challenger for stem, answer in told.answers().items()} == first
    lines = {len(kept.lineage) for kept in told.final().values()}
    assert {1, 2} <= lines
    asked = stage_calls(told)
    told.refine()
    assert stage_calls(told) == asked, "two rounds are all that is asked for"


def test_a_second_run_asks_nothing_and_a_rewrite_is_not_written_twice_before_it_is_judged(story: Make) -> None:
    told = story(World(gain=0.3, words="glance"), 15, ALL + "rounds = 3\n")
    told.run("refine")
    files, asked = {path: path.read_bytes() for path in told.workspace.answer_paths()}, stage_calls(told)
    told.run("refine")
    assert stage_calls(told) == asked
    told.run("validate.py", "report.py")
    judged = stage_calls(told)
    told.run("validate.py", "report.py")
    assert stage_calls(told) == judged
    assert {path: path.read_bytes() for path in told.workspace.answer_paths()} == files


def test_a_plan_counts_what_is_then_asked(story: Make, script: Script) -> None:
    told = story(World(gain=0.3, words="glance"), 15, ALL + "control = 3\n")
    root = told.workspace.root
    plan = script("refine", "--plan", "--workspace", root, code=0).out
    calls = int(plan.split(", ")[1].split()[0])
    before = stage_calls(told)
    told.run("refine")
    written = stage_calls(told) - before
    assert written == len(told.rewritten)
    assert f"{calls - written} calls" in script("validate.py", "--plan", "--workspace", root, code=0).out
    told.run("validate.py")
    assert stage_calls(told) - before == calls


def test_a_budget_ends_the_stage_and_a_rerun_pays_for_nothing_twice(story: Make, script: Script) -> None:
    prices = '[prices."some/writer"]\ninput = 1000.0\noutput = 1000.0\n'
    told = story(World(words="glance"), 15, ALL + prices)
    done = script("refine", "--budget", "2", "--workspace", told.workspace.root, code=3)
    assert "Traceback" not in done.err
    told.run("refine")
    assert told.stand_in.stats()["requests_after_ok"] == 0
    assert len(told.world.revisions) == len(told.rewritten)


def test_a_damaged_score_is_named_and_its_turn_waits(story: Make, script: Script) -> None:
    told = story(World(words="glance"), 6, ALL)
    path = told.workspace.score_paths()[0]
    path.write_bytes(b"{")
    told.run("refine")
    assert path.stem not in told.rewritten


def test_a_new_challenger_leaves_the_rewrites_of_the_old_one_behind(story: Make) -> None:
    told = story(World(gain=0.5, words="glance"), 15, ALL)
    told.refine()
    stem, answer = next(iter(told.rewritten.items()))
    answer.challenger += "\n"
    path = told.workspace.find_answer(stem)
    assert path is not None
    told.workspace.save(path, answer)
    assert of_answer(answer) == []
    told.run("validate.py", "report.py")
    assert stem not in {stem for stem, kept in told.final().items() if kept.lineage}


def test_a_killed_run_pays_for_no_rewrite_twice(story: Make) -> None:
    world = World(gain=0.3, words="glance")
    told = story(world, 15, ALL)
    run = forked_command("refine", "--workspace", told.workspace.root)
    while len(world.revisions) < 3 and run.is_alive():
        run.join(0.005)
    run.kill()
    assert ended(run) == -signal.SIGKILL
    in_flight = told.stand_in.stats()["requests"] - told.stand_in.stats()["unique_ok"]
    told.run("refine")
    assert len(world.revisions) <= len(told.rewritten) + 1 + in_flight
    assert all(len(answer.rewrites()) == 1 for answer in told.rewritten.values())


def test_of_several_challengers_the_chosen_one_is_written_once_more_and_the_choice_stands(story: Make) -> None:
    several = SETTINGS.replace("[generate]\n", "[generate]\nchallengers = 2\n")
    told = story(World(gain=0.5, words="glance"), 12, ALL, chain=several)
    chosen = {stem: answer.challenger for stem, answer in told.answers().items()}
    told.refine()
    told.run("validate.py", "ch.py", "validate.py", "report.py")
    assert told.rewritten
    for stem, answer in told.answers().items():
        assert answer.challenger == chosen[stem]
        assert len(answer.of_side("challenger")) == 2 + len(answer.rewrites())
    assert any(kept.lineage for kept in told.final().values())


# -- beside the other stages --------------------------------------------------------------------------------------


def test_a_whole_run_refines_where_held_out_judges_are_named_and_not_else(story: Make, script: Script) -> None:
    def steps(told: Story) -> list[str]:
        done = script("run.py", "--workspace", told.workspace.root, code=0)
        return [line.split("] ")[1] for line in done.err.splitlines() if line.startswith("[")]

    plain = ["prompt", "king", "challenger", "audit", "validate", "report"]
    told = story(World(gain=0.3, words="glance"), 12, before=())
    assert steps(told) == plain
    assert not told.rewritten
    with (told.workspace.root / "chain.toml").open("a") as chain:
        chain.write('[refine]\nfrom = 0\nheld_out = ["third/judge-c"]\n')
    assert steps(told) == [*plain[:-1], "refine, round 1", "validate, round 1", "report"]
    assert told.rewritten


def test_the_plan_of_a_whole_run_counts_rewrites_and_their_judges(story: Make, script: Script) -> None:
    told = story(World(), 16, before=())
    plan = script("run.py", "--plan", "--workspace", told.workspace.root, code=0).out
    assert "refine" not in plan
    with (told.workspace.root / "chain.toml").open("a") as chain:
        chain.write('[refine]\nheld_out = ["new/judge-x"]\nrounds = 2\n')
    plan = script("run.py", "--plan", "--workspace", told.workspace.root, code=0).out
    # In each of 2 rounds a rewrite, 3 coaches on one pair and one judge on three, in both orders.
    assert "refine: 4 items, 104 calls" in plan


def test_a_rewrite_that_was_not_promoted_is_no_rejected_turn_of_a_training_set(story: Make, script: Script) -> None:
    told = story(World(gain=0.4, words="glance"), 15, ALL)
    told.refine()
    root = told.workspace.root
    script("export", "--format", "dpo", "--buckets", "final", "--workspace", root, code=0)
    rows: list[dict[str, Any]] = [
        orjson.loads(line)
        for file in sorted((root / "export" / "dpo").glob("*.jsonl"))
        for line in file.read_bytes().splitlines()
    ]
    rejected = {row["rejected"][-1]["content"] for row in rows}
    promoted = {stem for stem, kept in told.final().items() if kept.lineage}
    assert promoted and rows
    for stem, answer in told.rewritten.items():
        assert not {rewrite.text for rewrite in answer.rewrites()} & rejected
        if stem in promoted:
            assert answer.rewrites()[0].text in {row["chosen"][-1]["content"] for row in rows}


def test_a_verdict_anew_and_another_audit_leave_the_rewrites_as_they_are(story: Make) -> None:
    told = story(World(gain=0.4, words="glance"), 15, ALL)
    told.refine()
    before = {stem: kept.challenger for stem, kept in told.final().items()}
    files = {path: path.read_bytes() for path in told.workspace.answer_paths()}
    told.run("audit")
    assert {path: path.read_bytes() for path in told.workspace.answer_paths()} == files
    validate.run(told.workspace, settings.load(told.workspace.root), regate=True)
    told.run("report.py")
    assert {stem: kept.challenger for stem, kept in told.final().items()} == before


def test_an_unaudited_rewrite_is_not_judged(story: Make) -> None:
    told = story(World(gain=0.4, words="glance"), 6, ALL)
    told.run("refine")
    for stem, answer in told.rewritten.items():
        path: Path | None = told.workspace.find_answer(stem)
        assert path is not None
        answer.put(answer.rewrites()[0].model_copy(update={"audit": None}))
        told.workspace.save(path, Answer.parse(answer.dump()))
    told.run("validate.py")
    assert told.report()[0]["refused"] == {"not-audited": len(told.rewritten)}
    told.run("audit", "validate.py")
    assert told.report()[0]["refused"] == {}


def test_a_rewrite_is_held_against_what_was_found_in_its_parents_own_text() -> None:
    """The parent's finding is about another text, and counts as none: every leak of the rewrite is a new one."""
    message = Message(role="user", content="fix it")
    answer = Answer(instance_id="o__r-1", king="k", challenger="now", messages=[message])
    parent = Candidate(id="challenger-1", side="challenger", chosen=True)
    audit = Audit(text=fingerprint("new"), leak_score=0.3)
    trial = rewrites.Trial(1, Candidate(id="challenger-2", side="challenger", text="new", audit=audit), parent)
    slugs = []
    for about in ("now", "before"):
        parent.audit = Audit(text=fingerprint(about), leak_score=0.4)
        slugs.append(rewrites.refused(trial, answer, settings.Settings()))
    assert slugs[1] == "leak-rose" != slugs[0]
