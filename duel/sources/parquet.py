"""Local parquet files: finding them, and what their footers say before a row is read."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duel.errors import SourceError

MAGIC = b"PAR1"


@dataclass(frozen=True)
class Footer:
    """What a parquet file says of itself: its rows, its columns (name -> arrow type), and a hash of the footer.

    The footer holds the place, size and value range of every column chunk, so its hash stands for the content.
    """

    rows: int
    columns: dict[str, Any]
    digest: str


def looks_local(spec: str) -> bool:
    """True for what can only be meant as a path: a glob, a parquet file, an absolute or dotted path."""
    return glob.has_magic(spec) or spec.endswith(".parquet") or spec[:1] in ("/", ".", "~") or spec.count("/") != 1


def from_command_line(spec: str | None) -> str | None:
    """A `--source` or `--pulls` as the settings take it: a path is relative to where the command was typed."""
    if spec and (glob.has_magic(spec) or Path(spec).expanduser().exists()):
        return str(Path(spec).expanduser().absolute())
    return spec


def footer(path: Path, shown: str) -> Footer:
    """Read a file's footer. `shown` is its name in messages. Raises SourceError where it is not parquet."""
    import pyarrow
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if not size:
                raise SourceError("the parquet file is empty", where=shown, hint="is the download or export finished?")
            file.seek(max(0, size - 8))
            tail = file.read(8)
            length = int.from_bytes(tail[:4], "little")
            if tail[4:] != MAGIC or length + 12 > size:
                raise _not_parquet(shown, "it does not end as one")
            file.seek(size - 8 - length)
            digest = hashlib.sha256(file.read(length)).hexdigest()
        with pq.ParquetFile(path) as parquet:
            schema = parquet.schema_arrow
            return Footer(parquet.metadata.num_rows, {f.name: f.type for f in schema}, digest)
    except (pyarrow.ArrowException, OSError) as error:
        raise _not_parquet(shown, str(error) if isinstance(error, pyarrow.ArrowException) else error.strerror) from None


def require(found: Footer, needed: Iterable[str], shown: str) -> None:
    """Raise SourceError that names the first needed column which the file does not have, and those it has."""
    for column in needed:
        if column not in found.columns:
            raise SourceError(
                "a needed column is missing",
                where=shown,
                value=column,
                hint=f"the columns there are: {', '.join(found.columns) or 'none'}",
            )


def _not_parquet(shown: str, why: object) -> SourceError:
    return SourceError(
        "not a readable parquet file", where=shown, value=why, hint="is the download or export finished?"
    )
