"""A dataset of the Hub as a log: its rows, streamed through `datasets`, one in memory at a time."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from duel.conversation.record_files import Record
from duel.errors import SourceError
from duel.sources.sessions.log import Log

# Licenses of data that are not for everybody's use: non-commercial, no derivatives, the dataset's own words.
_NOT_FREE = re.compile(r"(?i)(?:^|-)(?:nc|nd)(?:-|$)|^(?:other|unknown|openrail)|non-?commercial|llama|gemma")


@dataclass
class HubRows(Log):
    """The rows of one split."""

    split: str = "train"
    is_database = False

    def look_up(self, accept_license: bool) -> None:
        """Ask the Hub for the commit and the license. Raises SourceError for a license that nobody accepted."""
        try:
            from huggingface_hub import HfApi
            from huggingface_hub.errors import HfHubHTTPError

            found = HfApi().dataset_info(self.name)
        except (OSError, ValueError, HfHubHTTPError) as error:
            raise SourceError("cannot find the dataset", where=self.name, value=str(error).split("\n")[0]) from None
        stated = getattr(found.card_data, "license", None) or ""
        self.license = stated[0] if isinstance(stated, list) and stated else str(stated or "")
        self.revision = found.sha or ""
        if not accept_license and (not self.license or _NOT_FREE.search(self.license)):
            raise SourceError(
                "the dataset's license does not let everybody train on it" if self.license else "no license is stated",
                where=self.name,
                value=self.license or None,
                hint="read its card; `--accept-license` takes it all the same, and every row says what it is",
            )

    def raw(self) -> Iterator[Record]:
        try:
            from datasets import load_dataset
        except ImportError:
            raise SourceError(
                "reading a dataset of the Hub needs the package `datasets`",
                where=self.name,
                hint="pip install datasets, or download the parquet files and name their folder",
            ) from None
        try:
            yield from load_dataset(self.name, split=self.split, streaming=True, revision=self.revision or None)
        except (OSError, ValueError, RuntimeError) as error:
            raise SourceError("cannot read the dataset", where=self.name, value=error) from None
