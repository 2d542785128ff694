"""What pages are made of: figures in words, text from outside made harmless, and sections with tables of both.

report.md and index.html show the same sections.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from duel import wordlists
from duel.errors import in_one_line

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


def known(kind: str) -> Any:
    """What the short names of a kind stand for, as `page/words.toml` has it."""
    return wordlists.toml(__package__, "page/words")[kind]


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters of `text`; an ellipsis tells that some are missing."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def code(text: object, limit: int = 120) -> str:
    """A Markdown code span that shows `text` and can be nothing else; "–" where there is none.

    Inside a code span nothing is markup, link, image or HTML. What could end the span or the table cell is escaped.
    """
    shown = in_one_line(shorten(str(text), limit)).strip().replace("`", r"\x60").replace("|", r"\x7c")
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
    shown = in_one_line(str(text))
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


class Outside(str):
    """A cell's text that comes from a model, a dataset or a file: a page shows it and never reads it as markup."""

    __slots__ = ()


def estimate(found: Mapping[str, Any], scale: float = 1, unit: str = "") -> str:
    """The `mean` of an estimate with its `error`, where it has one."""
    error = "" if found["error"] is None else f" ± {scale * found['error']:.1f}"
    return NO_DATA if found["mean"] is None else f"{scale * found['mean']:.1f}{error}{unit}"


def interval(middle: float | None, error: float | None, unit: str = "") -> str:
    return NO_DATA if middle is None else f"{signed(middle, 1)} ± {plain(error, 1)}{unit}"


# How a table's cell is told, by its unit in `page/tables.toml`; "words" and "figure" are told already.
UNITS: dict[str, Callable[..., str]] = dict.fromkeys(("words", "figure"), lambda cell: cell)
UNITS |= {"text": Outside, "dollars": dollars, "count": count, "score": score, "share": share, "points": points}
UNITS |= {"delta_points": delta_points, "signed": signed, "plain": plain, "interval": interval, "estimate": estimate}
UNITS |= {"estimated_share": lambda found: estimate(found, 100, " %"), "seconds": _figure("{:.0f} s")}
UNITS |= {"decimals": lambda value: plain(value, 4), "reason": lambda text: Outside(text or "–")}
UNITS |= {"share_of": lambda part, of: f"{share(part)} of {of}" if of else NO_DATA}
UNITS |= {"part_of": lambda found: f"{found[0]} of {found[1]}" if found[1] else NO_DATA}
UNITS |= {"thousandths": _figure("{:.3f}"), "span": lambda low, high: f"{low:.3f} to {high:.3f}"}
UNITS |= {"share_if_run": lambda value: "not run" if value is None else share(value)}


@dataclass
class Table:
    """Cells are text; figures are formatted already. The columns in `right` hold figures."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()
    caption: str = ""

    @classmethod
    def of(cls, name: str, records: Iterable[Any], about: str = "") -> "Table":
        """A row for each record or mapping, as `page/tables.toml` has the table `name`."""
        listed = wordlists.toml(__package__, "page/tables")[name]
        heads = {head.format(about): told.split() for head, told in listed.items()}
        rows = []
        for record in records:
            fields = record if isinstance(record, Mapping) else vars(record)
            rows.append([UNITS[unit](*(fields[key] for key in keys)) for unit, *keys in heads.values()])
        right = [place for place, (unit, *_) in enumerate(heads.values()) if unit not in ("text", "reason", "words")]
        return cls([*heads], rows, right, known("captions").get(name, ""))

    def plain(self) -> dict[str, Any]:
        """As JSON for the page; a cell from outside becomes a list of one, to be set in monospace."""
        rows = [[[cell] if isinstance(cell, Outside) else cell for cell in row] for row in self.rows]
        return vars(self) | {"rows": rows, "right": list(self.right)}


@dataclass
class ReportPart:
    """A heading, its tables, and what is to be said below them (our own sentences; `code` in backticks).

    A table without rows and an empty note are left out.
    """

    title: str
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tables = [table for table in self.tables if table.rows]
        self.notes = [note for note in self.notes if note]

    def plain(self) -> dict[str, Any]:
        """The section as JSON for the page."""
        return vars(self) | {"tables": [table.plain() for table in self.tables]}
