"""Benchmark contamination: pull requests that a model will later be tested on never become training data.

The same instance (its id in any spelling, or its base commit), an issue in the same words, if asked the repository.
Lists come from files a user names, the Hub, and `humaneval.txt`, which needs no network. HumanEval (Chen et al. 2021,
arXiv 2107.03374) and MBPP (Austin et al. 2021, arXiv 2108.07732) are lists of functions.
"""

import contextlib
import csv
import io
import os
import re
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson

from duel import wordlists
from duel.environment import environment, expanded, hub_is_off, hub_token
from duel.errors import DuelError, ItemError, SettingsError
from duel.records import fingerprint
from duel.settings import Settings
from duel.workspace import Workspace, file_name

NGRAM = 13  # words in a row that count as taken over (Brown et al., "… Few-Shot Learners", 2020, appendix C)
SHARED_NGRAMS = 0.3  # share of an issue's n-grams that one benchmark issue must have; less is a common template
CONTAINED = 0.6  # share of a benchmark issue's n-grams that a longer text, with instructions around it, must hold
SAMPLED = 8  # of a longer issue's n-grams every eighth is kept, by its hash: 5,000 issues have 1.5 million
SHORT = 80  # issues with fewer n-grams are kept whole

_ID = re.compile(r"(?P<owner>[^/\s]+)__(?P<name>[^/\s]+)-(?P<number>[0-9a-f]+(?:-v[0-9a-f]+|-vnan)?)")
_ADDRESS = re.compile(
    r"(?:^|[/@:.])(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git)?"
    r"(?:#|/(?:pull|pulls|issues|merge_requests|-/merge_requests)/)(?P<number>\d+)"
)
# `owner__name.1a2b3c4d.lm_rewrite__x7`: a task made from the project at that commit (SWE-smith).
_MADE = re.compile(r"(?P<owner>[^/\s]+?)__(?P<name>[^/\s]+?)\.(?P<commit>[0-9a-f]{8})(?:\.|$)")
_IMAGE = re.compile(r"^.*(?:swe-?b(?:ench)?|sweb)\.eval\.[a-z0-9_]+?\.(?=[a-z0-9])")
_ENDINGS = re.compile(
    r"(?:\.(?:traj|trajectory|jsonl?|patch|diff|log|txt|pred|ya?ml|html|md|gz|zst)|:[\w.-]+|@sha256:\w+"
    r"|[_.](?:run|sample|rollout|attempt|try)?_?\d{1,3}|/.*)$"
)
_HOST = re.compile(r"^(?:git\+)?(?:https?://|ssh://)?(?:git@)?(?:www\.)?(?:github|gitlab)\.com[/:]")
_ISSUE = re.compile(
    r"(?s)<(pr_description|issue|issue_description|problem_statement|github_issue|task_description|problem|bug_report)>"
    r"(.*?)</\1>|\bISSUE:\s*\n(.*?)\n\s*INSTRUCTIONS:"
)
HUB_LISTS = wordlists.table("hub_lists", __package__)
"""The benchmarks that have a short name in the settings, and where they lie on the Hub."""
OF_FUNCTIONS = ("humaneval", "mbpp")
FRESH_SECONDS = 30 * 24 * 3600  # a list read less than this long ago is taken from the cache: benchmarks rarely change
_COLUMNS = ("instance_id", "repo", "base_commit")
_TEXT_COLUMNS = ("problem_statement", "issue", "issue_text", "text")
_FUNCTION_COLUMNS = ("task_id", "code")
_DEFINITION = re.compile(r"\bdef\s+(\w+)\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)")


