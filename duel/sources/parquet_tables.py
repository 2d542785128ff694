"""A table in parquet files, wherever it lies: in a local file, folder or glob, on the Hub at a pinned commit, or where
a package finds it that adds a source (`lake:runs/october` is that of the entry point `lake`).

On the Hub `huggingface_hub` does the work (cache, resuming, `HF_ENDPOINT`); added are patience with 429s and plain
words.
"""

import fnmatch
import glob
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple, Protocol

from duel.command import say
from duel.conversation import record_files
from duel.environment import environment, expanded, hub_is_off, hub_token
from duel.errors import SourceError, printable
from duel.records.record import json_object
from duel.registry import Registry
from duel.workspace import Workspace, cannot_write

TEXT = ("string", "large_string")  # Arrow's types of which a value is a text as it is
# The Hub counts in windows of 300 s, so a wait that it asks for is at most that long; after three whole windows
# something else is wrong. DEFAULT_WAIT_S is waited where a 429 says nothing about how long.
MAX_WAIT_S, MAX_WAITS, DEFAULT_WAIT_S = 310.0, 3, 30.0
# What a download holds in memory: at the client's own 10 MB each, five of them took 100 MB and twice the time; at 1 MB
# the 1.6 GB of bench.sampling cost 1.5 s more of fresh pages than at 64 KB.
CHUNK_BYTES = 1 << 16
_SHA = re.compile(r"[0-9a-f]{40}")
_RESET = re.compile(r"(?:^|[;,\s])t=(\d+)")
_HTTP = frozenset("httpx httpx2 httpcore httpcore2".split())
"""The libraries that the client speaks HTTP with, by its version."""


@dataclass
class LocalTable:
    """Files on this machine; the revision is a hash of their names, sizes and footers."""

    name: str
    paths: dict[str, Path]

    @cached_property
    def sizes(self) -> dict[str, int]:
        return {name: path.stat().st_size for name, path in self.paths.items()}

    @cached_property
    def revision(self) -> str:
        digest = hashlib.sha256()
        for name, path in self.paths.items():
            digest.update(f"{name}\0{self.sizes[name]}\0{footer(path, name).digest}\n".encode())
        return f"local-{digest.hexdigest()[:32]}"

    def fetch(self, name: str) -> Path:
        return self.paths[name]

    def missing(self, name: str) -> bool:
        return False


@dataclass
class HubTable:
    """Files of a dataset at one commit. Making the object imports the client and asks nothing of the Hub."""

    workspace: Workspace
    name: str
    asked: str = ""
    pattern: str = "*.parquet"
    again: bool = False

    def __post_init__(self) -> None:
        self.api = hub_client(self.workspace.root)

    @cached_property
    def revision(self) -> str:
        """The commit sha behind a branch or tag, or of the newest commit where none is asked for.

        It is asked for once in a workspace, so that an interrupted run goes on with the same data; `again` asks anew.
        """
        if _SHA.fullmatch(self.asked):
            return self.asked
        memory, key = self.workspace.private / "revisions.json", f"{self.name}@{self.asked}"
        known = json_object(memory)
        if self.again or not _SHA.fullmatch(str(known.get(key))):
            with in_plain_words(self.name, self.asked):
                known[key] = str(self.api.dataset_info(self.name, revision=self.asked or None).sha)
            self.workspace.save(memory, json.dumps(known, indent=2, sort_keys=True).encode())
        return str(known[key])

    @cached_property
    def sizes(self) -> dict[str, int]:
        with in_plain_words(self.name, self.revision):
            tree = self.api.list_repo_tree(self.name, repo_type="dataset", revision=self.revision, recursive=True)
            files = sorted((entry.path, int(entry.size)) for entry in tree if hasattr(entry, "size"))
        matching = {name: size for name, size in files if fnmatch.fnmatchcase(name, self.pattern)}
        if not matching:
            found = ", ".join(name for name, _ in files[:8]) + (" …" if len(files) > 8 else "")
            what = f"the dataset has no file that matches `{self.pattern}`"
            hint = "set `shard_glob` in [sample] to where its parquet files lie"
            raise SourceError(what, where=self.name, value=found, hint=hint)
        return matching

    def fetch(self, name: str) -> Path:
        if self.missing(name):
            say(f"downloading {printable(name, 120)} of {self.name}, {self.sizes[name] / 1e6:,.0f} MB")
        with in_plain_words(f"{self.name}/{name}", self.revision):
            return Path(self.api.hf_hub_download(self.name, name, repo_type="dataset", revision=self.revision))

    def missing(self, name: str) -> bool:
        from huggingface_hub import try_to_load_from_cache as find

        return not isinstance(find(self.name, name, revision=self.revision, repo_type="dataset"), str)


