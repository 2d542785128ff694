"""The rows of a trajectory file: which turns may be drawn, told by columns; their text only where it is asked for.

A file decompresses to about 200 MB of text in one row group, of which a draw keeps a hundredth.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute as pc
from pyarrow import types

from duel.conversation import message_rows
from duel.conversation.record_files import without_surrogates
from duel.conversation.tasks import BASH_BLOCK, of_format
from duel.conversation.values import parts
from duel.errors import ItemError, SourceError
from duel.history import BYTES_PER_TOKEN, TOKENS_PER_MESSAGE
from duel.records import Message
from duel.sections import SampleSection
from duel.sources.parquet_tables import TEXT, Footer, footer, opened, texts, values

COLUMNS = ("instance_id", "repo", "messages")
OPTIONAL = ("exit_status", "trajectory_format")
# 128 rows of about 20 KB: 2.5 MB decoded at a time. The peak over 20 files was 243 MB; at 256 rows 278 MB, no faster.
BATCH_ROWS = 128
BUFFER_BYTES = 1 << 20  # a column chunk is read in pieces of this size: one of 10,000 rows, whole, is 60 MB
ROLES = ("system", "user", "assistant")


@dataclass(slots=True)
class _Talk:
    """The messages of a batch of rows, by column; row k has those from `starts[k]` to `starts[k + 1]`."""

    roles: Any  # arrow texts
    contents: Any
    starts: list[int]
    bad: Any  # numpy truths: messages that nobody can use
    eligible: Any  # turns that may be drawn
    numbers: Any  # which turn of its row each message is or follows


@dataclass(slots=True)
class Rollout:
    """One row: `row` counts from 0 in its file."""

    file: str
    row: int
    instance_id: str
    repo: str
    exit_status: str
    problem: str  # why nobody can use it, as a slug; "" where one can
    eligible: int  # turns that may be drawn
    talk: _Talk
    start: int  # where its messages lie in `talk`
    end: int

    def turns(self) -> list[tuple[int, int]]:
        """The turns that may be drawn, as (assistant turn from 1, index of its message)."""
        found = self.talk.eligible[self.start : self.end].nonzero()[0].tolist()
        return [(int(self.talk.numbers[self.start + index]), index) for index in found]

    def said(self) -> list[tuple[Any, str]]:
        """Role and content of each message. Raises ItemError where they cannot be decoded."""
        columns, size = (self.talk.roles, self.talk.contents), self.end - self.start
        try:
            return list(zip(*(column.slice(self.start, size).to_pylist() for column in columns), strict=True))
        except UnicodeDecodeError as error:
            raise ItemError("not-utf-8", f"a message is not UTF-8: byte {error.start}") from None

    def messages(self) -> list[Message]:
        return [Message.model_construct(role=role, content=content) for role, content in self.said()]


def check(path: Path, shown: str) -> Footer:
    """The footer of a trajectory file. Raises SourceError where a column is missing or is of another kind."""
    found = footer(path, shown, COLUMNS)
    if not _form(found.columns["messages"]):
        what = "the column `messages` must hold lists of {role, content}, or the same as a JSON string"
        raise SourceError(what, where=shown, value=found.columns["messages"])
    return found


def read(path: Path, shown: str, sample: SampleSection | None = None) -> Iterator[Rollout]:
    """Every row of the file in order, each column chunk read once; `sample` says which turns may be drawn."""
    known = check(path, shown).columns
    columns, row = [*COLUMNS, *(name for name in OPTIONAL if name in known)], 0
    with opened(path, shown, BUFFER_BYTES) as file, ThreadPoolExecutor(1) as ahead:
        batches = file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)
        coming = ahead.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = ahead.submit(next, batches, None)  # Arrow unpacks the next rows while these are looked at
            yield from _rollouts(batch, shown, row, sample or SampleSection())
            row += batch.num_rows


def _rollouts(batch: Any, shown: str, first_row: int, sample: SampleSection) -> Iterator[Rollout]:
    ids, repos, statuses, tasks = (
        texts(batch.column(name)) if name in batch.schema.names else [None] * batch.num_rows
        for name in (*COLUMNS[:2], *OPTIONAL)
    )
    ours = {task: of_format(task or "") is BASH_BLOCK for task in {*tasks}}  # talk that mine.py took is another task
    talk = _talk(batch.column("messages"), sample)
    usable, sums = not talk.bad.any(), [0, *talk.eligible.cumsum().tolist()]
    for at, (start, end) in enumerate(pairwise(talk.starts)):
        problem = "another-task" if not ours[tasks[at]] else "no-messages" if start == end else ""
        if not usable and not problem and len(bad := talk.bad[start:end].nonzero()[0]):
            (role,) = texts(talk.roles.slice(start + int(bad[0]), 1))
            known = role if role in ("tool", "function", "developer") else "unknown"
            problem = "null-content" if role in ROLES else f"role-{known}"
        instance_id, repo, status = ids[at] or "", repos[at] or "", statuses[at] or ""
        eligible = sums[end] - sums[start]
        yield Rollout(shown, first_row + at, instance_id, repo, status, problem, eligible, talk, start, end)


def _talk(column: Any, sample: SampleSection) -> _Talk:
    """What the columns say of each message.

    A turn may be drawn if its history ends on a user message, its reply is not empty, its number lies between
    `min_turn` and `max_turn`, and its history within `max_history_tokens`.
    """
    column = column if _form(column.type) == "columns" else _as_columns(column)
    starts = column.offsets.to_numpy()
    values = column.values.slice(starts[0], starts[-1] - starts[0])
    starts = starts - starts[0]
    whole = not values.null_count  # then a field needs no copy
    roles, contents = (values.field(n) if whole else pc.struct_field(values, n) for n in ("role", "content"))
    kinds = pc.index_in(roles, value_set=pyarrow.array(ROLES, roles.type)).fill_null(-1).to_numpy()
    sizes = pc.binary_length(contents).fill_null(-1).to_numpy()

    def within_rows(amounts: Any) -> Any:
        """Sums from the start of each message's row, without the message itself."""
        sums = np.concatenate(([0], np.cumsum(amounts)))
        return sums[:-1] - np.repeat(sums[starts[:-1]], np.diff(starts))

    replies = kinds == ROLES.index("assistant")
    numbers = within_rows(replies) + replies
    behind_user = np.concatenate(([False], kinds[:-1] == ROLES.index("user")))[: len(kinds)]
    behind_user[starts[:-1][np.diff(starts) > 0]] = False
    eligible = replies & behind_user & (sizes > 0) & (numbers >= sample.min_turn) & (numbers <= sample.max_turn)
    if sample.max_history_tokens:  # as duel.history.history_tokens counts, from the length alone
        tokens = (np.maximum(sizes, 0) / BYTES_PER_TOKEN).astype(int) + 1 + TOKENS_PER_MESSAGE
        eligible &= within_rows(tokens) <= sample.max_history_tokens
    return _Talk(roles, contents, starts.tolist(), (kinds < 0) | (sizes < 0), eligible, numbers)