@dataclass
class Benchmarks:
    """The instances of the benchmarks that `[audit] decontaminate` names."""

    by: str = "id"
    checked: dict[str, int] = field(default_factory=dict)  # {name: number of instances}
    unchecked: dict[str, str] = field(default_factory=dict)  # {name: why the list could not be had}
    digests: dict[str, str] = field(default_factory=dict)  # {name: fingerprint of its rows}
    # What tells an instance (its id, repository, commit, or name and number in a fork) -> the first list that has it.
    _known: dict[tuple[str, ...], str] = field(default_factory=dict, repr=False)
    _ngrams: dict[int, str] = field(default_factory=dict, repr=False)
    _sizes: dict[str, int] = field(default_factory=dict, repr=False)
    _functions: dict[int, str] = field(default_factory=dict, repr=False)

    @classmethod
    def load(
        cls, settings: Settings, workspace: Workspace, offline: bool = False, functions: Iterable[str] = ()
    ) -> Self:
        """The lists that the settings and `functions` name: known benchmarks, Hub data sets, files of ids.

        A list that could not be had is in `unchecked`, never passed over. Raises SettingsError for other names.
        """
        benchmarks, named = cls(by=settings.audit.decontaminate_by), settings.audit.decontaminate
        for name in dict.fromkeys([*named, *functions] if named else []):
            file, dataset = workspace.resolve(name), HUB_LISTS.get(name.casefold(), "")
            try:
                if name.casefold() == "humaneval":
                    rows = humaneval()
                elif not dataset and file.is_file():
                    rows = rows_of_file(file)
                elif dataset or (re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).suffix):
                    rows = hub_rows(dataset or name, workspace, offline)
                else:
                    hint = f"known here: {', '.join(HUB_LISTS)}, humaneval; or name a file with one instance id a line"
                    where = "chain.toml [audit] decontaminate"
                    raise SettingsError("neither a known benchmark nor a file", where=where, value=name, hint=hint)
            except ItemError as error:
                benchmarks.unchecked[name] = error.what
            else:
                benchmarks.checked[name] = benchmarks.add(name, rows)
                benchmarks.digests[name] = fingerprint(repr(rows))
        return benchmarks

    def add(self, name: str, rows: Iterable[Mapping[str, Any]]) -> int:
        count = 0
        for row in rows:
            told = (str(row.get(key) or "").strip() for key in (*_COLUMNS, "problem_statement"))
            instance_id, repo, commit, issue = told
            if not instance_id:
                continue
            count += 1
            plain, commit = canonical_id(instance_id), commit.lower()
            repo = canonical_repo(repo or repo_of(instance_id))
            keys: list[tuple[str, ...]] = [("id", plain), ("repo", repo)]
            if found := _ID.fullmatch(plain):
                keys.append(("fork", found["name"], found["number"]))
            if re.fullmatch(r"[0-9a-f]{12,64}", commit):
                keys += [("commit", commit), ("commit", repo, commit[:8])]
            for key in keys:
                self._known.setdefault(key, name)
            owner, ngrams = f"{name} {instance_id}", row.get("ngrams") or sampled_ngrams(issue)
            self._sizes[owner] = len(ngrams)
            for signature in row.get("signatures") or ():
                self._functions.setdefault(signature, owner)
            for ngram in ngrams:
                self._ngrams.setdefault(ngram, owner)
        return count

    def reason(self, instance_id: str, repo: str = "", base_commit: str = "", issue_text: str = "") -> str:
        """Why this pull request counts as contaminated; "" where it is clean, or nothing could be checked.

        The id may have any of the spellings above; `issue_text` may hold instructions around the issue.
        """
        plain, known = canonical_id(instance_id), self._known.get
        if found := known(("id", plain)):
            return f"instance of {found}"
        if found := known(("commit", base_commit.strip().lower())):
            return f"same base commit as an instance of {found}"
        made = _MADE.search(plain)
        if made and (found := known(("commit", repo_of(plain), made["commit"]))):
            return f"made from the base commit of an instance of {found}"
        parts = _ID.fullmatch(plain)
        if parts and (found := known(("fork", parts["name"], parts["number"]))):
            return f"name and number of an instance of {found}, in another's repository"
        project = canonical_repo(repo or repo_of(instance_id))
        if self.by == "repo" and project and (found := known(("repo", project))):
            return f"repository of {found}"
        every = set(_ngrams(issue_part(issue_text))) if self._ngrams and issue_text else set()
        for ngrams in (every, {ngram for ngram in every if ngram % SAMPLED == 0}):
            owners = Counter(self._ngrams[ngram] for ngram in ngrams if ngram in self._ngrams)
            for owner, shared in sorted(owners.items(), key=lambda item: (-item[1], item[0]))[:3]:
                if shared >= SHARED_NGRAMS * len(ngrams) or shared >= max(4, CONTAINED * self._sizes[owner]):
                    return f"issue text shared with {owner}"
        return ""

    def of_functions(self, code: str) -> str:
        """Why code counts as contaminated by the functions that it defines; "" where it is clean."""
        known = (self._functions.get(signature) for signature in signatures(code)) if self._functions else ()
        return next((f"the function of {found}" for found in known if found), "")


