"""The parts of a report as data: sections with tables of text, which report.md and index.html show alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


class Outside(str):
    """A cell's text that comes from a model, a dataset or a file: a page shows it and never reads it as markup."""

    __slots__ = ()


@dataclass
class Table:
    """Cells are text; figures are formatted already. The columns in `right` hold figures."""

    columns: Sequence[str]
    rows: list[Sequence[str]]
    right: Sequence[int] = ()
    caption: str = ""


@dataclass
class ReportPart:
    """A heading, its tables, and what is to be said below them (our own sentences; `code` in backticks)."""

    title: str
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """The section as JSON for the page; a cell from outside becomes a list of one, to be set in monospace."""
        tables = [
            {
                "columns": list(table.columns),
                "rows": [[[cell] if isinstance(cell, Outside) else cell for cell in row] for row in table.rows],
                "right": list(table.right),
                "caption": table.caption,
            }
            for table in self.tables
        ]
        return {"title": self.title, "tables": tables, "notes": self.notes}
