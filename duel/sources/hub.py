"""Datasets on the Hub: which commit, which files, and each file downloaded once.

`huggingface_hub` does the work (cache, resuming, `HF_ENDPOINT`); what is added here is patience with 429s, errors in
this project's words, and a line for whoever watches.
"""

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from duel.command import say
from duel.environment import environment, hub_is_off, hub_token
from duel.errors import SourceError, printable
from duel.workspace import Workspace, cannot_write

# The Hub counts in windows of 300 s, so a wait that it asks for is at most that long; after three whole windows
# something else is wrong.
MAX_WAIT_S = 310.0
MAX_WAITS = 3
# What a download holds in memory: at the client's own 10 MB each, five of them took 100 MB and twice the time; at 1 MB
# the 1.6 GB of bench.sampling cost 1.5 s more of fresh pages than at 64 KB.
CHUNK_BYTES = 1 << 16
# Waits where a 429 says nothing about how long.
DEFAULT_WAIT_S = 30.0
_SHA = re.compile(r"[0-9a-f]{40}")
_HTTP = frozenset("httpx httpx2 httpcore httpcore2".split())
"""The libraries that the client speaks HTTP with, by its version."""
_RESET = re.compile(r"(?:^|[;,\s])t=(\d+)")

Sleep = Callable[[float], None]


class Hub:
    """The Hub as one user sees it. Making the object imports the client and touches no network."""

    def __init__(
        self, workspace: Workspace, *, again: bool = False, sleep: Sleep = time.sleep, cache: Path | None = None
    ) -> None:
        # Both are read when the client is imported; a user's own choice stands.
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        if not sys.stderr.isatty():
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        import huggingface_hub
        from huggingface_hub.utils import logging

        # The client reads it once, when it is imported; the last word is the environment of this run.
        huggingface_hub.constants.HF_HUB_OFFLINE = hub_is_off(workspace.root)
        huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
        logging.get_logger().setLevel("ERROR")  # what it warns of is said here once, in plain words
        self.workspace, self.again, self.cache = workspace, again, cache
        self.api = huggingface_hub.HfApi(
            endpoint=environment("HF_ENDPOINT", workspace.root).rstrip("/") or None,
            token=hub_token(workspace.root) or None,
            library_name="duel-curation",
        )
        _be_patient(sleep)

    def commit(self, dataset: str, revision: str) -> str:
        """The commit sha behind a branch or tag, or of the newest commit where `revision` is empty.

        It is asked for once in a workspace, so that an interrupted run goes on with the same data; `again` asks anew.
        """
        if _SHA.fullmatch(revision):
            return revision
        memory, key = self.workspace.private / "revisions.json", f"{dataset}@{revision}"
        try:
            known = json.loads(memory.read_bytes())
        except (OSError, ValueError):
            known = None
        known = known if isinstance(known, dict) else {}
        if self.again or not _SHA.fullmatch(str(known.get(key))):
            with _in_plain_words(dataset, revision):
                known[key] = str(self.api.dataset_info(dataset, revision=revision or None).sha)
            self.workspace.save(memory, json.dumps(known, indent=2, sort_keys=True).encode())
        return str(known[key])

    def files(self, dataset: str, revision: str) -> dict[str, int]:
        with _in_plain_words(dataset, revision):
            tree = self.api.list_repo_tree(dataset, repo_type="dataset", revision=revision, recursive=True)
            return {entry.path: int(entry.size) for entry in tree if hasattr(entry, "size")}

    def download(self, dataset: str, revision: str, name: str, size: int) -> Path:
        if not self.is_cached(dataset, revision, name):
            say(f"downloading {printable(name, 120)} of {dataset}, {size / 1e6:,.0f} MB")
        with _in_plain_words(dataset, revision, name):
            found = self.api.hf_hub_download(
                dataset, name, repo_type="dataset", revision=revision, cache_dir=self.cache
            )
            return Path(found)

    def is_cached(self, dataset: str, revision: str, name: str) -> bool:
        from huggingface_hub import try_to_load_from_cache as find

        return isinstance(find(dataset, name, cache_dir=self.cache, revision=revision, repo_type="dataset"), str)


def seconds_to_wait(headers: Mapping[str, str]) -> float:
    """How long a 429 asks to wait: the reset of its `RateLimit` header, else `Retry-After`, else a guess."""
    if reset := _RESET.search(headers.get("ratelimit", "")):
        return min(float(reset[1]) + 1, MAX_WAIT_S)  # it counts whole seconds
    try:
        return min(max(float(headers.get("retry-after", "")), 1.0), MAX_WAIT_S)
    except ValueError:
        return DEFAULT_WAIT_S


def _be_patient(sleep: Sleep) -> None:
    """Let every request of the client wait out 429s: one place for metadata, trees and files alike.

    The client's own retries differ from call to call (none for a revision, five for a file) and say nothing a user can
    read.
    """
    import huggingface_hub
    from huggingface_hub.utils._http import default_client_factory

    def factory() -> Any:
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

    huggingface_hub.set_client_factory(factory)


@contextlib.contextmanager
def _in_plain_words(dataset: str, revision: str, name: str = "") -> Iterator[None]:
    try:
        yield
    except Exception as error:
        plain = _plain(error, f"{dataset}/{name}" if name else dataset, revision)
        if plain is None:
            raise
        raise plain from None


def _plain(error: Exception, where: str, revision: str) -> Exception | None:
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return SourceError("the dataset is gated", where=where, hint="ask for access on its page, set HF_TOKEN")
        case errors.RevisionNotFoundError():
            return SourceError("the dataset has no such revision", where=where, value=revision)
        case errors.RepositoryNotFoundError() | errors.HFValidationError():
            what = "neither a local path nor a dataset on the Hub that can be read"
            return SourceError(what, where=where, hint="check the spelling; a private dataset needs HF_TOKEN")
        case errors.OfflineModeIsEnabled():
            hint = "unset it, or give local files with --source and --pulls"
            return SourceError("the Hub is switched off by HF_HUB_OFFLINE", where=where, hint=hint)
        case errors.HfHubHTTPError():
            status = getattr(error.response, "status_code", "?")
            return SourceError(f"the Hub answered {status}", where=where, value=error.server_message)
    unreachable = (errors.LocalEntryNotFoundError, ConnectionError, TimeoutError)
    if isinstance(error, OSError) and not isinstance(error, unreachable):
        return cannot_write(Path(error.filename or "the Hub's cache"), error)
    if isinstance(error, unreachable) or type(error).__module__.split(".")[0] in _HTTP:
        hint = "run the same command again: what was downloaded is kept; or give local files with --source and --pulls"
        return SourceError("the Hub cannot be reached", where=where, value=error, hint=hint)
    return None