def issue_part(task: str) -> str:
    found = _ISSUE.search(task)
    return (found[2] or found[3] or "") if found else task


def canonical_repo(repo: str) -> str:
    """`owner/name` in lower case, under its present address; a mirror's name says whose it is."""
    plain = _HOST.sub("", repo.strip().lower()).removesuffix(".git").strip("/")
    if made := _MADE.search(plain.rpartition("/")[2]):
        plain = f"{made['owner']}/{made['name']}"
    return {old: new for old, new, *_ in wordlists.rows("duel.audit", "renamed_projects.txt")}.get(plain, plain)


def canonical_id(instance_id: str) -> str:
    """An instance id in lower case, under its repository's present address, whatever stands around it."""
    plain = instance_id.strip().lower()
    if found := _ADDRESS.search(plain):
        plain = f"{found['owner']}__{found['name']}-{found['number']}"
    plain = _IMAGE.sub("", plain).replace("_1776_", "__").replace("_s_", "__")
    plain = next((part for part in plain.split("/") if "__" in part), plain).removeprefix("instance_")
    while not _ID.fullmatch(plain) and (shorter := _ENDINGS.sub("", plain)) != plain and "__" in shorter:
        plain = shorter
    if not (found := _ID.fullmatch(plain)):
        return plain
    repo = canonical_repo(f"{found['owner']}/{found['name']}")
    return f"{repo.replace('/', '__')}-{found['number']}"


def repo_of(instance_id: str) -> str:
    plain = canonical_id(instance_id)
    found = _ID.fullmatch(plain) or _MADE.search(plain)
    return canonical_repo(f"{found['owner']}/{found['name']}") if found else ""


def sampled_ngrams(text: str) -> list[int]:
    """The n-grams by which a text is known again: all of a short one's, every eighth of a longer one's."""
    found = list(dict.fromkeys(_ngrams(text)))
    return found if len(found) < SHORT else [ngram for ngram in found if ngram % SAMPLED == 0]


def _ngrams(text: str) -> Iterator[int]:
    words = re.findall(r"\w+", text.casefold())
    for start in range(len(words) - NGRAM + 1):
        gram = " ".join(words[start : start + NGRAM]).encode("utf-8", "replace")
        yield zlib.crc32(gram) << 32 | zlib.adler32(gram)


def signatures(code: str, name: str = "") -> Iterator[int]:
    """A hash of each Python function, or of `name` alone, by its name and the names of its parameters.

    With one parameter the name needs two words or ten letters: `fib(n)` stands in too much honest code.
    """
    for found, given in _DEFINITION.findall(code):
        parameters = re.findall(r"(?:^|,)\s*\**(\w+)", re.sub(r"\[[^\]]*\]|\([^()]*\)", "", given))
        if name in ("", found) and (len(parameters) > 1 or "_" in found[1:-1] or len(found) >= 10):
            told = f"{found}({','.join(parameters)})".lower().encode()
            yield zlib.crc32(told) << 32 | zlib.adler32(told)


def humaneval() -> list[dict[str, Any]]:
    rows = (row.split() for (row,) in wordlists.rows("duel.audit", "humaneval.txt"))
    return [
        {"instance_id": instance, "signatures": [int(signed, 16)], "ngrams": [int(n, 16) for n in ngrams]}
        for instance, signed, *ngrams in rows
    ]


