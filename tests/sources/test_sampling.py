"""prompt.py as its user sees it: what is drawn, that it is drawn again the same, and what is said when it cannot be."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duel.sources.sampling import loops
from tests.sources.tables import (
    CLEAN,
    base_commit,
    configure,
    drawn,
    everything,
    issue,
    left_out,
    messages,
    pull,
    rollout,
    write_pulls,
    write_rollouts,
)

Script = Callable[..., Any]


def test_a_prompt_is_the_history_up_to_a_turn_and_the_turn_itself(home: Path, sampler: Script) -> None:
    sampler("--workspace", home, code=0)
    rows = drawn(home)
    assert len(rows) == 6
    for row in rows:
        said = messages(row["instance_id"], 20, int(row["assistant"].split("rollout ")[1].split()[0]))
        index = 2 * row["turn"]
        assert row["messages"] == said[:index]
        assert row["assistant"] == said[index]["content"]
        assert row["source"]["dataset"] == "runs"
        assert row["source"]["revision"].startswith("local-")
        assert 0 < row["source"]["probability"] <= 1
        assert row["format"] == "duel-prompt/1"


def test_every_pull_request_is_mirrored_with_its_files(home: Path, sampler: Script) -> None:
    sampler("--workspace", home, code=0)
    for row in drawn(home):
        commit = json.loads((home / "commit" / f"{row['instance_id']}.json").read_bytes())
        assert commit["issue"] == issue(row["instance_id"])
        assert [file["path"] for file in commit["files"]] == ["src/app.py", "tests/test_app.py"]
        assert commit["FAIL_TO_PASS"] == ["test_one"]
        assert commit["source"]["file"] == "pulls.parquet"


def test_one_turn_of_one_rollout_of_each_pull_request(home: Path, sampler: Script) -> None:
    configure(home, n=100)
    done = sampler("--workspace", home, code=0)
    ids = [row["instance_id"] for row in drawn(home)]
    assert len(ids) == len(set(ids)) == 9  # eleven runs of rows, of which two straddle
    assert "9 turns from 9 pull requests" in done.err
    assert "that is fewer than the 100 asked for" in done.err


def test_several_rollouts_of_a_pull_request_are_different_rows(home: Path, sampler: Script) -> None:
    configure(home, n=100, per_instance=3)
    sampler("--workspace", home, code=0)
    places = [(row["source"]["file"], row["source"]["row"]) for row in drawn(home)]
    assert len(places) == len(set(places)) == 27
    assert set(Counter(row["instance_id"] for row in drawn(home)).values()) == {3}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_draw(home: Path, sampler: Script) -> None:
    sampler("--workspace", home, code=0)
    first = everything(home)
    sampler("--workspace", home, "--again", code=0)
    assert everything(home) == first
    sampler("--workspace", home, "--seed", "1", code=0)
    assert everything(home)["prompt/prompts_6_1.json"] != first["prompt/prompts_6_1.json"]


def test_the_order_of_rows_on_disk_decides_nothing_about_which_pull_requests_come_first(
    home: Path, sampler: Script
) -> None:
    sampler("--workspace", home, code=0)
    first = [row["instance_id"] for row in drawn(home)]
    whole = [rollout(f"owner__repo{n // 3}-{n}", number=k) for n in reversed(range(9)) for k in range(4)]
    write_rollouts(home / "runs" / "data" / "train-00000.parquet", whole)
    for name in ("train-00001.parquet", "train-00002.parquet"):
        (home / "runs" / "data" / name).unlink()
    sampler("--workspace", home, code=0)
    assert [row["instance_id"] for row in drawn(home)] == first


def test_a_rerun_has_nothing_to_do_and_a_damaged_file_is_named_and_drawn_again(home: Path, sampler: Script) -> None:
    sampler("--workspace", home, code=0)
    first = everything(home)
    assert "nothing to do" in sampler("--workspace", home, code=0).err
    (home / "prompt" / "prompts_6_1.json").write_bytes(b"[{")
    next((home / "commit").glob("*.json")).unlink()
    done = sampler("--workspace", home, code=0)
    assert "changed or gone since it was drawn: prompt/prompts_6_1.json" in done.err
    assert everything(home) == first


def test_a_prompt_edited_by_hand_with_the_same_size_and_time_is_noticed(home: Path, sampler: Script) -> None:
    for _ in range(2):
        sampler("--workspace", home, code=0)
    path = home / "prompt" / "prompts_6_1.json"
    found, text = path.stat(), path.read_bytes()
    path.write_bytes(text.replace(b"bash", b"hsab", 1))
    assert path.read_bytes() != text
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert path.stat().st_size == found.st_size
    assert "changed or gone since it was drawn" in sampler("--workspace", home, code=0).err
    assert path.read_bytes() == text


def test_an_interrupted_run_is_not_taken_for_a_finished_one(home: Path, sampler: Script) -> None:
    sampler("--workspace", home, code=0)
    first = everything(home)
    # What a kill between the prompt files and the mark of another draw leaves behind.
    (home / ".duel" / "prompt.json").unlink()
    (home / "prompt" / "prompts_6_1.json").write_bytes(b"[]")
    (home / "prompt" / "prompts_6_2.json").write_bytes(b"[]")
    sampler("--workspace", home, code=0)
    assert everything(home) == first


def test_prompts_from_elsewhere_are_named_and_stay(home: Path, sampler: Script) -> None:
    (home / "prompt").mkdir()
    (home / "prompt" / "prompts_9_1.json").write_bytes(b"[]")
    done = sampler("--workspace", home, code=0)
    assert "prompt/ also holds prompts from elsewhere (prompts_9_1.json)" in done.err
    assert (home / "prompt" / "prompts_9_1.json").exists()


def test_a_new_draw_takes_the_place_of_the_old_one(home: Path, sampler: Script) -> None:
    sampler("--workspace", home, code=0)
    sampler("--workspace", home, "--n", "2", code=0)
    assert [path.name for path in (home / "prompt").iterdir()] == ["prompts_2_1.json"]
    assert (home / "attic" / "prompt" / "prompts_6_1.json").exists()


def test_a_draw_is_kept_with_its_flags_until_the_settings_change(home: Path, sampler: Script) -> None:
    sampler("--workspace", home, "--n", "2", code=0)
    done = sampler("--workspace", home, code=0)
    assert "keeping the draw of 2 turns" in done.err and "nothing to do" in done.err
    (home / "chain.toml").write_text((home / "chain.toml").read_text().replace("[sample]", "[sample]\nmax_turn = 9"))
    done = sampler("--workspace", home, code=0)
    assert "[sample] has changed since the draw that lies here" in done.err
    assert len(drawn(home)) == 6


def test_files_hold_200_prompts_each(tmp_path: Path, sampler: Script) -> None:
    configure(tmp_path, n=450, per_instance=50, dataset="runs.parquet")
    rows = [rollout(f"o__r-{n}", turns=2, number=k) for n in range(9) for k in range(50)]
    write_rollouts(tmp_path / "runs.parquet", rows)
    write_pulls(tmp_path / "pulls.parquet", [pull(f"o__r-{n}") for n in range(9)])
    sampler("--workspace", tmp_path, code=0)
    sizes = [len(json.loads((tmp_path / "prompt" / f"prompts_450_{k}.json").read_bytes())) for k in (1, 2, 3)]
    assert sizes == [200, 200, 50]


@pytest.mark.parametrize(
    ("narrowing", "holds"),
    [
        ({"min_turn": 3}, lambda row: row["turn"] >= 3),
        ({"max_turn": 2}, lambda row: row["turn"] <= 2),
        ({"exit_status": "Submitted"}, lambda row: row["source"]["exit_status"] == "Submitted"),
        ({"max_history_tokens": 150}, lambda row: row["turn"] <= 2),
    ],
)
def test_the_settings_narrow_the_draw(
    home: Path, sampler: Script, narrowing: dict[str, Any], holds: Callable[[dict[str, Any]], bool]
) -> None:
    configure(home, n=100, per_instance=10, **narrowing)
    sampler("--workspace", home, code=0)
    assert drawn(home)
    assert all(holds(row) for row in drawn(home))


def test_a_repository_gives_no_more_than_its_cap(home: Path, sampler: Script) -> None:
    configure(home, n=100, per_repo=1)
    done = sampler("--workspace", home, code=0)
    assert sorted(row["repo"] for row in drawn(home)) == ["owner/repo0", "owner/repo1", "owner/repo2"]
    assert "6 turns left out: the repository's cap is reached" in done.err


def test_a_pull_request_that_does_not_belong_is_left_out_and_the_next_takes_its_place(
    home: Path, sampler: Script
) -> None:
    configure(home, n=7)
    rows = [pull(f"owner__repo{n // 3}-{n}") for n in range(9)]
    rows[0]["base_commit"] = "f" * 40
    rows[1]["problem_statement"] = "Something else entirely"
    write_pulls(home / "pulls.parquet", rows)
    sampler("--workspace", home, code=0)
    assert len(drawn(home)) == 7
    assert left_out(home)["turns"] == {"base-commit-differs": 1, "issue-differs": 1}
    lines = [json.loads(line) for line in (home / "report" / "dropped.jsonl").read_text().splitlines()]
    assert {line["instance_id"] for line in lines} == {"owner__repo0-0", "owner__repo0-1"}


def test_a_turn_without_a_pull_request_stays_only_where_the_reference_is_judged(home: Path, sampler: Script) -> None:
    configure(home, n=100)
    write_pulls(home / "pulls.parquet", [pull(f"owner__repo{n // 3}-{n}") for n in range(4)])
    done = sampler("--workspace", home, code=0)
    assert len(drawn(home)) == 4
    assert "5 turns left out: no pull request of that id" in done.err
    sampler("--workspace", home, code=0, DUEL_MODE="1")
    assert len(drawn(home)) == 9


def test_excluded_ids_and_refused_licenses_stay_out(home: Path, sampler: Script) -> None:
    rows = [pull(f"owner__repo{n // 3}-{n}", license="GPL-3.0" if n == 1 else "MIT") for n in range(9)]
    write_pulls(home / "pulls.parquet", rows)
    configure(home, n=100)
    with (home / "chain.toml").open("a") as file:
        file.write('licenses = { refuse = ["GPL-3.0"] }\n[generate]\nexclude_ids = ["owner__repo0-0"]\n')
    sampler("--workspace", home, code=0)
    assert {row["instance_id"] for row in drawn(home)} == {f"owner__repo{n // 3}-{n}" for n in range(2, 9)}
    assert left_out(home)["rows"]["excluded"] == 4
    assert left_out(home)["turns"] == {"license": 1}


def test_a_huge_pull_request_is_listed_with_its_size(home: Path, sampler: Script) -> None:
    rows = [pull(f"owner__repo{n // 3}-{n}") for n in range(9)]
    rows[2]["patch"] += "x" * 60_000
    write_pulls(home / "pulls.parquet", rows)
    configure(home, n=100)
    done = sampler("--workspace", home, code=0)
    page = (home / "report" / "hugePR.md").read_text()
    assert "| `owner__repo0-2` | 20," in page
    assert page.count("owner__") == 1
    assert "too large for the challenger's prompt: 1 pull request (report/hugePR.md)" in done.err


def test_the_real_runs_pass_the_check_of_the_join(tmp_path: Path, sampler: Script, shared: Path) -> None:
    (tmp_path / "chain.toml").write_text(CLEAN)
    for source, count in (("mini_swe_agent", 38), ("swe_zero", 1)):
        where = ["--source", shared / source / "train-00000.parquet", "--pulls", shared / "pulls" / "*.parquet"]
        done = sampler("--workspace", tmp_path, "--n", count, *where, code=0)
        assert f"{count} turn{'s' * (count > 1)} from {count} pull request" in done.err
        assert "fewer" not in done.err
        assert "left out" not in done.err


def test_offline_draws_the_bundled_sample(tmp_path: Path, sampler: Script) -> None:
    sampler("--workspace", tmp_path, "--offline", code=0)
    rows = drawn(tmp_path)
    assert len(rows) >= 100
    assert len({row["instance_id"] for row in rows}) >= 40
    assert all((tmp_path / "commit" / f"{row['instance_id']}.json").exists() for row in rows)


def test_the_plan_downloads_and_writes_nothing(home: Path, sampler: Script) -> None:
    done = sampler("--workspace", home, "--plan", code=0)
    assert "3 of 3 files" in done.err
    assert "to download: 0 files" in done.err
    assert not (home / "prompt").exists()


def test_two_runs_in_one_workspace_do_not_mix(home: Path, sampler: Script) -> None:
    from duel.workspace import Workspace

    with Workspace(home).lock("prompt", "prompt.py"):
        done = sampler("--workspace", home, code=2)
    assert "another run is writing prompt files" in done.err


def test_a_base_commit_in_the_task_is_the_pull_requests(home: Path, sampler: Script) -> None:
    sampler("--workspace", home, code=0)
    for row in drawn(home):
        assert f"- Base commit: {base_commit(row['instance_id'])}" in row["messages"][1]["content"]


def test_several_turns_of_a_rollout_are_drawn_and_their_probability_says_so(home: Path, sampler: Script) -> None:
    sampler("--workspace", home, "--n", "9", code=0)
    one = {row["instance_id"]: row for row in drawn(home)}
    configure(home, n=100, per_rollout=2)
    sampler("--workspace", home, code=0)
    rows = drawn(home)
    assert set(Counter((row["source"]["file"], row["source"]["row"]) for row in rows).values()) == {2}
    assert all(one[row["instance_id"]]["source"]["row"] == row["source"]["row"] for row in rows)
    assert {(row["instance_id"], row["turn"]) for row in one.values()} <= {(r["instance_id"], r["turn"]) for r in rows}
    shares = {row["source"]["probability"] / one[row["instance_id"]]["source"]["probability"] for row in rows}
    assert all(share == pytest.approx(2, rel=1e-4) for share in shares)


def test_turns_behind_a_loop_are_left_out_on_request(tmp_path: Path, sampler: Script) -> None:
    stuck = rollout("o__r-1", turns=9)
    for message in stuck["messages"][8::2]:  # turns 4 to 9 run one command
        message["content"] = "Again.\n\n```bash\nmake\n```"
    write_rollouts(tmp_path / "runs.parquet", [stuck, rollout("o__r-2", turns=9)])
    write_pulls(tmp_path / "pulls.parquet", [pull("o__r-1"), pull("o__r-2")])
    for first, ids in ((8, ["o__r-2"]), (7, ["o__r-1", "o__r-2"])):  # turn 8 follows four in a row, turn 7 three
        narrow = {"min_turn": first, "max_turn": first, "skip_loops": True}
        configure(tmp_path, n=2, dataset="runs.parquet", **narrow)
        sampler("--workspace", tmp_path, code=0)
        assert sorted(row["instance_id"] for row in drawn(tmp_path)) == ids
        assert left_out(tmp_path)["rows"] == ({"loops": 1} if first == 8 else {})


@pytest.mark.parametrize(
    ("commands", "circles"),
    [("abcd", False), ("aa", False), ("abab", True), ("abca", False), ("abcdefghaaaa", True), ("aaa", False)],
)
def test_half_of_the_commands_again_or_four_in_a_row_are_a_loop(commands: str, circles: bool) -> None:
    assert loops([*commands]) is circles
