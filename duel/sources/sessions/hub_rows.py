"""A dataset of the Hub as a log: its rows, streamed through `datasets`, one in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from duel.conversation.record_files import Record
from duel.errors import SourceError
from duel.sources.sessions.log import Log


@dataclass
class HubRows(Log):
    """The rows of one split."""

    split: str = "train"

    is_database = False

    def raw(self) -> Iterator[Record]:
        """The rows in their order. Raises SourceError where the dataset cannot be had."""
        try:
            import datasets
        except ImportError:
            raise SourceError(
                "reading a dataset of the Hub needs the package `datasets`",
                where=self.name,
                hint="pip install datasets, or download the parquet files and name their folder",
            ) from None
        try:
            yield from datasets.load_dataset(self.name, split=self.split, streaming=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise SourceError("cannot read the dataset", where=self.name, value=error) from None