def rows_of_file(file: Path) -> list[dict[str, Any]]:
    """The instances in a file: one id a line with `#` comments, json, jsonl, csv, parquet. Raises SettingsError."""
    try:
        if rows := _instances(_records(file)):
            return rows
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise SettingsError("cannot read a list of instances", where=file, value=error) from None
    hint = "one id a line, or a table with a column `instance_id`"
    raise SettingsError("a list of instances without one id", where=file, hint=hint)


def _records(file: Path) -> Iterable[Any]:
    match file.suffix.lower():
        case ".parquet":
            return _of_parquet(file)
        case ".json":
            content = orjson.loads(file.read_bytes())  # [...], {"instances": [...]} or {"id": {...}}
            values = content.values() if isinstance(content, dict) else ()
            return next((value for value in values if isinstance(value, list)), list(content))
        case ".jsonl":
            return [orjson.loads(line) for line in file.read_bytes().splitlines() if line.strip()]
        case ".csv":
            return list(csv.DictReader(io.StringIO(file.read_text("utf-8", "replace"))))
    return [line.split("#", 1)[0].strip() for line in file.read_text("utf-8", "replace").splitlines()]


def _of_parquet(file: Any) -> list[dict[str, Any]]:
    import pyarrow.parquet as parquet

    table = parquet.ParquetFile(file)
    wanted = [name for name in (*_COLUMNS, *_TEXT_COLUMNS, *_FUNCTION_COLUMNS) if name in table.schema_arrow.names]
    return list(table.read(columns=wanted).to_pylist())


def _instances(records: Iterable[Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for record in records:
        row = record if isinstance(record, Mapping) else {"instance_id": record}
        kept: dict[str, Any] = {name: str(row.get(name) or "").strip() for name in _COLUMNS}
        kept["problem_statement"] = str(next((row[name] for name in _TEXT_COLUMNS if row.get(name)), ""))
        if "task_id" in row and not row.get("instance_id"):
            kept["instance_id"] = f"task {row['task_id']}"
            kept["signatures"] = [*signatures(str(row.get("code") or ""))][-1:]
        rows += [kept] if kept["instance_id"] else []
    return rows


def hub_rows(dataset: str, workspace: Workspace, offline: bool) -> list[dict[str, Any]]:
    """The instances of a Hub data set but for `train`, from the cache or by reading their columns. Raises ItemError."""
    base = Path(environment("XDG_CACHE_HOME", workspace.root) or expanded("~/.cache"))
    home = base if base.is_absolute() else workspace.private  # no home folder, as in some containers
    cache = home / "duel-curation" / "benchmarks" / f"{file_name(dataset)}.json"
    kept: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError):
        kept = orjson.loads(cache.read_bytes())
        if kept and time.time() - cache.stat().st_mtime < FRESH_SECONDS and "ngrams" in kept[0]:
            return kept
    try:
        rows = _read_hub(dataset, workspace, offline)
    except ItemError:
        if kept:
            return kept
        raise
    for row in rows:
        row["ngrams"] = sampled_ngrams(row.pop("problem_statement"))
    part = cache.with_name(f"{cache.name}.{os.getpid()}")  # runs in other workspaces may write the same list
    with contextlib.suppress(DuelError, OSError):  # a cache that cannot be written costs only the next run's calls
        Workspace(cache.parent).save(part, orjson.dumps(rows))
        part.replace(cache)
    return rows


def _read_hub(dataset: str, workspace: Workspace, offline: bool) -> list[dict[str, Any]]:
    if offline or hub_is_off(workspace.root):
        raise ItemError("unchecked", "offline, and no copy in the cache")
    from huggingface_hub import HfFileSystem

    endpoint = environment("HF_ENDPOINT", workspace.root) or None
    hub = HfFileSystem(endpoint=endpoint, token=hub_token(workspace.root) or False)
    records = []
    try:
        for path in sorted(hub.find(f"datasets/{dataset}")):
            if path.endswith(".parquet") and "train" not in Path(path).name:
                with hub.open(path) as opened:
                    records += _of_parquet(opened)
    except Exception as error:  # the client raises errors of many packages; each means that the list is not available
        raise ItemError("unchecked", f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}") from None
    if rows := _instances(records):
        return rows
    raise ItemError("unchecked", "no parquet file with instances")
