"""The rows of a trajectory file: rollouts, their shape first, their text only where it is asked for.

A file of the dataset decompresses to about 200 MB of text in one row group, of which a draw keeps a hundredth. So rows
come in small batches, each rollout as roles and lengths, and `Rollout.said()` makes text of the few that are drawn.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from duel.conversation import message_rows
from duel.conversation.record_files import without_surrogates
from duel.conversation.tasks import BASH_BLOCK, of_format
from duel.conversation.values import parts
from duel.errors import ItemError, SourceError
from duel.history import BYTES_PER_TOKEN, TOKENS_PER_MESSAGE
from duel.records import Message
from duel.sections import SampleSection
from duel.sources.parquet_tables import Footer, footer

COLUMNS = ("instance_id", "repo", "messages")
OPTIONAL = ("exit_status", "trajectory_format")
# 128 rows of about 20 KB: 2.5 MB decoded at a time. The peak over 20 files was 243 MB; at 256 rows 278 MB, no faster.
BATCH_ROWS = 128
# A column chunk is read in pieces of this size: one of 10,000 rows, whole, is 60 MB.
BUFFER_BYTES = 1 << 20
ROLES = frozenset(("system", "user", "assistant"))

# One message as (role, bytes of its content), each None where it is null.
Shape = Sequence[tuple[str | None, int | None]]
Said = Sequence[tuple[Any, Any]]
# In the place of the shape of a row whose replies are no bash blocks, such as talk that mine.py took.
ANOTHER_TASK: Shape = (("", None),)


@dataclass(slots=True)
class Rollout:
    """One row: `row` counts from 0 in its file; `said()` decodes role and content of each message (ItemError where that
    cannot be done)."""

    file: str
    row: int
    instance_id: str
    repo: str
    exit_status: str
    shape: Shape
    said: Callable[[], Said]

    def messages(self) -> list[Message]:
        return [Message.model_construct(role=role, content=content) for role, content in self.said()]


def check(path: Path, shown: str) -> Footer:
    """The footer of a trajectory file. Raises SourceError where a column is missing or is of another kind."""
    found = footer(path, shown, COLUMNS)
    kind = found.columns["messages"]
    if not _is_text(kind) and not _is_conversation(kind):
        raise SourceError(
            "the column `messages` must hold lists of {role, content}, or the same as a JSON string",
            where=shown,
            value=kind,
        )
    return found


def read(path: Path, shown: str) -> Iterator[Rollout]:
    """Every row of the file in order, each column chunk read once."""
    import pyarrow
    import pyarrow.parquet as pq

    found = check(path, shown)
    columns = [*COLUMNS, *(name for name in OPTIONAL if name in found.columns)]
    row = 0
    try:
        with pq.ParquetFile(path, buffer_size=BUFFER_BYTES) as file, ThreadPoolExecutor(1) as ahead:
            batches = file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)
            coming = ahead.submit(next, batches, None)
            while (batch := coming.result()) is not None:
                coming = ahead.submit(next, batches, None)  # Arrow unpacks the next rows while these are looked at
                yield from _rollouts(batch, shown, row)
                row += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise SourceError("the parquet file is damaged", where=shown, value=error, hint="fetch it anew") from None
    finally:
        # Arrow's allocator keeps what a file took, 110 MB of it after 20 files, when DuckDB needs its own.
        pyarrow.default_memory_pool().release_unused()


def shape_problem(shape: Shape) -> str:
    """Why a rollout cannot be used at all, as a slug; "" where it can."""
    if not shape:
        return "no-messages"
    if shape is ANOTHER_TASK:
        return "another-task"
    roles, sizes = zip(*shape, strict=True)
    if ROLES.issuperset(roles) and None not in sizes:
        return ""
    role = next(role for role, size in shape if role not in ROLES or size is None)
    if role in ROLES:
        return "null-content"
    return f"role-{role}" if role in ("tool", "function", "developer") else "role-unknown"


def eligible_turns(shape: Shape, sample: SampleSection) -> list[tuple[int, int]]:
    """The turns that may be drawn, as (assistant turn from 1, index of its message).

    A turn needs a history that ends on a user message, a reply that is not empty, a number between `min_turn` and
    `max_turn`, and a history within `max_history_tokens`.
    """
    limit = sample.max_history_tokens
    # As duel.history.history_tokens counts, from the length alone.
    sizes = (int((size or 0) / BYTES_PER_TOKEN) + 1 + TOKENS_PER_MESSAGE for _, size in shape) if limit else ()
    before = [0, *accumulate(sizes)]
    replies = [index for index, (role, _) in enumerate(shape) if role == "assistant"]
    return [
        (turn, index)
        for turn, index in enumerate(replies[: sample.max_turn], start=1)
        if turn >= sample.min_turn and index and shape[index - 1][0] == "user" and shape[index][1]
        if not limit or before[index] <= limit
    ]


def _is_text(kind: Any) -> bool:
    """True for text, and for what holds text in other clothes: bytes, a dictionary, `datasets`' JSON."""
    kind = (
        getattr(kind, "value_type", kind) if str(kind).startswith("dictionary") else getattr(kind, "storage_type", kind)
    )
    return str(kind).removeprefix("large_").removesuffix("_view") in ("string", "binary")


