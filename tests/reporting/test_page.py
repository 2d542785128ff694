"""index.html in a real browser: it loads nothing, it finds, sorts and opens turns, and nothing in it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duel.records import Answer
from duel.workspace import Workspace
from tests.reporting.conftest import CONTRAST, NARROW, found, no_sideways_scroll, numbers, open_first, report
from tests.reporting.workspaces import build, save_verdict

Tab = Callable[..., Any]
Shot = Callable[[Any, str], None]


def test_the_page_opens_from_disk_without_a_request_or_a_complaint(judged: Path, tab: Tab, shot: Shot) -> None:
    watched = tab()
    page = watched.open(judged)
    assert "points of margin" in page.inner_text("#verdict h1")
    assert page.locator(".gates li").count() == 4
    assert page.locator("#charts svg").count() == 6
    assert page.is_hidden("#stand-in")
    assert found(page) == "150 of 150 turns"
    shot(page, "report")
    page.evaluate("document.getElementById('charts').scrollIntoView()")
    shot(page, "charts")
    page.evaluate("document.getElementById('turns').scrollIntoView()")
    shot(page, "list")
    watched.assert_quiet()


def test_filters_narrow_the_list_and_can_be_cleared(judged: Path, tab: Tab) -> None:
    watched = tab(viewport={"width": 2000, "height": 900})
    page = watched.open(judged)
    page.select_option("[data-filter=bucket]", "final")
    assert set(page.locator("#rows .bucket").all_inner_texts()) == {"final"}
    page.select_option("[data-filter=style]", "edit")
    assert set(page.locator("#rows .style").all_inner_texts()) == {"edit"}
    page.select_option("[data-filter=metric]", "progress")
    page.fill("[data-filter=least]", "90")
    assert all(value >= 90 for value in numbers(page, "metric:nth-child(8)"))
    page.select_option("[data-filter=leak]", "true")
    assert page.is_visible("#nothing")
    page.click("#clear")
    assert found(page) == "150 of 150 turns"
    page.select_option("[data-filter=leak]", "true")
    assert set(page.locator("#rows .leak").all_inner_texts()) == {"⚑ leak"}
    page.select_option("[data-filter=leak]", "")
    page.select_option("[data-filter=flips]", "1")
    assert min(numbers(page, "flips")) >= 1
    page.select_option("[data-filter=flips]", "")
    page.select_option("[data-filter=repo]", "northpier/tidal")
    assert all("northpier/tidal" in text for text in page.locator("#rows .file").all_inner_texts())
    watched.assert_quiet()


def test_the_buckets_of_the_verdict_filter_the_list(judged: Path, tab: Tab) -> None:
    page = tab().open(judged)
    page.click(".shares button:has-text('in no bucket')")
    assert set(page.locator("#rows .bucket").all_inner_texts()) == {"leak", "unparsed"}
    assert page.locator("#rows .score").last.inner_text() == "–"


def test_search_looks_into_names_replies_and_reasons(judged: Path, tab: Tab, shot: Shot) -> None:
    watched = tab()
    page = watched.open(judged)
    page.fill("#query", "prompts_150_1_7")
    page.locator("#rows tr.row").nth(20).wait_for(state="detached")
    assert all("prompts_150_1_7" in text for text in page.locator("#rows .file .mono").all_inner_texts())
    page.fill("#query", "repeats a search whose")
    page.locator("#found:not(:has-text('reading'))").wait_for()
    page.locator("#found:not(:has-text('0 of 150'))").wait_for()
    shot(page, "search")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.wait_for_selector(".votes")
    assert "repeats a search whose" in page.inner_text(".votes")
    watched.assert_quiet()


def test_columns_sort_both_ways_and_what_has_no_figure_comes_last(judged: Path, tab: Tab) -> None:
    page = tab(viewport={"width": 2000, "height": 900}).open(judged)
    values = numbers(page, "score")  # rows may still be added while they are read
    assert values == sorted(values, reverse=True)
    page.click("#columns [data-key=score] button")
    assert page.get_attribute("#columns [data-key=score]", "aria-sort") == "ascending"
    values = numbers(page, "score")
    assert values == sorted(values)
    page.click("#columns [data-key='metric grounding'] button")
    values = numbers(page, "metric:nth-child(7)")
    assert values == sorted(values, reverse=True)
    page.click("#columns [data-key=ours] button")
    page.locator("#rows .did").nth(39).wait_for(state="attached")  # rows come in portions
    lines = page.locator("#rows .did div:first-child code").all_inner_texts()
    assert len(lines) >= 40 and lines[0].startswith("cat ")


def test_the_keyboard_goes_through_the_turns(judged: Path, tab: Tab, shot: Shot) -> None:
    watched = tab()
    page = watched.open(judged)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    every = page.inner_text("#found")
    page.keyboard.insert_text("tidal")
    page.locator("#found", has_not_text=every).wait_for()  # a search that ends later would draw the list anew
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    second = page.inner_text("#rows .selected .mono")
    assert page.evaluate("document.activeElement.getAttribute('href')") == f"#{second}"
    page.keyboard.press("Enter")
    page.locator(f"#turn #file:text-is('{second}')").wait_for()
    page.keyboard.press("j")
    page.locator(f"#turn #file:not(:text-is('{second}'))").wait_for()
    page.keyboard.press("k")
    page.locator(f"#turn #file:text-is('{second}')").wait_for()
    page.keyboard.press("h")
    page.locator(".history details:not([open])").first.wait_for(state="detached")
    page.keyboard.press("Escape")
    assert page.inner_text("#rows .selected .mono") == second
    page.keyboard.press("?")
    assert page.is_visible("#help")
    shot(page, "help")
    page.keyboard.press("Escape")
    assert page.is_hidden("#help")
    watched.assert_quiet()


def test_a_phone_shows_the_same_without_scrolling_sideways(judged: Path, tab: Tab, shot: Shot) -> None:
    watched = tab(**NARROW)
    page = watched.open(judged)
    assert no_sideways_scroll(page)
    shot(page, "narrow-report")
    page.evaluate("document.getElementById('turns').scrollIntoView()")
    assert page.evaluate("document.querySelector('#rows .file').getBoundingClientRect().width") > 150
    page.click("#more")
    page.select_option("[data-filter=bucket]", "final")
    assert page.inner_text("#more") == "Filters (1)"
    shot(page, "narrow-list")
    open_first(page)
    assert no_sideways_scroll(page)
    king, challenger = (page.locator(f".reply.{side}").bounding_box() for side in ("king", "challenger"))
    assert challenger["y"] > king["y"] + king["height"]
    shot(page, "narrow-turn")
    watched.assert_quiet()


def test_the_page_is_dark_where_the_system_is_and_can_be_switched(judged: Path, tab: Tab, shot: Shot) -> None:
    page = tab(color_scheme="dark").open(judged)
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    shot(page, "dark-report")
    page.click("#theme")
    light = page.evaluate(paper)
    assert sum(map(int, light[4:-1].split(","))) > 600 > 150 > sum(map(int, dark[4:-1].split(",")))
    page.click("#theme")
    assert page.evaluate(paper) == dark
    open_first(page)
    shot(page, "dark-turn")


def test_a_stand_in_is_told_at_the_top_of_every_view(tmp_path: Path, tab: Tab, shot: Shot) -> None:
    root = build(tmp_path, 20)
    save_verdict(Workspace(root), json.loads(Workspace(root).duel.read_bytes()) | {"offline": True})
    assert report(root).code == 0
    page = tab().open(root)
    assert "OFFLINE STAND-IN" in page.title()
    assert page.is_visible("#stand-in")
    shot(page, "stand-in")
    open_first(page)
    page.wait_for_selector("#stand-in")
    page.wait_for_selector(".top .tag", state="hidden")  # told once, not twice
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.wait_for_selector(".top .tag")
    assert "OFFLINE STAND-IN" in page.title()


def test_a_hostile_workspace_runs_nothing_and_loads_nothing(hostile: Path, tab: Tab, shot: Shot) -> None:
    watched = tab()
    page = watched.open(hostile)
    shot(page, "hostile-report")
    for details in page.locator("#tables details").all():
        details.evaluate("box => { box.open = true }")
    open_first(page)
    shot(page, "hostile-turn")
    for _ in range(29):
        page.keyboard.press("h")
        stem = page.inner_text("#turn #file")
        page.keyboard.press("j")
        page.locator(f"#turn #file:not(:text-is('{stem}'))").wait_for()
    assert page.evaluate("window.pwned") is None
    assert page.locator("img, iframe, object, embed, #turn svg, base, link, meta[http-equiv=refresh]").count() == 0
    addresses = set(page.locator("a").evaluate_all("links => links.map(link => link.getAttribute('href'))"))
    assert all(
        address.startswith(("../final/", "../refined/", "../defeat/", "../answer_0/", "#")) for address in addresses
    )
    watched.assert_quiet()


def test_the_list_says_what_each_turn_is(judged: Path, tab: Tab) -> None:
    page = tab().open(judged)
    row = page.locator("#rows tr.row").first
    stem = row.locator(".file .mono").inner_text()
    answer = Answer.parse((judged / "answer_0" / f"{stem}.json").read_bytes())
    commit = Workspace(judged).commit(answer.instance_id)
    assert commit is not None
    assert row.locator("a").inner_text() == commit.issue
    assert answer.repo in row.locator(".file").inner_text()
    for side, line in zip(("challenger", "king"), row.locator(".did code").all_inner_texts(), strict=True):
        assert line.removesuffix(" …") in getattr(answer, side)
    bar = row.locator(".meter").evaluate("bar => bar.style.getPropertyValue('--score')")
    assert float(bar) == pytest.approx(float(row.locator(".score").inner_text()), abs=0.1)


def test_the_rows_of_a_page_are_all_in_the_document_and_all_rows_are_printed(tmp_path: Path, tab: Tab) -> None:
    root = build(tmp_path, 320, size=6)
    assert report(root).code == 0
    page = tab().open(root)
    page.locator("#rows tr.row[aria-rowindex='301']").wait_for(state="attached")
    page.click("#pages button:has-text('After')")
    assert page.inner_text("#pages span") == "301 to 320 of 320"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#rows tr.row").count() == 320
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#rows tr.row").count() == 20
    for _ in range(3):
        page.keyboard.press("k")
    assert page.locator("#rows .selected").count() == 1


def test_without_script_every_turn_is_in_a_plain_table(judged: Path, hostile: Path, tab: Tab) -> None:
    watched = tab(java_script_enabled=False)
    watched.page.goto((judged / "report" / "index.html").as_uri())
    assert watched.page.locator("noscript tr").count() == 151
    watched.page.goto((hostile / "report" / "index.html").as_uri())
    assert watched.page.locator("noscript tr").count() == 31
    assert watched.page.locator("noscript td script, noscript td img, noscript td a").count() == 0


def test_the_filtered_turns_can_be_saved_and_a_reply_copied(judged: Path, tab: Tab) -> None:
    watched = tab()
    watched.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = watched.open(judged)
    page.select_option("[data-filter=bucket]", "refined")
    with page.expect_download() as saved:
        page.click("#save")
    rows = [json.loads(line) for line in Path(saved.value.path()).read_text("utf-8").splitlines()]
    assert f"{len(rows)} of 150 turns" == found(page)
    assert {row["bucket"] for row in rows} == {"refined"}
    answer = Answer.parse((judged / rows[0]["path"]).read_bytes())
    assert (rows[0]["king"], rows[0]["challenger"]) == (answer.king, answer.challenger)
    open_first(page)
    page.click(".reply.challenger .copy")
    page.locator(".reply.challenger .copy:text-is('Copied')").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == answer.challenger


def test_a_first_time_reader_is_told_what_was_compared_by_whom_and_what_to_do_next(judged: Path, tab: Tab) -> None:
    page = tab().open(judged)
    told = page.inner_text("#verdict")
    for words in (
        "lab-four/king-writer",
        "lab-four/challenger-writer",
        "3 judges compared",
        "95 % confidence",
        "duel ",
    ):
        assert words in told
    king = page.locator(".what abbr").first
    assert "only what the agent saw" in king.get_attribute("title")
    page.keyboard.press("?")
    assert "noise floor" in page.inner_text("#words")


def test_controls_have_names_and_the_colors_enough_contrast(judged: Path, tab: Tab) -> None:
    for scheme in ({}, {"color_scheme": "dark"}):
        page = tab(**scheme).open(judged)
        unnamed = (
            """all => all.filter(c => !(c.labels?.length || c.textContent.trim() || c.ariaLabel || c.title)).length"""
        )
        assert page.locator("button, select, input").evaluate_all(unnamed) == 0
        assert page.evaluate(CONTRAST, ["ink", "muted", "challenger", "king", "final", "defeat", "warn"]) >= 4.5


@pytest.fixture
def parted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A report of 70 turns, one of them without its answer, that lies in files beside its page."""
    root = build(tmp_path, 70)
    Workspace(root).answer_paths()[0].unlink()
    for name, value in {"page.BESIDE_TURNS": 32, "page.PART_TURNS": 32}.items():
        monkeypatch.setattr(f"duel.reporting.{name}", value)
    for module in ("page", "portions"):
        monkeypatch.setattr(f"duel.reporting.{module}.PORTION_TURNS", 16)
    assert report(root).code == 0
    return root


