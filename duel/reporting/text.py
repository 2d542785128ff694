"""Text from models, datasets and files, made harmless to look at: in Markdown, in SVG and in a script element."""

import re
from typing import Any

# A token that no Markdown dialect reads as more than a word. `@` would become a mail link and `://` or `www.` a link.
_PLAIN_WORD = re.compile(r"(?:[^\W_]|[.,;:()%+'\"±−–—=/-])+")
_LINK_START = re.compile(r"://|www\.", re.IGNORECASE)


def visible(text: str) -> str:
    """`text` on one line, with every control, bidi, zero-width and other invisible character shown as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters of `text`; an ellipsis tells that some are missing."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def title(text: str, limit: int = 140) -> str:
    """The first line of `text` that says something, without marks of Markdown or a template; "" if there is none."""
    lines = (re.sub(r"^[\s#>*_-]+|[\s*_:]+$", "", line) for line in text.split("\n", 40)[:40])
    plain = (line for line in lines if re.search(r"\w{2}", line) and not re.fullmatch(r"</?[\w-]+>", line))
    return shorten(next(plain, ""), limit)


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