class ParquetTable(Protocol):
    name: str
    """What records call it, never a path of this machine."""

    @property
    def revision(self) -> str:
        """The same one has the same rows."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes, by file."""

    def fetch(self, name: str) -> Path:
        """The file on this machine; it is downloaded where it is `missing`."""

    def missing(self, name: str) -> bool: ...


SOURCES: Registry[Callable[[str, Workspace], ParquetTable]] = Registry("source")


def open_table(
    spec: str, workspace: Workspace, revision: str, pattern: str = "*.parquet", *, offline: bool, again: bool = False
) -> ParquetTable:
    """The table that a setting names: a local path where there is one, a source from outside, else one on the Hub.

    A relative path is looked up in the workspace, then in the current folder. `offline` only local files will do;
    `again` asks the Hub for its newest commit. Raises SourceError where `spec` is neither.
    """
    if paths := record_files.find(spec, (workspace.root, Path.cwd())):
        # Records travel, and a home folder's name should not: the last two parts name the table.
        return LocalTable("/".join(Path(spec).parts[-2:]).lstrip("/") or spec, paths)
    kind, colon, place = spec.partition(":")
    if colon and not offline and kind in SOURCES:
        return SOURCES[kind](place, workspace)
    # A glob, a parquet file, an absolute or dotted path can only be meant as a path.
    if glob.has_magic(spec) or spec.endswith(".parquet") or spec[:1] in ("/", ".", "~") or spec.count("/") != 1:
        hint = "give a parquet file, a folder of them or a glob, relative to the workspace or to the current folder"
        raise SourceError("no parquet file is there", where=spec, hint=hint)
    if offline:
        raise SourceError("not a local file, and the Hub is not asked offline", where=spec)
    return HubTable(workspace, spec, revision, pattern, again)


def from_command_line(spec: str | None) -> str | None:
    """A `--source` or `--pulls` as the settings take it: a path is relative to where the command was typed."""
    if spec and (glob.has_magic(spec) or expanded(spec).exists()):
        return str(expanded(spec).absolute())
    return spec


@contextmanager
def opened(path: Path, shown: str, buffer_bytes: int = 0) -> Iterator[Any]:
    """The `ParquetFile`, named `shown` in messages. Raises SourceError where it cannot be read, here or in the body."""
    import pyarrow
    import pyarrow.parquet as pq

    try:
        if not path.stat().st_size:
            raise SourceError("the parquet file is empty", where=shown, hint="is the download or export finished?")
        with pq.ParquetFile(path, buffer_size=buffer_bytes) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        hint = "it is damaged, or its download or export is not finished: fetch it anew"
        raise SourceError("not a readable parquet file", where=shown, value=why, hint=hint) from None


class Footer(NamedTuple):
    rows: int
    columns: dict[str, Any]  # arrow types by name
    digest: str
    """Hash of the footer, which holds place, size and value range of every column chunk: it stands for the content."""


def footer(path: Path, shown: str, needed: Iterable[str] = ()) -> Footer:
    """Read a file's footer. Raises SourceError where it is not parquet, or lacks a needed column."""
    with opened(path, shown) as parquet, path.open("rb") as file:
        columns = {field.name: field.type for field in parquet.schema_arrow}
        size = parquet.metadata.serialized_size
        file.seek(-8 - size, 2)  # the footer's length and the magic number stand behind it
        found = Footer(parquet.metadata.num_rows, columns, hashlib.sha256(file.read(size)).hexdigest())
    if missing := next((column for column in needed if column not in columns), ""):
        hint = f"the columns there are: {', '.join(columns) or 'none'}"
        raise SourceError("a needed column is missing", where=shown, value=missing, hint=hint)
    return found


def texts(column: Any) -> list[str | None]:
    """A column as text; a value that is not UTF-8 counts as null."""
    if str(column.type) in TEXT:
        with suppress(UnicodeDecodeError):
            return list(column.to_pylist())
    return [None if told is None else str(told) for told in values(column)]


