"""Records out of a file as the world sends it: JSON lines, a JSON array or document, parquet; plain, gzip or zstd.

What is beyond doubt on a broken line is repaired; what is lost is a `Hole`, so that nothing behind it is a beginning.
"""

import contextlib
import glob
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from duel.conversation.values import rewritten
from duel.environment import expanded
from duel.errors import ItemError, require

BOM = b"\xef\xbb\xbf"
COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
CHUNK = 1 << 20  # an array is parsed in pieces of this size; one element of it is in memory at a time
ROWS_AT_ONCE = 64  # rows of a parquet file decoded at a time: a trajectory is about 50 KB
SNIFFED_LINES, SNIFFED_BYTES = 40, 4 << 20
LARGEST_DOCUMENT = 256 << 20  # a JSON object of one file is parsed whole, at about ten times its size in memory
TRIES = 256  # a line is searched for whole records behind a cut one at this many places
_RECORD = re.compile(r'\{\s*"')
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Hole:
    line: int


FileRecord: TypeAlias = dict[str, Any] | Hole


@contextlib.contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """The bytes of a file, unpacked where it is gzip or zstd, without a byte order mark. Raises ItemError, OSError."""
    with path.open("rb") as file:
        start = file.peek(4)[:4]
        packed = next((name for magic, name in COMPRESSIONS.items() if start.startswith(magic)), "")
        if not packed:
            file.seek(len(BOM) if start.startswith(BOM) else 0)
            yield file
            return
    import pyarrow

    try:
        with io.BufferedReader(pyarrow.input_stream(str(path), compression=packed), CHUNK) as file:
            if file.peek(3).startswith(BOM):
                file.read(3)
            yield file
    except pyarrow.ArrowException as error:
        raise ItemError("damaged", f"the {packed} file cannot be unpacked: {error}", where=path.name) from None


def lines(path: Path) -> Iterator[FileRecord]:
    """The JSON objects of the lines, one line in memory at a time, with a Hole where one is lost."""
    top: set[str] = set()
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            record = parsed(line)
            if isinstance(record, dict):
                top |= record.keys()
                yield record
            elif line.strip(b"\x00 \t\r\n"):
                yield from _recovered(line, number, top)


def parsed(raw: bytes) -> Any:
    """The JSON value of some bytes; None where they are none."""
    with contextlib.suppress(ValueError):
        return orjson.loads(raw)
    with contextlib.suppress(ValueError, RecursionError):
        return without_surrogates(json.loads(raw.strip(b"\x00 \t\r\n").removeprefix(BOM).decode("utf-8", "replace")))
    return None


def without_surrogates(value: Any) -> Any:
    """A value that UTF-8 can hold: half of a pair by itself is no character."""
    return rewritten(value, partial(_SURROGATE.sub, "\ufffd"))


def _recovered(line: bytes, number: int, top: set[str]) -> Iterator[FileRecord]:
    """The whole records of a line that look like those of the lines before, and a Hole for what is none."""
    text = line.replace(b"\x00", b"").strip().decode("utf-8", "replace")
    position = 0
    for start in (found.start() for found in islice(_RECORD.finditer(text), TRIES)):
        try:
            value, end = json.JSONDecoder().raw_decode(text, start) if start >= position else (None, 0)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and (not start or 2 * len(value.keys() & top) > len(value)):
            if text[position:start].strip(" \t,"):
                yield Hole(number)
            yield without_surrogates(value)
            position = end
    if text[position:].strip(" \t,"):
        yield Hole(number)


def array(path: Path) -> Iterator[Any]:
    """The elements of a JSON array of any size, one at a time. Raises ItemError where it is none or ends early."""
    with opened(path) as raw:
        file, size = io.TextIOWrapper(raw, "utf-8", "replace"), CHUNK
        buffer = file.read(CHUNK).lstrip().removeprefix("[")
        while not (buffer := buffer.lstrip(" \t\r\n,")).startswith("]"):
            try:
                value, end = json.JSONDecoder().raw_decode(buffer)
                if end == len(buffer) and (more := file.read(CHUNK)):  # a number may go on
                    buffer += more
                    continue
            except (ValueError, RecursionError):
                if not (more := file.read(size)):
                    what = "the JSON array ends early or is damaged"
                    raise ItemError("not-a-session", what, where=path.name) from None
                buffer, size = buffer + more, 2 * size  # an element longer than what is read: few tries, not many
                continue
            yield without_surrogates(value)
            buffer, size = buffer[end:], CHUNK