def _form(kind: Any) -> str:
    """How a column of this type holds conversations: as `columns` of texts, as `values` to decode; "" for neither."""

    def is_text(kind: Any) -> bool:
        kind = kind.value_type if types.is_dictionary(kind) else getattr(kind, "storage_type", kind)
        return str(kind).removeprefix("large_").removesuffix("_view") in ("string", "binary")

    inner = kind.value_type if types.is_list(kind) or types.is_large_list(kind) else kind
    if inner is kind or not types.is_struct(inner):
        return "values" if is_text(inner) else ""
    held = [field.type for field in inner if field.name in ("role", "content")]
    if len(held) < 2 or not all(map(is_text, held)):
        return ""
    return "columns" if all(str(one) in TEXT for one in held) else "values"


def _as_columns(column: Any) -> Any:
    """The list column of conversations in any other clothes; what is none has no messages."""
    starts, roles, contents = [0], list[str](), list[str | None]()
    for row in values(column):
        for message in message_rows.conversation({"messages": row}):
            said, images = parts(message["content"])
            usable = isinstance(message["content"], str) or (said and not images)
            roles.append(without_surrogates(message["role"]))
            contents.append(without_surrogates(said) if usable else None)
        starts.append(len(roles))
    columns = [pyarrow.array(roles, pyarrow.string()), pyarrow.array(contents, pyarrow.large_string())]
    return pyarrow.ListArray.from_arrays(starts, pyarrow.StructArray.from_arrays(columns, ["role", "content"]))
