"""Text from outside stays text, whatever it is."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from duel.errors import in_one_line
from duel.reporting.markdown import table
from duel.reporting.wording import Outside, Table, code, prose, script_json, xml
from tests.reporting.hostile import ATTACKS

MARKUP = st.lists(
    st.sampled_from(
        [*"`|<>&[]()!*_~#\\\n\r\t-+=:/@. ax\u202e\u200b\x00\u2028é", "https://", "www.", "<b>", "```", "](", "&lt;"]
    )
).map("".join)
ANY_TEXT = st.one_of(st.text(), MARKUP, st.sampled_from(ATTACKS))
FEW = settings(max_examples=120, deadline=None)


def markdown() -> MarkdownIt:
    """A reader as permissive as a code host's: tables, strikethrough, HTML, bare links."""
    return MarkdownIt("gfm-like", {"linkify": False, "html": True})


def inline_tokens(text: str) -> list[tuple[str, str]]:
    return [(t.type, t.content) for block in markdown().parse(text) for t in block.children or []]


@FEW
@given(ANY_TEXT)
def test_a_code_span_shows_the_text_and_is_nothing_else(text: str) -> None:
    shown = code(text)
    if shown == "–":
        assert not in_one_line(text).strip()
        return
    assert [kind for kind, _ in inline_tokens(f"a {shown} b")] == ["text", "code_inline", "text"]


@FEW
@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT), min_size=1, max_size=3))
def test_no_cell_breaks_its_table(rows: list[tuple[str, str]]) -> None:
    text = table(Table(("one", "two"), [(Outside(a), Outside(b)) for a, b in rows]))
    kinds = [token.type for token in markdown().parse(text)]
    assert kinds.count("table_open") == 1
    assert kinds.count("tr_open") == 1 + len(rows)
    assert kinds.count("td_open") == 2 * len(rows)
    assert "html_block" not in kinds


@FEW
@given(ANY_TEXT)
def test_a_sentence_holds_words_and_code_only(text: str) -> None:
    tokens = inline_tokens(f"say {prose(text)}")
    assert {kind for kind, _ in tokens} <= {"text", "code_inline"}
    for kind, content in tokens:
        assert kind != "text" or not re.search(r"://|www\.|@|<|\[", content)


@FEW
@given(
    st.recursive(
        ANY_TEXT, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    )
)
def test_json_in_a_script_element_cannot_end_it_and_reads_back_the_same(value: object) -> None:
    payload = script_json(value)
    assert not set(payload) & set("<>&\u2028\u2029")
    assert json.loads(payload) == value


@FEW
@given(ANY_TEXT)
def test_text_in_svg_is_well_formed_and_reads_back(text: str) -> None:
    element = ElementTree.fromstring(f'<a t="{xml(text)}">{xml(text)}</a>')
    assert element.text in {in_one_line(text), None if not text else in_one_line(text)}
    assert element.get("t") == in_one_line(text)


@pytest.mark.parametrize("character", "\u202e\u2066\u200b\ufeff\x00\x1b\x7f\u2028\u00ad")
def test_invisible_characters_are_shown(character: str) -> None:
    assert character not in in_one_line(f"a{character}b")
    assert "\\" in in_one_line(f"a{character}b")


def test_plain_words_stay_as_they_are() -> None:
    assert prose("The margin is +3.2 points (95 %), judged by 3.") == "The margin is +3.2 points (95 %), judged by 3."
    assert prose("It must reach win_margin.") == "It must reach `win_margin`."
