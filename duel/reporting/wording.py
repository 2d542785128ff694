"""Words on the pages: figures with unit and sign, what short names stand for, and text from outside made harmless."""

import re
import tomllib
from collections.abc import Callable
from functools import cache
from typing import Any

from duel.reporting import page_file

NO_DATA = "not measured"
# A token that no Markdown dialect reads as more than a word. `@` would become a mail link and `://` or `www.` a link.
_PLAIN_WORD = re.compile(r"(?:[^\W_]|[.,;:()%+'\"±−–—=/-])+")
_LINK_START = re.compile(r"://|www\.", re.IGNORECASE)


def _figure(form: str, scale: float = 1) -> Callable[[float | None], str]:
    return lambda value: NO_DATA if value is None else form.format(scale * value).replace("-", "−")


count, score, share = _figure("{:,.0f}"), _figure("{:.1f}"), _figure("{:.1f} %", 100)
points, size = _figure("{:+.1f} points"), _figure("{:.1f} points")
delta_points = _figure("{:+.1f} points", 200)  # a delta (-0.5 to 0.5) as the margin it means


def signed(value: float | None, decimals: int = 2) -> str:
    return _figure(f"{{:+.{decimals}f}}")(value)


def plain(value: float | None, decimals: int = 2) -> str:
    return NO_DATA if value is None else f"{value:.{decimals}f}"


def dollars(value: float | None) -> str:
    if value is None:
        return "price unknown"
    return f"${value:,.2f}" if value >= 0.1 or value == 0 else f"${value:.2g}"


@cache
def known(kind: str) -> dict[str, Any]:
    """What the short names of a kind stand for, as `page/words.toml` has it."""
    words: dict[str, Any] = tomllib.loads(page_file("words.toml"))[kind]
    return words


def visible(text: str) -> str:
    """`text` on one line, with every control, bidi, zero-width and other invisible character shown as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters of `text`; an ellipsis tells that some are missing."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def code(text: object, limit: int = 120) -> str:
    """A Markdown code span that shows `text` and can be nothing else; "–" where there is none.

    Inside a code span nothing is markup, link, image or HTML. What could end the span or the table cell is escaped.
    """
    shown = visible(shorten(str(text), limit)).strip().replace("`", r"\x60").replace("|", r"\x7c")
    return f"`{shown}`" if shown else "–"


def prose(text: str, limit: int = 600) -> str:
    """A sentence for Markdown: plain words stay as they are, every other token becomes a code span."""
    told = []
    for token in shorten(text, limit).split():
        core = token.rstrip(".,;:")
        plain = _PLAIN_WORD.fullmatch(token) and not _LINK_START.search(token)
        told.append(token if plain else code(core) + token[len(core) :])
    return " ".join(told)


def xml(text: object) -> str:
    """`text` for an element's content or a quoted attribute of HTML or SVG."""
    shown = visible(str(text))
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def script_json(value: Any) -> str:
    """`value` as JSON that cannot end the script element that holds it, nor open a comment in it.

    `<`, `>`, `&` and the two line separators only ever stand inside JSON strings, where an escape means the same.
    """
    import orjson

    payload = orjson.dumps(value).decode()
    for character in "<>&\u2028\u2029":
        payload = payload.replace(character, f"\\u{ord(character):04x}")
    return payload
