"""Shards: split, run each as a workspace of its own, merged; the figures are those of one workspace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import orjson
import pytest

from duel.audit.rarity import Rarity
from duel.cluster import shards
from duel.records import PersonVote
from duel.review.ballots import read_votes
from duel.workspace import SHARD_FILE, Workspace
from tests.cluster.conftest import copy, run_shards
from tests.conftest import ROOT, Finished
from tests.offline.watched import StandIn

Script = Callable[..., Finished]


def place(whole: Workspace, number: int) -> Workspace:
    return Workspace(whole.root / "shards" / f"{number:04d}")


def test_one_and_sixteen_shards_give_the_verdict_of_the_whole_bit_for_bit(
    drawn: Workspace, script: Script, stand_in: StandIn
) -> None:
    whole = copy(drawn, "whole")
    script("run.py", "--workspace", whole.root, code=0)
    for number in (1, 16):  # of four the next test says it
        split = copy(drawn, f"split-{number}")
        run_shards(script, split, number)
        script("shard", "merge", "--workspace", split.root, code=0)
        assert split.duel.read_bytes() == whole.duel.read_bytes()
        for name in ("final", "refined", "defeat", "score", "answer_0"):
            ours, theirs = (sorted(p.name for p in (w.root / name).glob("*.json")) for w in (split, whole))
            assert ours == theirs, name
        for path, answer in whole.answers([]):
            merged = split.read(split.root / path.relative_to(whole.root), type(answer))
            assert merged.audit("challenger") == answer.audit("challenger")


def test_near_duplicates_that_lie_in_two_shards_are_decided_in_one_place(
    drawn: Workspace, script: Script, stand_in: StandIn
) -> None:
    """No shard can see them; the merge finds the groups of the whole, representatives and all."""
    path = drawn.prompt_files()[0]
    rows = orjson.loads(path.read_bytes())
    homes = [shards.number_of(row["instance_id"], row["repo"], 4) for row in rows]
    other = next(number for number, home in enumerate(homes) if home != homes[0])
    rows[other] = {**rows[other], "messages": rows[0]["messages"], "assistant": rows[0]["assistant"]}
    path.write_bytes(orjson.dumps(rows))
    twins = [f"{path.stem}_{number + 1}" for number in (0, other)]
    whole = copy(drawn, "whole")
    for stage in ("king.py", "ch.py", "audit", "validate.py"):
        script(stage, "--workspace", whole.root)
    run_shards(script, drawn, 4)
    apart = [find(place(drawn, home), stem) for home, stem in zip((homes[0], homes[other]), twins, strict=True)]
    assert apart == ["", ""]
    script("shard", "merge", "--workspace", drawn.root)
    assert find(drawn, twins[1]) == find(whole, twins[1]) == twins[0]
    assert drawn.duel.read_bytes() == whole.duel.read_bytes()


def find(workspace: Workspace, stem: str) -> str:
    """Whose near-duplicate the challenger of a turn is."""
    answer = next(answer for path, answer in workspace.answers([]) if path.stem == stem)
    audit = answer.audit("challenger")
    assert audit is not None
    return audit.duplicates_of


def test_a_repository_lies_in_one_shard_under_all_of_its_spellings(drawn: Workspace, script: Script) -> None:
    script("shard", "split", 4, "--workspace", drawn.root, code=0)
    owners: dict[str, set[str]] = {}
    stems = []
    for shard in shards.there(drawn):
        for stem, _, prompt in shard.workspace.prompts([]):
            owners.setdefault(prompt.repo.lower(), set()).add(shard.name)
            stems.append(stem)
            assert shard.workspace.commit(prompt.instance_id) is not None
        assert shard.workspace.count_prompts() == sum(1 for _ in shard.workspace.prompts([]))
    assert all(len(names) == 1 for names in owners.values()) and len(set().union(*owners.values())) > 1
    assert sorted(stems) == sorted(stem for stem, _, _ in drawn.prompts([]))
    assert shards.number_of("Owner__Repo-7", "", 64) == shards.number_of("owner__repo-9", "owner/repo", 64)


def test_what_is_rare_is_counted_once_and_equals_what_the_whole_counts_with_its_answers(
    drawn: Workspace, script: Script, stand_in: StandIn
) -> None:
    whole = copy(drawn, "whole")
    script("king.py", "--workspace", whole.root, code=0)
    script("shard", "split", 3, "--workspace", drawn.root, code=0)
    tables = {Rarity.of_workspace(shard.workspace).digest() for shard in shards.there(drawn)}
    assert tables == {Rarity.of_workspace(whole).digest(), Rarity.of_workspace(drawn).digest()}


def test_what_was_paid_before_the_split_and_in_the_shards_is_paid_once(
    drawn: Workspace, script: Script, stand_in: StandIn
) -> None:
    script("king.py", "--workspace", drawn.root, code=0)
    for path in drawn.answer_paths()[::2]:
        path.unlink()
    asked = stand_in.stats()["requests"]
    script("shard", "split", 3, "--workspace", drawn.root, code=0)
    for shard in shards.there(drawn):
        script("king.py", "--workspace", shard.workspace.root)
    assert stand_in.stats()["requests"] == asked
    run_shards(script, drawn, 3)
    requests = stand_in.stats()["requests"]
    script("shard", "merge", "--workspace", drawn.root, code=0)
    shutil.rmtree(drawn.root / "answer_0")
    for stage in ("king.py", "ch.py", "audit", "validate.py"):
        script(stage, "--workspace", drawn.root)
    assert stand_in.stats()["requests"] == requests
    assert asked == len(list(drawn.prompts([])))


def test_a_split_or_a_merge_that_is_repeated_changes_nothing(
    in_two: Workspace, script: Script, stand_in: StandIn
) -> None:
    before = [path.stat().st_mtime_ns for shard in shards.there(in_two) for path in shard.workspace.answer_paths()]
    script("shard", "split", 2, "--workspace", in_two.root, code=0)
    assert before == [p.stat().st_mtime_ns for shard in shards.there(in_two) for p in shard.workspace.answer_paths()]
    script("shard", "merge", "--workspace", in_two.root, code=0)
    verdict, replies = in_two.duel.read_bytes(), ledger_rows(in_two)
    again = script("shard", "merge", "--workspace", in_two.root, code=0)
    assert "nothing new" in again.err
    assert (in_two.duel.read_bytes(), ledger_rows(in_two)) == (verdict, replies)


def test_a_shard_that_is_missing_or_was_left_half_done_comes_back_by_the_same_split(
    drawn: Workspace, script: Script
) -> None:
    script("shard", "split", 3, "--workspace", drawn.root, code=0)
    shutil.rmtree(place(drawn, 2).root)
    (place(drawn, 0).root / SHARD_FILE).unlink()
    assert "1 of 3" in script("shard", "merge", "--workspace", drawn.root, code=2).err
    assert "another number" in script("shard", "split", 4, "--workspace", drawn.root, code=2).err
    script("shard", "split", 3, "--workspace", drawn.root, code=0)
    assert [shard.number for shard in shards.there(drawn)] == [0, 1, 2]


def ledger_rows(workspace: Workspace) -> int:
    from duel.calls.ledger import Ledger

    with Ledger(workspace.ledger) as ledger:
        return int(ledger.query("SELECT COUNT(*) FROM replies")[0][0])


def test_the_status_tells_how_far_each_shard_is(drawn: Workspace, script: Script, stand_in: StandIn) -> None:
    script("shard", "split", 2, "--workspace", drawn.root, code=0)
    first = shards.there(drawn)[0]
    script("king.py", "--workspace", first.workspace.root, code=0)
    told = script("shard", "status", "--workspace", drawn.root, code=1).out.splitlines()
    assert f"0000  open    {first.prompts} turns, {first.prompts} kings, 0 challengers, 0 judged, $0.00" in told[0]
    assert "0 kings" in told[1]


def test_shards_that_do_not_fit_together_are_refused(drawn: Workspace, script: Script, stand_in: StandIn) -> None:
    place = ("--workspace", drawn.root)
    assert "there are no shards" in script("shard", "merge", *place, code=2).err
    assert "takes 1 to 9,999" in script("shard", "split", 0, *place, code=2).err
    script("shard", "split", 2, *place, code=0)
    assert "another number of shards" in script("shard", "split", 3, *place, code=2).err
    one, two = (shard.workspace for shard in shards.there(drawn))
    script("king.py", "--workspace", one.root, code=0)
    stray = one.answer_paths()[0]
    (two.root / "answer_0").mkdir()
    shutil.copy(stray, two.root / "answer_0" / stray.name)
    assert "a turn lies in two shards" in script("shard", "merge", *place, code=2).err
    shutil.rmtree(two.root)
    assert "some shards are missing" in script("shard", "merge", *place, code=2).err


def test_a_folder_in_the_place_of_an_answer_is_told_and_the_split_can_be_repeated(
    drawn: Workspace, script: Script
) -> None:
    stem = next(drawn.prompts([]))[0]
    inside = drawn.root / "answer_0" / f"{stem}.json"
    inside.mkdir(parents=True)
    assert inside.name in script("shard", "split", 2, "--workspace", drawn.root, code=2).err
    inside.rmdir()
    script("shard", "split", 2, "--workspace", drawn.root, code=0)


def test_a_shard_at_work_is_not_merged(drawn: Workspace, script: Script) -> None:
    script("shard", "split", 2, "--workspace", drawn.root, code=0)
    with shards.there(drawn)[1].workspace.lock("answer", "king.py"):
        assert "another run is writing" in script("shard", "merge", "--workspace", drawn.root, code=2).err


def test_what_the_whole_has_changed_since_is_not_overwritten(
    in_two: Workspace, script: Script, stand_in: StandIn
) -> None:
    script("shard", "merge", "--workspace", in_two.root, code=0)
    path, answer = next(in_two.answers([]))
    in_two.save(path, answer.model_copy(update={"note": "mine"}))
    script("shard", "merge", "--workspace", in_two.root, code=0)
    assert b'"mine"' in path.read_bytes()


def test_people_s_votes_come_back_once(in_two: Workspace, script: Script, stand_in: StandIn) -> None:
    for number, shard in enumerate(shards.there(in_two)):
        told = {"judge": "person:ann", "order": "king_first", "at": "1"}
        vote = PersonVote(key=f"k{number}", pair="p", item=f"prompts_14_1_{number + 1}", **told)
        shard.workspace.save(shard.workspace.review / "votes.jsonl", orjson.dumps(vote.model_dump(mode="json")))
    for _ in range(2):
        script("shard", "merge", "--workspace", in_two.root, code=0)
    assert [vote.item for vote in read_votes(in_two, [])] == ["prompts_14_1_1", "prompts_14_1_2"]


def test_a_further_look_in_a_shard_is_remembered(in_two: Workspace, script: Script, stand_in: StandIn) -> None:
    settings = in_two.root / "shards" / "0001" / "chain.toml"
    settings.write_text(settings.read_text() + '\n[duel]\ncluster_by = "file"\n')
    script("validate.py", "--regate", "--workspace", settings.parent, code=0)
    script("shard", "merge", "--workspace", in_two.root, code=0)
    assert in_two.verdict().looks is not None
    assert in_two.verdict().looks.total == 2


@pytest.mark.parametrize("there", ["", "../draws/.."])
def test_files_that_the_settings_name_are_found_from_a_shard(drawn: Workspace, script: Script, there: str) -> None:
    (drawn.root.parent / "draws").mkdir(exist_ok=True)
    (drawn.root / "held-out.txt").write_text("someone__project-1\n")
    settings = drawn.root / "chain.toml"
    settings.write_text(settings.read_text().replace("decontaminate = []", 'decontaminate = ["held-out.txt"]'))
    script("shard", "split", 2, "--workspace", drawn.root / there / drawn.root.name if there else drawn.root, code=0)
    assert (drawn.root / "shards" / "0001" / "held-out.txt").read_text() == "someone__project-1\n"


def test_shards_run_side_by_side_under_xargs(in_two: Workspace, script: Script, stand_in: StandIn) -> None:
    for shard in shards.there(in_two):  # each is to judge and to decide, on votes that are paid for
        shutil.rmtree(shard.workspace.root / "score")
    assert "decided" not in script("shard", "status", "--workspace", in_two.root, code=1).out
    command = f"ls -d shards/0* | xargs -P 2 -I{{}} {sys.executable} -m duel run --workspace {{}}"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=in_two.root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert script("shard", "status", "--workspace", in_two.root, code=0).out.count("decided") == 2
    script("shard", "merge", "--workspace", in_two.root, code=0)
    assert orjson.loads(in_two.duel.read_bytes())["turns"]


def test_a_new_draw_leaves_answers_to_the_old_one_behind(in_two: Workspace, script: Script, stand_in: StandIn) -> None:
    script("prompt.py", "--n", 10, "--workspace", in_two.root, code=0)
    script("shard", "split", 2, "--workspace", in_two.root, code=0)
    script("shard", "merge", "--workspace", in_two.root)
    stems = {stem for stem, _, _ in in_two.prompts([])}
    assert {path.stem for path in in_two.answer_paths()} <= stems
    assert len(stems) == 10


def test_a_split_workspace_says_so_before_it_asks_anything(drawn: Workspace, script: Script, stand_in: StandIn) -> None:
    script("shard", "split", 2, "--workspace", drawn.root, code=0)
    assert "this workspace is split" in script("king.py", "--workspace", drawn.root, code=0).err
