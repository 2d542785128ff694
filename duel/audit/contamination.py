"""Benchmark contamination: pull requests that a model will later be tested on never become training data.

Three ways to be contaminated: the same instance (id, or repository and base commit), in strict mode the same
repository, and an issue whose words are largely those of a benchmark's issue. A list that could not be had is in
`unchecked` with the reason; it is never passed over in silence.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duel.audit.benchmark_lists import HUB_LISTS, hub_rows, rows_of_file
from duel.errors import ItemError, SettingsError
from duel.records import fingerprint
from duel.settings import Settings
from duel.workspace import Workspace

# Old address of a project -> the one it has now. Both stand for the same code.
RENAMED = {
    "charliermarsh/ruff": "astral-sh/ruff",
    "deluan/navidrome": "navidrome/navidrome",
    "druid-io/druid": "apache/druid",
    "isagalaev/highlight.js": "highlightjs/highlight.js",
    "kennethreitz/requests": "psf/requests",
    "leaverou/prism": "prismjs/prism",
    "llk/scratch-gui": "scratchfoundation/scratch-gui",
    "markphelps/flipt": "flipt-io/flipt",
    "mholt/caddy": "caddyserver/caddy",
    "mitsuhiko/flask": "pallets/flask",
    "pycqa/astroid": "pylint-dev/astroid",
    "pycqa/pylint": "pylint-dev/pylint",
    "requests/requests": "psf/requests",
    "rsteube/carapace": "carapace-sh/carapace",
    "spf13/hugo": "gohugoio/hugo",
    "stedolan/jq": "jqlang/jq",
    "the-compiler/qutebrowser": "qutebrowser/qutebrowser",
    "vector-im/element-web": "element-hq/element-web",
}
NGRAM = 13
"""Words in a row that count as taken over (Brown et al., "Language Models are Few-Shot Learners", 2020, appendix C)."""
SHARED_NGRAMS = 0.3
"""Share of an issue's n-grams that one benchmark issue must have; less is a template that both were written in."""

_ID = re.compile(r"(?P<owner>[^/\s]+)__(?P<name>[^/\s]+)-(?P<number>[0-9a-f]+(?:-v[0-9a-f]+|-vnan)?)")
_WORD = re.compile(r"\w+")


@dataclass
class Benchmarks:
    """The instances of the benchmarks that `[audit] decontaminate` names.

    `checked` is {name: number of instances}, `unchecked` {name: why the list could not be had}.
    """

    by: str = "id"
    checked: dict[str, int] = field(default_factory=dict)
    unchecked: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    """{name: fingerprint of its rows}."""
    _ids: dict[str, str] = field(default_factory=dict, repr=False)
    _repos: dict[str, str] = field(default_factory=dict, repr=False)
    _commits: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)
    _ngrams: dict[int, str] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, settings: Settings, workspace: Workspace, offline: bool = False) -> Benchmarks:
        """The lists that the settings name: known benchmarks, Hub data sets, or files of ids.

        Raises SettingsError for a name that is none of these, and for a file that cannot be read as a list.
        """
        benchmarks = cls(by=settings.audit.decontaminate_by)
        for name in settings.audit.decontaminate:
            file = workspace.resolve(name)
            try:
                if name.casefold() in HUB_LISTS:
                    rows = hub_rows(HUB_LISTS[name.casefold()], workspace, offline)
                elif file.is_file():
                    rows = rows_of_file(file)
                elif re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).suffix:
                    rows = hub_rows(name, workspace, offline)
                else:
                    raise _unknown(name)
            except ItemError as error:
                benchmarks.unchecked[name] = error.what
            else:
                benchmarks.checked[name] = benchmarks.add(name, rows)
                benchmarks.digests[name] = fingerprint(repr(rows))
        return benchmarks

    def add(self, name: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Take in one list: rows with `instance_id`, and maybe `repo`, `base_commit`, `problem_statement`."""
        count = 0
        for row in rows:
            instance_id = str(row.get("instance_id") or "").strip()
            if not instance_id:
                continue
            count += 1
            self._ids.setdefault(canonical_id(instance_id), name)
            repo = canonical_repo(str(row.get("repo") or "") or repo_of(instance_id))
            if repo:
                self._repos.setdefault(repo, name)
                if row.get("base_commit"):
                    self._commits.setdefault((repo, str(row["base_commit"]).strip().lower()), name)
            for ngram in _ngrams(str(row.get("problem_statement") or "")):
                self._ngrams.setdefault(ngram, f"{name} {instance_id}")
        return count

    def reason(self, instance_id: str, repo: str = "", base_commit: str = "", issue_text: str = "") -> str:
        """Why this pull request counts as contaminated; "" where it is clean, or nothing could be checked."""
        if found := self._ids.get(canonical_id(instance_id)):
            return f"instance of {found}"
        project = canonical_repo(repo or repo_of(instance_id))
        if found := self._commits.get((project, base_commit.strip().lower())):
            return f"same repository and base commit as an instance of {found}"
        if self.by == "repo" and (found := self._repos.get(project)):
            return f"repository of {found}"
        if self._ngrams and issue_text:
            return self._shared_text(issue_text)
        return ""

    def _shared_text(self, text: str) -> str:
        ngrams = set(_ngrams(text))
        owners = Counter(self._ngrams[ngram] for ngram in ngrams if ngram in self._ngrams)
        if owners:
            owner, shared = min(owners.items(), key=lambda item: (-item[1], item[0]))
            if shared >= SHARED_NGRAMS * len(ngrams):
                return f"issue text shared with {owner}"
        return ""


def canonical_repo(repo: str) -> str:
    """`owner/name` in lower case, under its present address."""
    plain = repo.strip().lower().removeprefix("https://github.com/").removesuffix(".git").strip("/")
    return RENAMED.get(plain, plain)


def canonical_id(instance_id: str) -> str:
    """An instance id in lower case, under its repository's present address."""
    plain = instance_id.strip().lower().removeprefix("instance_")
    found = _ID.fullmatch(plain)
    if not found:
        return plain
    repo = canonical_repo(f"{found['owner']}/{found['name']}")
    return f"{repo.replace('/', '__')}-{found['number']}"


def repo_of(instance_id: str) -> str:
    """`owner/name` of an id of the form `owner__name-number`; "" where it has another."""
    found = _ID.fullmatch(instance_id.strip().lower().removeprefix("instance_"))
    return f"{found['owner']}/{found['name']}" if found else ""


def _ngrams(text: str) -> Iterator[int]:
    words = _WORD.findall(text.casefold())
    for start in range(len(words) - NGRAM + 1):
        gram = " ".join(words[start : start + NGRAM]).encode("utf-8", "replace")
        yield zlib.crc32(gram) << 32 | zlib.adler32(gram)


def _unknown(name: str) -> SettingsError:
    return SettingsError(
        "neither a known benchmark nor a file",
        where="chain.toml [audit] decontaminate",
        value=name,
        hint=f"known here: {', '.join(HUB_LISTS)}; or name a file with one instance id a line",
    )