def values(column: Any) -> Iterator[Any]:
    """A column's plain values, one by one: parquet does not check that text is UTF-8, and one that is not is null."""
    decode = record_files.decoder_of(column.type) or (lambda value: value)
    for value in column:
        told = None
        with suppress(UnicodeDecodeError):
            told = decode(value.as_py())
        yield told


def hub_client(root: Path) -> Any:
    """The Hub's client, with the endpoint and the token of the environment or of `root`'s `.env`; it waits out 429s."""
    # Both are read when the client is imported; a user's own choice stands.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import huggingface_hub
    from huggingface_hub.utils import logging

    # The client reads it once, when it is imported; the last word is the environment of this run.
    huggingface_hub.constants.HF_HUB_OFFLINE = hub_is_off(root)
    huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
    logging.get_logger().setLevel("ERROR")  # what it warns of is said here once, in plain words
    huggingface_hub.set_client_factory(_patient_client)
    endpoint, token = environment("HF_ENDPOINT", root).rstrip("/") or None, hub_token(root) or None
    return huggingface_hub.HfApi(endpoint=endpoint, token=token, library_name="duel-curation")


def seconds_to_wait(headers: Mapping[str, str]) -> float:
    """How long a 429 asks to wait: the reset of its `RateLimit` header, else `Retry-After`, else a guess."""
    if reset := _RESET.search(headers.get("ratelimit", "")):
        return min(float(reset[1]) + 1, MAX_WAIT_S)  # it counts whole seconds
    try:
        return min(max(float(headers.get("retry-after", "")), 1.0), MAX_WAIT_S)
    except ValueError:
        return DEFAULT_WAIT_S


def _patient_client() -> Any:
    """A client whose every request waits out 429s: its own retries differ from call to call and say nothing useful."""
    from huggingface_hub.utils._http import default_client_factory

    client = default_client_factory()
    send = client.send

    def send_and_wait(request: Any, **options: Any) -> Any:
        waits = 0
        while (response := send(request, **options)).status_code == 429:
            seconds = seconds_to_wait(response.headers)
            response.close()
            waits += 1
            if waits > MAX_WAITS:  # raised here, since the client would go on waiting by itself
                what = "the Hub still answers 429 after every wait that it asked for"
                hint = "set HF_TOKEN for a higher limit, or run the same command later: what was downloaded is kept"
                raise SourceError(what, where=request.url.host, hint=hint)
            say(f"the Hub's rate limit is reached: going on in {seconds:.0f} s (wait {waits} of {MAX_WAITS})")
            sleep(seconds)
        return response

    client.send = send_and_wait  # type: ignore[method-assign]
    return client


@contextmanager
def in_plain_words(where: str, revision: str) -> Iterator[None]:
    """Whatever the Hub's client raises in the body, as the SourceError that says what to do."""
    from huggingface_hub import errors

    unreachable = (errors.LocalEntryNotFoundError, ConnectionError, TimeoutError)
    told: tuple[str, object, str]
    try:
        yield
    except Exception as error:
        match error:
            case errors.GatedRepoError():
                told = "the dataset is gated", None, "ask for access on its page, set HF_TOKEN"
            case errors.RevisionNotFoundError():
                told = "the dataset has no such revision", revision, ""
            case errors.RepositoryNotFoundError() | errors.HFValidationError():
                what = "neither a local path nor a dataset on the Hub that can be read"
                told = what, None, "check the spelling; a private dataset needs HF_TOKEN"
            case errors.OfflineModeIsEnabled():
                told = "the Hub is switched off by HF_HUB_OFFLINE", None, "unset it, or name local files"
            case errors.HfHubHTTPError():
                told = f"the Hub answered {getattr(error.response, 'status_code', '?')}", error.server_message, ""
            case OSError() if not isinstance(error, unreachable):
                raise cannot_write(Path(error.filename or "the Hub's cache"), error) from None
            case _ if isinstance(error, unreachable) or type(error).__module__.split(".")[0] in _HTTP:
                hint = "run it again: what was downloaded is kept; or name local files"
                told = "the Hub cannot be reached", error, hint
            case _:
                raise
        what, value, hint = told
        raise SourceError(what, where=where, value=value, hint=hint) from None
