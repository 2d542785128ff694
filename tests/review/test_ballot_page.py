"""The page people vote on, in a real browser: blind, quick, and not one vote lost or doubled."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from duel.records import Answer, Candidate, Observed
from duel.review.review_server import serving
from duel.workspace import Workspace
from tests.reporting.conftest import CONTRAST
from tests.reporting.hostile import ATTACKS, build_hostile
from tests.reporting.workspaces import JUDGES
from tests.review.pages import RESEND_MS, ballot_of, ballots, page_file, page_maker, saved, taker

Tabs = Callable[..., Any]
Shot = Callable[[Any, str], None]
LONG_WAIT = 60_000


def first_texts(page: Any) -> list[list[str]]:
    """Both replies as they stand on the screen, word by word."""
    return [text.split() for text in page.locator(".reply .scroll").all_inner_texts()]


def press_votes(page: Any, keys: str) -> None:
    """One key and Enter for each pair."""
    for key in keys:
        page.keyboard.press(key)
        page.keyboard.press("Enter")


def plain_data(html: bytes) -> dict[str, Any]:
    """What the page holds, unpacked."""
    packed = re.search(rb'id="data">([^<]*)<', html)
    assert packed
    return json.loads(zlib.decompress(base64.b64decode(packed[1])))


def test_a_hundred_duels_are_one_file_under_500_kb_that_asks_for_nothing(
    workspace: Workspace, tab: Tabs, shot: Shot
) -> None:
    path = page_file(workspace, ballots(workspace))
    assert path.stat().st_size < 500_000
    watched = tab()
    page = watched.open(path.as_uri())
    assert page.inner_text("#count") == "0 of 110"
    page.keyboard.press("2")
    shot(page, "review")
    watched.assert_quiet("file://")
    assert all(url == path.as_uri() for url in watched.requests)


def test_nothing_in_the_source_tells_a_side(workspace: Workspace) -> None:
    shown = ballots(workspace)
    html = page_file(workspace, shown).read_bytes()
    assert not re.search(rb"(?i)\bking\b|challenger|opponent|arbiter|referee|umpire|lab-four|score", html)
    data = plain_data(html)
    assert not any(judge in json.dumps(data) for judge in (*JUDGES, "lab-four"))
    assert {key for item in data["items"] for key in item} == {"id", "pair", "history", "texts"}
    for item, ballot in zip(data["items"], shown, strict=True):
        assert ballot.showing.item not in json.dumps(item)
    firsts = [ballot.order == "king_first" for ballot in shown]
    assert 35 <= sum(firsts) <= 75
    again = {ballot.showing.item: ballot for ballot in shown if ballot.showing.repeat}
    assert len(again) == 10
    assert all(
        again[b.showing.item].order != b.order for b in shown if b.showing.item in again and not b.showing.repeat
    )


def test_the_sides_are_shuffled_anew_for_every_person(workspace: Workspace) -> None:
    names = ("ana", "bo", "cy", "dee")
    order = {name: {b.showing.item: b.order for b in ballots(workspace, name, 40)} for name in names}
    shared = [item for item in order["bo"] if item in order["ana"]]
    assert 8 <= len(shared) <= 12
    assert any(order["ana"][item] != order["bo"][item] for item in shared)


def test_one_key_votes_letters_change_one_dimension_and_enter_saves(workspace: Workspace, tab: Tabs) -> None:
    watched = tab()
    page = watched.open(page_file(workspace, ballots(workspace, count=10)).as_uri())
    page.keyboard.press("Enter")
    assert "Choose first" in page.inner_text("#state")
    page.keyboard.press("1")
    page.keyboard.press("g")
    page.keyboard.press("e")
    page.keyboard.press("e")
    checked = page.locator("#dimensions input:checked").evaluate_all("all => all.map(r => [r.name, r.value])")
    assert dict(checked) == {
        "correctness": "1",
        "grounding": "2",
        "progress": "1",
        "protocol": "1",
        "efficiency": "0",
    }
    page.keyboard.press("n")
    page.keyboard.type("u s 2 the file was never read")
    page.keyboard.press("Enter")
    assert page.inner_text("#count") == "1 of 11"
    (vote,) = stored(page).values()
    assert vote["choices"] == {"correctness": 1, "grounding": 2, "progress": 1, "protocol": 1, "efficiency": 0}
    assert vote["reason"] == "u s 2 the file was never read"
    watched.assert_quiet("file://")


def stored(page: Any) -> dict[str, Any]:
    """The votes in this browser."""
    found = page.evaluate("Object.entries(localStorage).filter(([name]) => name.startsWith('duel-review:'))")
    return json.loads(found[0][1]) if found else {}


def test_a_vote_can_be_taken_back_and_the_new_one_replaces_it(workspace: Workspace, tab: Tabs) -> None:
    page = tab().open(page_file(workspace, ballots(workspace, count=10)).as_uri())
    seen = first_texts(page)
    press_votes(page, "11")
    page.keyboard.press("u")
    page.keyboard.press("u")
    assert first_texts(page) == seen
    assert page.get_attribute("[data-all='1']", "aria-pressed") == "true"
    press_votes(page, "2")
    assert sorted(vote["choices"]["progress"] for vote in stored(page).values()) == [1, 2]
    assert page.inner_text("#count") == "2 of 11"


def test_a_pair_is_skipped_with_a_reason(workspace: Workspace, tab: Tabs, shot: Shot) -> None:
    page = tab().open(page_file(workspace, ballots(workspace, count=10)).as_uri())
    page.keyboard.press("s")
    shot(page, "review-skip")
    page.keyboard.press("Escape")
    assert page.inner_text("#count") == "0 of 11"
    page.keyboard.press("s")
    page.click("#reasons label >> nth=2")
    page.click("#go")
    assert page.inner_text("#count") == "1 of 11"
    (vote,) = stored(page).values()
    assert (vote["choices"], vote["skipped"]) == (None, "I know this repository or who wrote it")


def test_a_reload_keeps_every_vote_and_the_file_comes_back_twice_as_once(
    workspace: Workspace, tab: Tabs, shot: Shot
) -> None:
    shown = ballots(workspace, count=20)
    address = page_file(workspace, shown).as_uri()
    page = tab().open(address)
    press_votes(page, "120" * 4)
    page.reload()
    page.wait_for_selector("html[data-ready=yes]", state="attached")
    assert page.inner_text("#count") == "12 of 22"
    assert "12 in this browser" in page.inner_text("#state")
    press_votes(page, "12" * 5)
    assert "All pairs are answered" in page.inner_text("#done")
    shot(page, "review-done")
    with page.expect_download() as coming:
        page.click("#download")
    assert coming.value.suggested_filename == "votes-ana.jsonl"
    rows = [json.loads(line) for line in Path(coming.value.path()).read_text().splitlines()]
    take = taker(workspace, shown)
    assert (take(rows).new, take(rows).there_before) == (22, 22)
    assert len({vote.key for vote in saved(workspace)}) == len(saved(workspace)) == 22
    assert page.inner_text("#state") == ""


def test_a_vote_means_what_was_on_the_screen(workspace: Workspace, tab: Tabs) -> None:
    shown = ballots(workspace, count=6)
    page = tab().open(page_file(workspace, shown).as_uri())
    for ballot in shown:
        first, second = (text.split("```bash\n")[1].split("\n```")[0].split() for text in ballot.texts)
        left, right = first_texts(page)
        assert (left[-len(first) :], right[-len(second) :]) == (first, second)
        press_votes(page, "1")
    rows = list(stored(page).values())
    taker(workspace, shown)(rows)
    votes = saved(workspace)
    assert len(votes) == 6
    for ballot, vote in zip(shown, votes, strict=True):
        if ballot.texts[0] == ballot.texts[1]:
            continue
        won = ballot.texts[0] == ballot.pair.challenger
        assert vote.correctness == float(won)
        assert vote.order == ("challenger_first" if won else "king_first")


def test_a_server_killed_in_the_middle_loses_and_doubles_no_vote(workspace: Workspace, tab: Tabs, shot: Shot) -> None:
    shown = ballots(workspace, count=30)
    take, make = taker(workspace, shown), page_maker(workspace, shown)
    watched = tab(clock=True)
    with serving(take, make, "ana", None, workspace.secret()) as address:
        page = watched.open(address)
        press_votes(page, "1" * 5)
        page.locator("#state:text-is('All votes saved.')").wait_for(timeout=LONG_WAIT)
    press_votes(page, "2" * 21)  # one more than the page sends at once
    page.locator("#state:has-text('21 not saved yet: the server does not answer')").wait_for(timeout=LONG_WAIT)
    shot(page, "review-server-gone")
    assert page.is_visible("#download")
    assert len(saved(workspace)) == 5
    with serving(take, make, "ana", None, workspace.secret()) as again:
        assert again == address
        page.clock.fast_forward(RESEND_MS)
        page.locator("#state:text-is('All votes saved.')").wait_for(timeout=LONG_WAIT)
        assert len(saved(workspace)) == 26
        page.reload()
        page.wait_for_selector("html[data-ready=yes]", state="attached")
        assert page.inner_text("#count") == "26 of 33"
        other = tab().open(address)
        assert other.inner_text("#count") == "26 of 33"
        other.keyboard.press("u")
        assert other.get_attribute("[data-all='2']", "aria-pressed") == "true"
    votes = saved(workspace)
    assert len(votes) == len({vote.key for vote in votes}) == 26
    watched.assert_quiet(address)


def test_an_answer_that_never_came_is_asked_for_again_and_counted_once(workspace: Workspace, tab: Tabs) -> None:
    """The vote is on disk, the connection breaks before the page hears of it."""
    shown = ballots(workspace, count=10)
    take, make = taker(workspace, shown), page_maker(workspace, shown)
    watched = tab(clock=True)
    with serving(take, make, "ana", None, workspace.secret()) as address:
        page = watched.open(address)

        def swallow(route: Any) -> None:
            route.fetch()
            route.abort()

        page.route("**/votes", swallow)
        press_votes(page, "1")
        page.locator("#state:has-text('1 not saved yet')").wait_for(timeout=LONG_WAIT)
        assert len(saved(workspace)) == 1
        page.unroute("**/votes")
        page.clock.fast_forward(RESEND_MS)
        page.locator("#state:text-is('All votes saved.')").wait_for(timeout=LONG_WAIT)
        assert len(saved(workspace)) == 1


def test_replies_are_never_below_the_fold(workspace: Workspace, tab: Tabs, shot: Shot) -> None:
    shown = ballots(workspace, count=10)
    path = workspace.answer_paths()[0].parent / f"{shown[0].showing.item}.json"
    answer = Answer.parse(path.read_bytes())
    answer.messages[-1].content = "Observation: " + "a long line of output\n" * 4_000
    answer.challenger = "THOUGHT: " + "so much to say " * 900 + "\n\n```bash\nls\n```"
    shown[0] = ballot_of(shown[0].showing, answer, workspace)
    address = page_file(workspace, shown).as_uri()
    for scheme in ("light", "dark"):
        touch = scheme == "light"
        page = tab(device_scale_factor=1, color_scheme=scheme, has_touch=touch, is_mobile=touch).open(address)
        for width, height in ((390, 844), (1280, 720), (2000, 1200)):
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate("[innerWidth, innerHeight]") == [width, height]
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
            for number in (1, 2):
                box = page.locator(f"#reply-{number}").bounding_box()
                assert box["y"] + box["height"] <= height
                assert box["height"] >= 120
            save = page.locator("#save").bounding_box()
            assert save["y"] + save["height"] <= height
            assert save["x"] + save["width"] <= width
            last = page.locator("[data-all='2']").bounding_box()
            assert last["x"] + last["width"] <= width
            shot(page, f"review-{width}-{scheme}")


def test_the_whole_conversation_is_behind_a_key_and_a_cut_is_named(workspace: Workspace, tab: Tabs, shot: Shot) -> None:
    shown = ballots(workspace, count=10)
    answer = next(answer for path, answer in workspace.answers([]) if path.stem == shown[0].showing.item)
    answer.messages[0].content = "x" * 70_000 + "the end"
    shown[0] = ballot_of(shown[0].showing, answer, workspace)
    page = tab().open(page_file(workspace, shown).as_uri())
    assert page.is_hidden("#history")
    page.keyboard.press("h")
    assert page.locator("#history section").count() == len(answer.messages)
    assert "10,007 characters are not on this page" in page.inner_text("#history")
    assert "the end" in page.inner_text("#history")
    shot(page, "review-history")
    page.keyboard.press("Escape")
    assert page.is_hidden("#history")


def test_what_commands_printed_is_shown_only_where_both_were_run(workspace: Workspace, tab: Tabs, shot: Shot) -> None:
    shown = ballots(workspace, count=10)
    answers = {path.stem: answer for path, answer in workspace.answers([])}
    for ballot, sides in zip(shown[:2], (("king", "challenger"), ("challenger",)), strict=True):
        for side in sides:
            told = Observed(ran=True, exit=1, printed=f"ls: no such file for {side[:2]}", faithful=1.0)
            found = answers[ballot.showing.item].chosen(side) or Candidate(id=f"{side}-1", side=side, chosen=True)
            answers[ballot.showing.item].put(found.model_copy(update={"observed": told}))
    shown[:2] = [ballot_of(ballot.showing, answers[ballot.showing.item], workspace) for ballot in shown[:2]]
    page = tab().open(page_file(workspace, shown).as_uri())
    printed = page.locator(".printed pre").all_inner_texts()
    expected = ["ki", "ch"] if shown[0].order == "king_first" else ["ch", "ki"]
    assert printed == [f"ls: no such file for {side}\n[exit code 1]" for side in expected]
    shot(page, "review-printed")
    press_votes(page, "0")
    assert page.locator(".printed").count() == 0


def test_a_hostile_workspace_runs_nothing_and_asks_for_nothing(tmp_path: Path, tab: Tabs, shot: Shot) -> None:
    workspace = Workspace(build_hostile(tmp_path / "hostile"))
    shown = ballots(workspace, count=40)
    watched = tab()
    page = watched.open(page_file(workspace, shown).as_uri())
    page.keyboard.press("h")
    for number in range(len(shown)):
        assert page.locator(".reply").count() == 2
        if number == 1:
            shot(page, "review-hostile")
        press_votes(page, "0")
    assert page.evaluate("window.pwned") is None
    assert page.locator("img, iframe, object, embed, svg, base, link, meta[http-equiv=refresh], #ballot a").count() == 0
    watched.assert_quiet("file://")
    assert len(ATTACKS) <= len(shown)


def test_controls_have_names_and_radios_answer_to_the_arrow_keys(workspace: Workspace, tab: Tabs) -> None:
    watched = tab()
    page = watched.open(page_file(workspace, ballots(workspace, count=10)).as_uri())
    unnamed = "all => all.filter(c => !(c.labels?.length || c.textContent.trim() || c.ariaLabel || c.title)).length"
    assert page.locator("button, input").evaluate_all(unnamed) == 0
    page.focus("#dimensions input[name=grounding][value='1']")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    assert page.locator("#dimensions input[name=grounding]:checked").get_attribute("value") == "0"
    assert page.get_attribute("#state", "aria-live") == "polite"
    assert page.inner_text("#title") == "Pair 1 of 11"


def test_single_keys_can_be_switched_off(workspace: Workspace, tab: Tabs, shot: Shot) -> None:
    page = tab().open(page_file(workspace, ballots(workspace, count=10)).as_uri())
    page.keyboard.press("?")
    shot(page, "review-help")
    page.uncheck("#shortcuts")
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    assert page.locator("#dimensions input:checked").count() == 0


def test_colors_have_enough_contrast(workspace: Workspace, tab: Tabs) -> None:
    page = tab(color_scheme="light").open(page_file(workspace, ballots(workspace, count=10)).as_uri())
    names = ["ink", "muted", "accent", "word", "final", "defeat", "warn"]
    light = page.evaluate(CONTRAST, names)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(CONTRAST, names)
    assert light != dark
    assert min(light, dark) >= 4.5