def test_above_so_many_turns_the_page_reads_its_list_from_files_beside_it(
    parted: Path, tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted(path.name for path in (parted / "report" / "turns").iterdir())
    numbers_of = ["0", "1", "2", "3", "4"]
    assert names == sorted(
        f"{name}.js" for name in (*numbers_of, *(f"texts-{n}" for n in numbers_of), "rows-0", "rows-1", "rows-2")
    )
    watched = tab()
    page = watched.open(parted)
    page.locator("#found:text-is('69 of 69 turns')").wait_for()
    page.click("#columns [data-key=score] button")
    worst = page.locator("#rows tr").last.locator(".mono").inner_text()
    best = page.locator("#rows tr").first.locator(".mono").inner_text()
    assert best != worst
    open_first(page)
    assert best in page.inner_text("#turn")
    answer = Answer.parse((parted / "answer_0" / f"{best}.json").read_bytes())
    assert (
        page.inner_text(".reply.challenger pre").split()
        == answer.challenger.split("```bash\n")[1].split("\n```")[0].split()
    )
    for url in watched.requests:
        assert url.startswith("file://")
    assert watched.trouble == []
    watched.open(parted, f"#{worst}")
    page.locator(f"#turn #file:text-is('{worst}')").wait_for()

    monkeypatch.undo()
    (parted / "report" / "index.html").unlink()  # nothing else has changed: the page that is there would stand
    assert report(parted).code == 0
    assert not list((parted / "report" / "turns").glob("*.js"))
    assert found(watched.open(parted)) == "69 of 69 turns"


def test_search_and_filters_look_at_all_turns_beside_the_page(parted: Path, tab: Tab, shot: Shot) -> None:
    watched = tab()
    page = watched.open(parted)
    assert not any("texts-" in url for url in watched.requests)
    words = "reads the file that the traceback names"
    page.fill("#query", words.upper())
    page.locator("#found:not(:has-text('reading'))").wait_for()
    page.evaluate("document.getElementById('turns').scrollIntoView()")
    shot(page, "parted-search")
    scores = [score for _, score in Workspace(parted).scores([])]
    holds = {score.file for score in scores if any(words in vote.reason for vote in score.votes)}
    answered = {path.stem for path in Workspace(parted).answer_paths()}
    page.locator(f"#found:text-is('{len(holds & answered)} of 69 turns')").wait_for()
    page.locator("#rows tr.row").nth(len(holds & answered) - 1).wait_for()  # rows come in portions
    assert set(page.locator("#rows .file .mono").all_inner_texts()) == holds & answered
    assert 32 < len(holds & answered) < 69
    page.select_option("[data-filter=bucket]", "defeat")
    defeated = {path.stem for path in Workspace(parted).kept_paths("defeat")}
    page.locator("#rows tr.row").nth(len(holds & defeated) - 1).wait_for()
    assert set(page.locator("#rows .file .mono").all_inner_texts()) == holds & defeated
    page.fill("#query", "")
    page.locator(f"#found:text-is('{len(defeated)} of 69 turns')").wait_for()
    page.fill("#query", "no such word anywhere")
    page.wait_for_selector("#nothing")
    assert watched.trouble == []


def test_only_the_page_s_own_script_may_add_others() -> None:
    from duel.reporting.page import policy

    assert "strict-dynamic" not in policy("", "")
    assert "'strict-dynamic'" in policy("", "", beside=True)
    assert "unsafe" not in policy("", "", beside=True)
