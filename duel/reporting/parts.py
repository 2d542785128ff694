"""The parts of a report as data: sections with tables of text, which report.md and index.html show alike."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from duel.reporting import page_file, wording


class Outside(str):
    """A cell's text that comes from a model, a dataset or a file: a page shows it and never reads it as markup."""

    __slots__ = ()


@cache
def _tables() -> dict[str, dict[str, str]]:
    return tomllib.loads(page_file("tables.toml"))


@dataclass
class Table:
    """Cells are text; figures are formatted already. The columns in `right` hold figures."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()
    caption: str = ""

    @classmethod
    def of(cls, name: str, records: Iterable[Any], about: str = "", caption: str = "") -> Table:
        """A row for each record or mapping, as `page/tables.toml` has the table `name`."""
        heads = [(head.format(about), *told.split()) for head, told in _tables()[name].items()]
        units = vars(wording) | {"text": Outside, "words": lambda cell: cell, "figure": lambda cell: cell}
        rows = []
        for record in records:
            fields = record if isinstance(record, Mapping) else vars(record)
            rows.append([units[unit](fields[key]) for _, unit, key in heads])
        right = [place for place, (_, unit, _) in enumerate(heads) if unit not in ("text", "words")]
        return cls([head for head, *_ in heads], rows, right, caption)


@dataclass
class ReportPart:
    """A heading, its tables, and what is to be said below them (our own sentences; `code` in backticks)."""

    title: str
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, table: Table) -> None:
        self.tables += [table] * bool(table.rows)

    def plain(self) -> dict[str, Any]:
        """The section as JSON for the page; a cell from outside becomes a list of one, to be set in monospace."""
        tables = []
        for table in self.tables:
            rows = [[[cell] if isinstance(cell, Outside) else cell for cell in row] for row in table.rows]
            tables.append(vars(table) | {"rows": rows, "right": list(table.right)})
        return {"title": self.title, "tables": tables, "notes": self.notes}
