"""A turn opened in index.html, in a real browser: its replies, votes, history, and the way to the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duel.records import Answer, Candidate, Observed, Score, Selection
from duel.workspace import Workspace
from tests.reporting.conftest import open_first, report
from tests.reporting.workspaces import build

Tab = Callable[..., Any]
Shot = Callable[[Any, str], None]


def test_a_turn_shows_replies_votes_and_history(judged: Path, tab: Tab, shot: Shot) -> None:
    watched = tab()
    page = watched.open(judged)
    open_first(page)
    stem = page.inner_text("#turn #file")
    score = Score.parse(Workspace(judged).score_path(stem).read_bytes())
    answer = Answer.parse((judged / "answer_0" / f"{stem}.json").read_bytes())
    assert page.locator(".reply").count() == 3
    for side in ("king", "challenger"):
        shown = page.inner_text(f".reply.{side} pre")
        assert shown.split() == getattr(answer, side).split("```bash\n")[1].split("\n```")[0].split()
    assert page.locator(".votes tbody tr:not(.judge)").count() == len(score.votes)
    assert page.locator(".votes .judge").count() == 3
    assert page.locator(".history details").count() == len(answer.messages)
    last = page.locator(".history details[open]")
    assert last.count() == 1
    assert last.locator("pre").inner_text().split() == answer.messages[-1].content.split()
    if len(answer.messages) > 2:
        page.click(".history summary >> nth=1")
    assert page.inner_text(".history details >> nth=1 >> pre").split() == answer.messages[1].content.split()
    page.evaluate("scrollTo(0, 0)")
    shot(page, "turn")
    watched.assert_quiet()


def test_words_that_differ_are_marked_and_bash_is_colored(tmp_path: Path, tab: Tab) -> None:
    root = build(tmp_path, 3, size=1)
    path = Workspace(root).answer_paths()[0]
    answer = Answer.parse(path.read_bytes())
    answer.king = "THOUGHT: look at the old parser first\n\n```bash\ngrep -n 'def old' src/a.py | head -5\n```"
    answer.challenger = "THOUGHT: look at the new parser first\n\n```bash\ngrep -n 'def new' src/a.py | head -5\n```"
    path.write_bytes(answer.dump())
    assert report(root).code == 0
    page = tab().open(root, f"#{path.stem}")
    page.wait_for_selector(".reply.challenger")
    assert page.locator(".reply.king .changed").all_inner_texts() == ["old", "old"]
    assert page.locator(".reply.challenger .changed").all_inner_texts() == ["new", "new"]
    assert page.locator(".reply.king .b-command").all_inner_texts() == ["grep", "head"]
    assert "'def " in page.locator(".reply.king .b-string").first.inner_text()
    page.keyboard.press("d")
    assert page.locator(".changed").count() == 0


def test_a_leak_is_marked_in_the_text(judged: Path, tab: Tab, shot: Shot) -> None:
    page = tab().open(judged)
    page.select_option("[data-filter=leak]", "true")
    open_first(page)
    finding = page.inner_text(".warning code")
    assert "".join(page.locator(".reply.challenger mark").all_inner_texts()) == finding
    shot(page, "leak")


def test_a_link_leads_to_its_turn_and_back(judged: Path, tab: Tab) -> None:
    watched = tab()
    page = watched.open(judged, "#prompts_150_1_9")
    page.locator("#turn #file:text-is('prompts_150_1_9')").wait_for()
    assert "prompts_150_1_9" in page.title()
    page.click("#back")
    assert page.is_visible("#report")
    page.go_back()
    page.locator("#turn #file:text-is('prompts_150_1_9')").wait_for()
    page.evaluate("location.hash = '#nobody'")
    page.locator("#report").wait_for()
    assert watched.open(judged, "#nobody").is_visible("#report")
    watched.assert_quiet()


def test_a_megabyte_is_cut_with_a_way_to_the_whole(hostile: Path, tab: Tab) -> None:
    page = tab().open(hostile, "#prompts_30_1_1")
    page.wait_for_selector(".reply.challenger")
    gap = page.locator(".reply.challenger .gap")
    assert "characters are not on this page" in gap.inner_text()
    assert gap.locator("a").get_attribute("href") == "../answer_0/prompts_30_1_1.json"
    assert (hostile / "answer_0" / "prompts_30_1_1.json").stat().st_size > 3_000_000
    assert len(page.inner_text(".reply.challenger")) < 60_000
    page.click(".reply.challenger .unfold")
    assert page.locator(".reply.challenger .folded").count() == 0


def test_a_turn_opens_with_its_issue_and_the_pull_request_stands_behind_a_switch(tmp_path: Path, tab: Tab) -> None:
    root = build(tmp_path, 4, size=1)
    workspace = Workspace(root)
    path = workspace.answer_paths()[0]
    answer = workspace.read(path, Answer)
    commit = workspace.commit(answer.instance_id)
    assert commit is not None
    lines = "\n".join(f"line {number}" for number in range(1, 31))
    changed = {"issue": f"## Windows are lost\n\n{lines}", "description": "Keep them.", "patch": "-old\n+new\n"}
    workspace.save(workspace.commit_path(answer.instance_id), commit.model_copy(update=changed))
    challenger = answer.chosen("challenger")
    assert challenger is not None
    challenger.observed = Observed(ran=True, exit=2, printed="no such file")
    workspace.save(path, answer)
    assert report(root).code == 0
    page = tab().open(root, f"#{path.stem}")
    page.wait_for_selector(".reply.challenger")
    assert page.inner_text("#turn h1") == "Windows are lost"
    assert "line 8" in page.inner_text(".issue .prose") and "line 9" not in page.inner_text(".issue .prose")
    page.click(".issue .unfold")
    assert "line 30" in page.inner_text(".issue .prose")
    assert page.is_hidden(".pull")
    page.click("text=What the challenger knew")
    assert page.inner_text(".pull .added").strip() == "+new"
    assert "exit 2" in page.inner_text(".reply.challenger .ran")
    assert "no such file" in page.inner_text(".reply.challenger .ran pre")
    assert page.locator(".reply.king .ran").count() == 0


@pytest.mark.parametrize("kind", ["flip", "leak"])
def test_one_click_or_key_leads_to_the_next_turn_of_a_kind(judged: Path, tab: Tab, kind: str) -> None:
    page = tab().open(judged)
    open_first(page)
    for go in (lambda: page.click(f"[data-jump={kind}]"), lambda: page.keyboard.press(kind[0])):
        before = page.inner_text("#turn #file")
        go()
        page.locator(f"#turn #file:not(:text-is('{before}'))").wait_for()
        stem = page.inner_text("#turn #file")
        answer = Answer.parse((judged / "answer_0" / f"{stem}.json").read_bytes())
        found = answer.audit("challenger")
        score = Score.parse(Workspace(judged).score_path(stem).read_bytes())
        assert score.flips if kind == "flip" else found is not None and found.leaking


def test_a_turn_shows_the_candidates_that_were_not_chosen_and_why(tmp_path: Path, tab: Tab) -> None:
    workspace = Workspace(build(tmp_path, 12))
    path = workspace.answer_paths()[0]
    answer = workspace.read(path, Answer)
    lost = Selection(outcome="lost", to="challenger-1")
    other = Candidate(id="challenger-2", side="challenger", text="THOUGHT: <b>No.</b>", selection=lost)
    workspace.save(path, answer.model_copy(update={"candidates": [*answer.candidates, other]}))
    assert report(workspace.root).code == 0
    watched = tab()
    page = watched.open(workspace.root, f"#{path.stem}")
    page.wait_for_selector("h2:has-text('Other candidates')")
    shown = page.inner_text("#turn")
    assert "lost to challenger-1" in shown and "THOUGHT: <b>No.</b>" in shown
    watched.assert_quiet()
