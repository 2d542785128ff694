"""validate.py as a user runs it, against the stand-in endpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from duel import offline, placement, settings
from duel.judging import kept_case
from duel.judging.gate import FIGURES, Evidence
from duel.records import DIMENSIONS, Score
from duel.settings import Settings
from duel.stages import report, validate
from duel.workspace import Workspace
from tests.judging.judges import TURN, write_answers


def chosen_with(workspace: Workspace, text: str = "") -> Settings:
    """The settings of an offline run whose chain.toml holds `text`."""
    workspace.save(workspace.root / "chain.toml", text.encode())
    return settings.load(workspace.root, *offline.overrides(True))


LOW = "[report]\nfinal_min = 20.0\ndefeat_min = 10.0\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Thirty-two turns, of which the challenger repeats itself in none."""
    made = Workspace(tmp_path)
    write_answers(made, 32, challenger=TURN.format("src", "src/main.py"))
    return made


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what the first test that needs it makes."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def validated(workspace: Workspace, kept: Path) -> Workspace:
    """The same with votes, scores and a verdict: what further runs find, and ask no more."""
    if not (first := kept / "validated").exists():
        validate.run(workspace, chosen_with(workspace), offline=True)
        shutil.copytree(workspace.root, first)
    return Workspace(shutil.copytree(first, workspace.root, dirs_exist_ok=True))


def verdict(workspace: Workspace) -> dict[str, Any]:
    return json.loads(workspace.duel.read_bytes())


def everything(workspace: Workspace) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((workspace.root / "score").rglob("*.json"))}