def rows(path: Path, batch: int = ROWS_AT_ONCE) -> Iterator[dict[str, Any]]:
    """The rows of a parquet file, JSON columns parsed and bytes decoded. Raises ItemError (`damaged`)."""
    import pyarrow
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            decoders = {field.name: decode for field in file.schema_arrow if (decode := decoder_of(field.type))}
            for part in file.iter_batches(batch_size=batch):
                for row in part.to_pylist():
                    yield {name: decoders[name](value) if name in decoders else value for name, value in row.items()}
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ItemError("damaged", f"not a parquet file: {str(error).splitlines()[0]}", where=path.name) from None


def decoder_of(kind: Any) -> Callable[[Any], Any] | None:
    """What makes a plain value of a column of this Arrow type; None where its values already are.

    `datasets` 4.7 and later write dicts of unlike keys as `arrow.json`; others write text as bytes or by dictionary.
    """
    import pyarrow.types as types

    outer = str(kind).split("<")[0]
    if getattr(kind, "extension_name", "") == "arrow.json":
        return lambda value: parsed(value.encode()) if isinstance(value, str) else value
    if types.is_dictionary(kind):
        return decoder_of(kind.value_type)
    if "binary" in outer:
        return lambda value: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if "list" in outer:
        inner = decoder_of(kind.value_type)
        return inner and (lambda value: None if value is None else [inner(item) for item in value])
    fields = {f.name: decode for f in kind if (decode := decoder_of(f.type))} if types.is_struct(kind) else {}
    return (
        (lambda value: value and {k: fields[k](v) if k in fields else v for k, v in value.items()}) if fields else None
    )


def records(path: Path) -> Iterator[FileRecord]:
    """Every record of a file, however it is packed; a bare list of chat messages is one. Raises ItemError."""
    with opened(path) as file:  # how it is packed shows in its first lines
        read = (file.readline(SNIFFED_BYTES).strip(b"\x00 \t\r\n") for _ in range(SNIFFED_LINES))
        first = [line for line in read if line]
    opening = first[0] if first else b""
    if opening.startswith(b"PAR1"):
        yield from rows(path)
    elif opening.startswith(b"["):
        elements = array(path)
        opens = next(elements, None)
        if isinstance(opens, dict) and "role" in opens and "content" in opens:
            # The messages of one conversation, as mini-swe-agent 2 saves it, are one row.
            yield {"messages": [opens, *elements]}
            return
        for number, element in enumerate(chain((opens,) if opens is not None else (), elements), start=1):
            yield element if isinstance(element, dict) else Hole(number)
    elif opening != b"{" and any(isinstance(parsed(line), dict) for line in first):
        yield from lines(path)
    else:
        with opened(path) as file:
            raw = file.read(LARGEST_DOCUMENT + 1)
        what = f"a JSON document of more than {LARGEST_DOCUMENT >> 20} MB"
        require(len(raw) <= LARGEST_DOCUMENT, "too-large", what, where=path.name)
        require(isinstance(document := parsed(raw), dict), "not-a-session", "not JSON", where=path.name)
        yield document


def find(spec: str, folders: Iterable[Path], suffixes: Iterable[str] = (".parquet",)) -> dict[str, Path]:
    """The files behind a path, folder or glob in the first of `folders` that has it: name within it -> path."""
    for folder in folders:
        pattern = expanded(spec)
        place = root = folder / pattern
        if place.is_file():
            return {place.name: place}
        if place.is_dir():
            found = [file for file in place.rglob("*") if file.suffix in suffixes]
        # Path.glob takes no absolute pattern, and the folder's own name may hold brackets.
        elif matches := glob.glob(str(pattern), root_dir=folder, recursive=True):  # noqa: PTH207
            root = folder.joinpath(*takewhile(lambda part: not glob.has_magic(part), pattern.parts))
            found = [folder / match for match in matches if (folder / match).is_file()]
        else:
            continue
        names = {file.relative_to(root).as_posix(): file for file in found}
        return {name: names[name] for name in sorted(names) if not any(part[0] == "." for part in Path(name).parts)}
    return {}