def _is_conversation(kind: Any) -> bool:
    import pyarrow.types as types

    if not (types.is_list(kind) or types.is_large_list(kind)):
        return False
    if not types.is_struct(kind.value_type):
        return _is_json(kind)
    fields = {field.name: field.type for field in kind.value_type}
    return all(name in fields and _is_text(fields[name]) for name in ("role", "content"))


def _is_json(kind: Any) -> bool:
    return _is_text(kind) or _is_text(kind.value_type)


def _plain(column: Any) -> Any:
    """A column of text without its clothes; bytes stay what they are where they are no UTF-8."""
    import pyarrow
    import pyarrow.types as types

    column = getattr(column, "storage", column)
    if types.is_dictionary(column.type):
        return _plain(column.dictionary_decode())
    if "binary" in str(column.type):
        try:
            return column.cast(pyarrow.large_string())
        except pyarrow.ArrowInvalid:
            return pyarrow.array([v and v.decode("utf-8", "replace") for v in column.to_pylist()])
    return column


def _rollouts(batch: Any, shown: str, first_row: int) -> Iterator[Rollout]:
    names = batch.schema.names
    ids, repos = _texts(batch.column("instance_id")), _texts(batch.column("repo"))
    statuses, tasks = (_texts(batch.column(n)) if n in names else [None] * batch.num_rows for n in OPTIONAL)
    column = batch.column("messages")
    conversations = _from_json(column) if _is_json(column.type) else _from_lists(column)
    ours = {task: of_format(task or "") is BASH_BLOCK for task in {*tasks}}
    for offset, (shape, said) in enumerate(conversations):
        yield Rollout(
            file=shown,
            row=first_row + offset,
            instance_id=ids[offset] or "",
            repo=repos[offset] or "",
            exit_status=statuses[offset] or "",
            shape=shape if ours[tasks[offset]] else ANOTHER_TASK,
            said=said,
        )


def _texts(column: Any) -> list[str | None]:
    """A column as text; a value that is not UTF-8 (parquet does not check) counts as null."""
    import pyarrow

    column = _plain(column) if _is_text(column.type) else column.cast(pyarrow.string())
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_text(value) for value in column]


def _text(value: Any) -> str | None:
    try:
        return None if value.as_py() is None else str(value.as_py())
    except UnicodeDecodeError:
        return None


def _from_lists(column: Any) -> Iterator[tuple[Shape, Callable[[], Said]]]:
    """Conversations of a list<struct<role, content>> column; other fields of the struct are ignored."""
    import pyarrow.compute as pc

    offsets = column.offsets.to_pylist()
    roles = _plain(pc.struct_field(column.values, "role"))
    contents = _plain(pc.struct_field(column.values, "content"))
    names, sizes = _texts(roles), pc.binary_length(contents).to_pylist()
    for start, end in pairwise(offsets):

        def said(start: int = start, end: int = end) -> Said:
            try:
                texts = contents.slice(start, end - start).to_pylist()
            except UnicodeDecodeError as error:
                raise ItemError("not-utf-8", f"a message is not UTF-8: byte {error.start}") from None
            return list(zip(names[start:end], texts, strict=True))

        yield list(zip(names[start:end], sizes[start:end], strict=True)), said


def _from_json(column: Any) -> Iterator[tuple[Shape, Callable[[], Said]]]:
    """Conversations of JSON texts, one a row or one a message; one that is not such a list has no messages."""
    for row in _texts(column) if _is_text(column.type) else column.to_pylist():
        told = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in row or ()]
        rows = message_rows.conversation({"messages": row if isinstance(row, str) else told})
        pairs = [(message["role"], _content(message["content"])) for message in rows]
        shape = [(role, None if content is None else len(content.encode())) for role, content in pairs]
        yield shape, partial(list, pairs)


def _content(content: Any) -> str | None:
    if isinstance(content, str):
        return without_surrogates(content)  # type: ignore[no-any-return]
    said, images = parts(content)
    return said if said and not images else None