@pytest.fixture
def small_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of scores is kept of few turns too, and written in pieces."""
    monkeypatch.setattr(kept_case, "FEWEST", 1)
    monkeypatch.setattr(kept_case, "ROWS_AT_ONCE", 10)


def test_a_run_a_rerun_and_a_regate_end_in_the_same_bytes(script: Callable[..., Any], workspace: Workspace) -> None:
    first = script("validate.py", "--workspace", workspace.root, "--offline", code=0)
    assert "OFFLINE" in first.err
    found = verdict(workspace)
    assert (found["turns"], found["parsed"], found["clusters"], found["calls"]) == (32, 32, 32, 192)
    assert found["offline"] is True and found["looks"]["total"] == 1
    before = everything(workspace)
    again = script("validate.py", "--workspace", workspace.root, "--offline", code=0)
    assert "judge: nothing to do, 32 finished before" in again.err
    workspace.duel.unlink()
    script("validate.py", "--workspace", workspace.root, "--offline", "--regate", code=0)
    assert everything(workspace) == before


def test_a_regate_under_which_no_vote_stands_leaves_the_verdict_as_it_is(
    script: Callable[..., Any], validated: Workspace
) -> None:
    workspace = validated
    before = everything(workspace)
    done = script("validate.py", "--workspace", workspace.root, "--regate", code=2)
    assert "other-panel" in done.err and "--offline" in done.err
    assert everything(workspace) == before


def test_a_regate_names_a_damaged_score_once_and_does_not_say_that_it_was_written_again(
    script: Callable[..., Any], validated: Workspace
) -> None:
    workspace = validated
    workspace.score_paths()[0].write_bytes(b'{"cut')
    said = script("validate.py", "--workspace", workspace.root, "--offline", "--regate", code=1).err
    assert "1 file was damaged and left out" in said and said.count("no valid score record") == 1
    assert "written again" not in said


def test_the_verdict_is_told_in_points_and_with_its_reasons(script: Callable[..., Any], workspace: Workspace) -> None:
    done = script("validate.py", "--workspace", workspace.root, "--offline", code=0)
    bound = verdict(workspace)["lcb"]
    assert f"{200 * bound:+.1f} points".replace("-", "−") in done.err and "lower bound of the margin" in done.err
    assert all(sentence in done.err for sentence in verdict(workspace)["why"])


def test_gates_change_for_nothing_and_check_tells_by_its_exit_code(
    script: Callable[..., Any], validated: Workspace
) -> None:
    workspace = validated
    margin = verdict(workspace)["margin"]
    chain = workspace.root / "chain.toml"
    for wanted, code in ((margin - 1, 0 if verdict(workspace)["lcb"] > 0 else 4), (margin + 1, 4)):
        chain.write_text(f"[duel]\nwin_margin = {wanted}\n")
        done = script("validate.py", "--workspace", workspace.root, "--offline", "--regate", "--check", code=code)
        assert ("the challenger is not accepted" in done.err) == (code == 4)
    chain.write_text("[judge]\nmetric_keys = ['protocol']\n")
    script("validate.py", "--workspace", workspace.root, "--offline", "--regate", code=0)
    assert verdict(workspace)["challenger_score"] == pytest.approx(verdict(workspace)["by_metric"]["protocol"])
    looks = verdict(workspace)["looks"]
    assert looks["total"] == 2 and looks["history"][0]["statistic"] != looks["history"][1]["statistic"]
    assert verdict(workspace)["accepted"] is False and verdict(workspace)["alpha_used"] == 0.0


def test_the_noise_floor_is_asked_for_kept_and_shown(script: Callable[..., Any], validated: Workspace) -> None:
    workspace = validated
    asked = [
        script("validate.py", "--workspace", workspace.root, "--offline", "--noise-floor", 3, code=0).err
        for _ in range(2)
    ]
    assert "noise: 3 done" in asked[0] and "nothing to do" in asked[1]
    found = verdict(workspace)["noise_floor"]
    assert found["turns"] == 3 and found["real_margin"] is not None and 0 <= found["final_share"] <= 1
    answers = [answer for _, answer in workspace.answers([])]
    seconds = [c for answer in answers for c in answer.of_side("king") if not c.chosen]
    assert [c.id for c in seconds] == ["king-2"] * 3 and all(c.text and c.made for c in seconds)
    assert all(answer.king == TURN.format("src", "src") for answer in answers)
    kept = [json.loads(path.read_bytes()) for path in workspace.score_paths("noise")]
    assert [score["pair"] for score in kept] == [{"opponent": "king-1", "challenger": "king-2"}] * 3
    assert len(list(workspace.score_paths())) == 32


def test_nothing_to_judge_is_one_message_and_a_hint(script: Callable[..., Any], tmp_path: Path) -> None:
    done = script("validate.py", "--workspace", tmp_path, "--offline", code=2)
    assert "there is nothing to decide on" in done.err and "hint: run king.py and ch.py first" in done.err


def test_a_plan_costs_nothing(script: Callable[..., Any], workspace: Workspace) -> None:
    done = script("validate.py", "--workspace", workspace.root, "--offline", "--plan", code=0)
    assert "192 calls" in done.err + done.out
    done = script("validate.py", "--workspace", workspace.root, "--offline", "--plan", "--noise-floor", 3, code=0)
    assert f"{192 + 3 + 3 * 6} calls" in done.out
    for flag in ("--noise-floor", "--canary"):  # not a plan that leaves it out
        done = script("validate.py", "--workspace", workspace.root, "--offline", "--plan", flag, -1, code=2)
        assert f"{flag}: must be a number of at least 0: -1" in done.err
    assert not (workspace.root / "score").exists()


def test_canary_and_confirmation_are_asked_once_and_stand_in_the_verdict(validated: Workspace) -> None:
    workspace = validated
    chosen = chosen_with(workspace, LOW)
    first = validate.run(workspace, chosen, offline=True, canary=8, confirm=True).found
    assert first.canary.turns == 8 and len(first.canary.judges) == 3
    assert all(0 <= judge.moved <= judge.turns for judge in first.canary.judges)
    kept = [json.loads(path.read_bytes()) for path in workspace.score_paths("canary")]
    assert {score["pair"]["opponent"] for score in kept} == {"king-1"}
    assert {score["pair"]["challenger"].split(":")[0] for score in kept} == {"rule"}
    assert first.repeats.confirmed == first.buckets["final"] == len(workspace.score_paths("confirm")) > 0
    scores = [score for _, score in workspace.scores([]) if score.confirmed is not None]
    assert len(scores) == first.repeats.confirmed
    before = everything(workspace)
    again = validate.run(workspace, chosen, offline=True, canary=8, confirm=True)
    assert again.calls is not None and again.calls.calls == 0
    validate.run(workspace, chosen, offline=True, regate=True)
    assert everything(workspace) == before


def test_what_a_second_look_does_not_confirm_is_refined(validated: Workspace) -> None:
    workspace = validated
    chosen = chosen_with(workspace, LOW)
    validate.run(workspace, chosen, offline=True, confirm=True)
    path = workspace.score_paths("confirm")[0]
    fresh = workspace.read(path, Score)
    lost = [vote.model_copy(update=dict.fromkeys(DIMENSIONS, 0.0)) for vote in fresh.votes]
    workspace.save(path, fresh.model_copy(update={"votes": lost}))
    found = validate.run(workspace, chosen, offline=True, regate=True).found
    assert found.repeats.confirmed_share < 1
    score = workspace.read(workspace.score_path(path.stem), Score)
    placed = placement.place(score.score, None, chosen, score.confirmed)
    assert (placed.bucket, placed.reason) == ("refined", "not confirmed: a second look gave 0.0")
    report.run(workspace, chosen)
    assert json.loads(workspace.kept_path("refined", path.stem).read_bytes())["bucket_reason"].startswith(
        "not confirmed"
    )


def test_a_confirmation_may_have_judges_of_its_own(validated: Workspace) -> None:
    workspace = validated
    own = ["offline-stand-in/judge-x", "offline-stand-in/judge-y"]
    chosen = chosen_with(workspace, f"{LOW}[judge]\nconfirm_models = {json.dumps(own)}\n")
    validate.run(workspace, chosen, offline=True, confirm=True)
    scores = [workspace.read(path, Score) for path in workspace.score_paths("confirm")]
    assert scores and {vote.judge for score in scores for vote in score.votes} == set(own)


def test_a_figure_from_outside_stands_in_the_verdict_and_the_report(
    validated: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = validated

    def figure(evidence: Evidence) -> dict[str, Any]:
        row = {"what": "turns", "figure": str(len(evidence.columns)), "meaning": "a toy"}
        return {"figures": {"toy count": [row]}}

    monkeypatch.setitem(FIGURES._parts, "toy", figure)
    chosen = chosen_with(workspace)
    found = validate.run(workspace, chosen, offline=True).found
    assert found.figures == {"toy count": [{"what": "turns", "figure": "32", "meaning": "a toy"}]}
    report.run(workspace, chosen)
    assert "toy count" in (workspace.report / "report.md").read_text("utf-8")


def test_the_chart_of_dimensions_shows_what_the_table_beside_it_says(validated: Workspace) -> None:
    found = validated.verdict()
    for metric in found.metrics:
        by_judge = [judge.by_metric[metric.metric] for judge in found.judges]
        assert metric.score == pytest.approx(sum(by_judge) / len(by_judge))
    assert found.challenger_score == pytest.approx(sum(found.by_judge.values()) / len(found.by_judge))


@pytest.mark.usefixtures("small_table")
def test_a_second_regate_reads_no_record_and_says_the_same(
    validated: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = validated
    chosen = chosen_with(workspace)
    validate.run(workspace, chosen, offline=True, noise_floor=3, canary=4)
    first = validate.run(workspace, chosen, offline=True, regate=True).found
    dropped = workspace.dropped_path.read_bytes() if workspace.dropped_path.exists() else b""
    with monkeypatch.context() as unread:
        unread.setattr(Workspace, "read", lambda *_: pytest.fail("a record was read"))
        again = validate.run(workspace, chosen, offline=True, regate=True).found
        strict = validate.run(workspace, chosen_with(workspace, "[duel]\nwin_margin = 99.0\n"), regate=True).found
    assert again == first and strict.win_margin == 99.0 and strict.margin == first.margin
    assert (workspace.dropped_path.read_bytes() if workspace.dropped_path.exists() else b"") == dropped


@pytest.mark.usefixtures("small_table")
def test_the_kept_table_is_never_believed_against_the_files(validated: Workspace) -> None:
    workspace = validated
    chosen = chosen_with(workspace)
    validate.run(workspace, chosen, offline=True)
    first = validate.run(workspace, chosen, offline=True, regate=True).found
    path = workspace.score_paths()[0]
    score = workspace.read(path, Score)
    lost = [vote.model_copy(update=dict.fromkeys(DIMENSIONS, 1.0)) for vote in score.votes]
    workspace.save(path, score.model_copy(update={"votes": lost}))
    changed = validate.run(workspace, chosen, offline=True, regate=True).found
    assert changed.margin > first.margin
    other = validate.run(workspace, chosen_with(workspace, "[judge]\nmetric_keys = ['protocol']\n"), regate=True).found
    assert other.challenger_score == pytest.approx(other.by_metric["protocol"])
    (workspace.private / "scores.parquet").write_bytes(b"PK damaged")
    assert validate.run(workspace, chosen_with(workspace), offline=True, regate=True).found.margin == changed.margin


@pytest.mark.usefixtures("small_table")
def test_a_table_of_scores_with_other_votes_than_were_kept_is_not_believed(validated: Workspace) -> None:
    workspace = validated
    chosen, path = chosen_with(workspace), workspace.private / "scores.parquet"
    first = validate.run(workspace, chosen, offline=True).found
    table = parquet.read_table(path)
    for number, name in enumerate(table.column_names):
        if name.startswith("votes "):  # as damaged bytes may, with every length and stamp as it was
            table = table.set_column(number, name, pa.array([2] * len(table), table.column(number).type))
    parquet.write_table(table, path)
    assert validate.run(workspace, chosen, offline=True, regate=True).found.margin == first.margin


@pytest.mark.usefixtures("small_table")
def test_the_scores_are_left_as_one_table_with_a_column_for_each_vote(validated: Workspace) -> None:
    workspace = validated
    chosen = chosen_with(workspace)
    validate.run(workspace, chosen, offline=True)
    rows = {row["files"]: row for row in parquet.read_table(workspace.private / "scores.parquet").to_pylist()}
    scores = [workspace.read(path, Score) for path in workspace.score_paths()]
    assert rows.keys() == {score.file for score in scores}
    for score in scores:
        row = rows[score.file]
        assert (row["score"], row["instances"], row["part"]) == (score.score, score.instance_id, "columns")
        votes = {f"votes {v.judge} {v.order} {name}": 2 * getattr(v, name) for v in score.votes for name in DIMENSIONS}
        assert {name: row[name] for name in row if name.startswith("votes ")} == votes


@pytest.mark.parametrize(
    ("field", "value", "counted"),
    [("correctness", 7.0, 31), ("correctness", -1.0, 31), ("asked", 1 << 40, 31)]
    + [("usage", {"prompt_tokens": told}, 32) for told in ("many", {"input": 1}, 1e300, 1 << 60)],
)
def test_a_score_file_with_an_impossible_number_is_damaged_or_its_tokens_are_not_counted(
    validated: Workspace, field: str, value: Any, counted: int
) -> None:
    path = validated.score_paths()[0]
    told = json.loads(path.read_bytes())
    told["votes"][0][field] = value
    path.write_text(json.dumps(told), "utf-8")
    again = validate.run(validated, chosen_with(validated), regate=True)
    assert (again.found.parsed, again.exit_code) == (counted, int(counted < 32))
    assert again.found.left_out.get("damaged", 0) == 32 - counted
    assert 0 <= again.found.tokens["input"] < 1 << 40
