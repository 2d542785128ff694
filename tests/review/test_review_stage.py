"""`duel review` as a user runs it, and what the verdict and the report then say."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from duel.records import DIMENSIONS, Bound, Gate, People, Verdict, WhatIf, WinMargin
from duel.records.votes import PeopleThreshold
from duel.reporting.report_sections import people_sections, what_if
from duel.review.ballots import take_votes
from duel.review.calibration import weighed
from duel.settings import Settings
from duel.stages import review
from duel.workspace import Workspace
from tests.conftest import Finished, ended, forked_command, run_command
from tests.reporting.workspaces import JUDGES
from tests.review.pages import RESEND_MS, saved

PANEL = Settings.model_validate({"judge": {"models": list(JUDGES)}})


@pytest.fixture
def duel(workspace: Workspace) -> Callable[..., Finished]:
    """Run `duel review` over the workspace."""
    (workspace.root / "chain.toml").write_text(f"[judge]\nmodels = {json.dumps(list(JUDGES))}\n")
    return lambda *words: run_command("review", "--workspace", workspace.root, *words)


@contextmanager
def served(workspace: Workspace, rater: str = "ana") -> Iterator[tuple[BaseProcess, str, IO[str]]]:
    """`duel review` in a process of its own, the address that it says, and what it says from there on."""
    (workspace.root / "chain.toml").write_text(f"[judge]\nmodels = {json.dumps(list(JUDGES))}\n")
    readable, writable = os.pipe()
    process = forked_command("review", "--workspace", workspace.root, "--rater", rater, told=writable)
    os.close(writable)
    with os.fdopen(readable, encoding="utf-8") as heard:
        try:
            said = ""
            for text in heard:
                said += text
                if found := re.search(r"votes at (http://127\.0\.0\.1:\d+/\w+/)", text):
                    yield process, found[1], heard
                    break
            else:
                pytest.fail(said)
        finally:
            process.kill()
            process.join()


def test_a_page_is_handed_over_and_its_votes_are_taken_once(
    duel: Callable[..., Finished], workspace: Workspace, tab: Any
) -> None:
    done = duel("--page", workspace.root / "bo.html", "--rater", "bo", "--count", 10)
    assert (done.code, "11 pairs for bo" in done.err) == (0, True)
    page = tab().open((workspace.root / "bo.html").as_uri())
    for key in "1" * 11:
        page.keyboard.press(key)
        page.keyboard.press("Enter")
    with page.expect_download() as coming:
        page.click("#download")
    coming.value.save_as(workspace.root / "votes.jsonl")
    with (workspace.root / "votes.jsonl").open("a") as file:
        file.write("no vote\n")
    first, second = duel("--take", workspace.root / "votes.jsonl"), duel("--take", workspace.root / "votes.jsonl")
    assert "11 new, 0 there before, 1 set aside" in first.err
    assert "0 new, 11 there before, 1 set aside" in second.err
    assert len(saved(workspace)) == 11
    figures = json.loads(duel("--figures", "--json").out)
    assert (figures["labels"], figures["raters"], figures["decision"]) == (10, 1, "undecided")


def test_a_process_killed_in_the_middle_loses_and_doubles_no_vote(workspace: Workspace, tab: Any) -> None:
    watched = tab(clock=True)
    with served(workspace) as (process, address, _):
        page = watched.open(address)
        for _ in range(5):
            page.keyboard.press("1")
            page.keyboard.press("Enter")
        process.kill()
        process.join()
    for _ in range(5):
        page.keyboard.press("2")
        page.keyboard.press("Enter")
    page.locator("#state:has-text('not saved yet')").wait_for()
    with served(workspace) as (_, again, _):
        assert again == address
        page.clock.fast_forward(RESEND_MS)
        page.locator("#state:text-is('All votes saved.')").wait_for()
    votes = saved(workspace)
    assert len(votes) == len({vote.key for vote in votes}) == 10


def test_ctrl_c_ends_it_and_says_what_the_votes_come_to(workspace: Workspace, tab: Any) -> None:
    with served(workspace) as (process, address, heard):
        page = tab().open(address)
        for _ in range(4):
            page.keyboard.press("0")
            page.keyboard.press("Enter")
        page.locator("#state:text-is('All votes saved.')").wait_for()
        os.kill(process.pid or 0, signal.SIGINT)
        said = heard.read()
        assert ended(process) == 0
    assert "4 labeled turns" in said
    assert "for this rater only" in said


def test_how_many_labels_a_decision_needs_is_said_before_anyone_starts(workspace: Workspace, capsys: Any) -> None:
    scores = review.judged(workspace, PANEL)
    review.say_labels_needed(review.people_of(workspace, PANEL, scores), PANEL)
    said = capsys.readouterr().err
    assert "45 labels a lead of 10, 181 labels a lead of 5, 4,520 labels a lead of 1" in said
    assert "under 30 nothing is decided" in said


def test_what_was_browsed_is_voted_on_and_never_counted(duel: Callable[..., Finished], workspace: Workspace) -> None:
    drawn = {line["item"] for line in draws(duel, workspace)}
    other = next(score.file for score in review.judged(workspace, PANEL) if score.file not in drawn)
    shown = review.drawn_for("ana", 5, [other], workspace, PANEL, review.judged(workspace, PANEL))
    assert shown[-1].showing.item == other
    rows = [vote_row(ballot) for ballot in shown]
    take_votes(workspace, shown, rows)
    found = review.people_of(workspace, PANEL, review.judged(workspace, PANEL))
    assert (found.labels, found.set_aside) == (5, {"browsed": 1})
    assert duel("--browse", "no_such_turn", "--page", workspace.root / "x.html").code == 2


def test_the_page_lands_where_the_command_is_typed(
    duel: Callable[..., Finished], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(elsewhere := tmp_path_factory.mktemp("here"))
    assert duel("--page", "bo.html", "--rater", "bo").code == 0
    assert (elsewhere / "bo.html").is_file()


def vote_row(ballot: Any) -> dict[str, Any]:
    made = {"rater": ballot.showing.rater, "id": ballot.id, "pair": ballot.pair_id, "seconds": 9.0}
    return made | {"choices": dict.fromkeys(DIMENSIONS, 1), "at": "2026-11-26T12:00:00.000Z"}


def draws(duel: Callable[..., Finished], workspace: Workspace) -> list[dict[str, Any]]:
    assert duel("--page", workspace.root / "ana.html", "--rater", "ana", "--count", 5).code == 0
    return [json.loads(line) for line in (workspace.review / "draws.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--rater", "a b"), "no name for a rater"),
        (("--rater", "../up"), "no name for a rater"),
        (("--rater", "stand-in-1"), "no name for a rater"),
        (("--count", "0"), "must be a number of at least 1"),
        (("--take", "nowhere.jsonl"), "cannot read the votes"),
    ],
)
def test_what_the_user_must_change_is_one_message_and_exit_code_2(
    duel: Callable[..., Finished], words: tuple[str, ...], why: str
) -> None:
    done = duel(*words)
    assert done.code == 2
    assert why in done.err


def test_a_page_that_is_asked_for_offline_is_written_too(workspace: Workspace) -> None:
    page = workspace.root / "ana.html"
    review.run(
        workspace, Settings.model_validate({"judge": {"models": list(JUDGES)}}), rater="ana", page=page, offline=True
    )
    assert page.read_bytes().startswith(b"<!")


def test_an_offline_run_shows_stand_in_raters_named_as_such(script: Callable[..., Finished], tmp_path: Path) -> None:
    (tmp_path / "chain.toml").write_text('[sample]\nn = 8\n[execute]\nbackend = "off"\n')
    script("run.py", "--offline", "--workspace", tmp_path, code=0)
    people = People.model_validate(json.loads((tmp_path / "score" / "_duel.json").read_bytes())["people"])
    assert [row.rater for row in people.by_rater] == ["stand-in-1", "stand-in-2"]
    report = (tmp_path / "report" / "report.md").read_text()
    assert "## People (STAND-IN RATERS)" in report
    assert "rules voted here, no person did" in report
    assert "Where people and panel differ most" in report
    before = (tmp_path / "review" / "votes.jsonl").read_bytes()
    script("run.py", "--offline", "--workspace", tmp_path, code=0)
    assert (tmp_path / "review" / "votes.jsonl").read_bytes() == before


VERDICT = Verdict(
    accepted=True,
    decision="accepted",
    lcb=0.1,
    missing=Bound(clusters=50, lcb=0.1),
    gates=[
        Gate(name="margin", value=9.0, threshold=2.0, held=True),
        Gate(name="lcb", value=0.1, held=True),
        Gate(name="clusters", value=50, threshold=30, held=True),
        Gate(name="missing_votes", value=0.1, held=True),
    ],
    why=["The panel says so."],
    what_if=WhatIf(margins=[WinMargin(win_margin=2.0, decision="accepted"), WinMargin(win_margin=9.5)]),
)
REQUIRED = Settings.model_validate({"review": {"weight": "require"}})
AHEAD = People(decision="ahead", labels=40, clusters=40, margin=9.0, lcb=0.05)


@pytest.mark.parametrize(
    ("decision", "lcb", "expected"),
    [("ahead", 0.05, "accepted"), ("not-shown", -0.01, "rejected"), ("undecided", 0.05, "undecided")],
)
def test_the_gate_is_peoples_where_they_are_required(decision: str, lcb: float, expected: str) -> None:
    people = AHEAD.model_copy(update={"decision": decision, "lcb": lcb})
    found = weighed(VERDICT, people, REQUIRED)
    assert (found.accepted, found.decision) == (expected == "accepted", expected)
    assert [gate.name for gate in found.gates] == ["people_margin", "people_lcb", "clusters", "people_missing"]
    assert found.why[-1] == "By the panel alone: The panel says so."
    beside = weighed(VERDICT, people, Settings())
    assert (beside.accepted, beside.gates, beside.people) == (True, VERDICT.gates, people)
    assert weighed(VERDICT, people, Settings.model_validate({"review": {"weight": "none"}})).people is None


def refused_by(verdict: Verdict, people: People, chosen: Settings = REQUIRED) -> list[str]:
    return [gate.name for gate in weighed(verdict, people, chosen).gates if not gate.held]


def test_a_panel_that_is_too_harsh_refuses_nothing_that_people_prefer() -> None:
    lost = [gate.model_copy(update={"value": -0.02, "held": False}) for gate in VERDICT.gates]
    lost[2] = VERDICT.gates[2]
    harsh = VERDICT.model_copy(
        update={"gates": lost, "decision": "rejected", "lcb": -0.02, "missing": Bound(clusters=50, lcb=-0.02)}
    )
    assert refused_by(harsh, AHEAD) == []


def test_what_missing_votes_take_from_the_panels_bound_they_take_from_peoples() -> None:
    assert refused_by(VERDICT.model_copy(update={"missing": Bound(clusters=50, lcb=0.06)}), AHEAD) == []
    found = weighed(VERDICT.model_copy(update={"missing": Bound(clusters=50, lcb=0.04)}), AHEAD, REQUIRED)
    assert [gate.name for gate in found.gates if not gate.held] == ["people_missing"]
    assert found.gates[3].value == pytest.approx(-0.01)
    assert "With the missing votes made good, people's bound is not above 0." in found.why
    better = weighed(VERDICT.model_copy(update={"missing": Bound(clusters=50, lcb=0.2)}), AHEAD, REQUIRED)
    assert better.gates[3].value == AHEAD.lcb


def test_people_are_asked_for_the_margin_too_and_the_what_if_table_says_so() -> None:
    assert refused_by(VERDICT, AHEAD.model_copy(update={"margin": 1.0})) == ["people_margin"]
    bound = Settings.model_validate({"review": {"weight": "require"}, "duel": {"margin_bound": True}})
    assert refused_by(VERDICT, AHEAD, bound) == []
    assert refused_by(VERDICT, AHEAD.model_copy(update={"lcb": 0.009}), bound) == ["people_lcb"]
    found = weighed(VERDICT, AHEAD, REQUIRED)
    assert [row.decision for row in found.what_if.margins] == ["accepted", "rejected"]


def test_the_final_min_that_people_support_stands_in_the_what_if_table() -> None:
    people = AHEAD.model_copy(update={"final_min": [PeopleThreshold(share=0.8, final_min=65.0, labels=30, turns=3)]})
    found = weighed(VERDICT, people, Settings(), np.array([64.0, 65.0, 70.0, 90.0, np.nan]))
    assert next(row.final for row in found.what_if.thresholds if row.final_min == 65.0) == 3
    (table, _) = what_if(found).tables
    row = next(row for row in table.rows if row[0] == "65")
    assert (table.columns[-1], row[1], row[-1]) == ("people prefer it", "3", "in 80 %")


def test_where_nobody_has_voted_the_section_says_how_to_begin() -> None:
    (section,) = people_sections(People(labels_needed={"10": 45}))
    assert section.tables == []
    assert "`duel review`" in section.notes[0]


def test_only_turns_that_could_be_kept_and_are_judged_as_they_stand_are_drawn(workspace: Workspace) -> None:
    kept = {score.file for score in review.judged(workspace, PANEL)}
    refused = {
        path.stem for path, answer in workspace.answers([]) if (audit := answer.audit("challenger")) and audit.leaking
    }
    assert refused and not kept & refused
    path, score = next((path, score) for path, score in workspace.scores([]) if score.file in kept)
    score.made_with["candidates"] = "other texts"
    workspace.save(path, score)
    assert kept - {score.file for score in review.judged(workspace, PANEL)} == {path.stem}
