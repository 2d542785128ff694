"""The commit that followed a session: what the person kept of the agent's work, as a pull request of one's own.

The folder is named by a log, so it is outside data: git is asked by argument lists, never through a shell, with hooks,
helpers, external diffs, lazy fetches and the user's own configuration switched off; a repository that belongs to
someone else is refused by git itself. Nothing is written and nothing leaves the machine.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from duel import shell
from duel.conversation.model import AgentCall, Session
from duel.sources.mining import license_text

# How long after a session a commit still counts as its own.
WINDOW_DAYS = 7
TIMEOUT_SECONDS = 30
# A larger diff is generated or vendored code; prompt.py would refuse it as huge.
LARGEST_PATCH = 4 << 20
_SAFE = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_OFF = (
    "core.fsmonitor=false",
    f"core.hooksPath={os.devnull}",
    f"core.attributesFile={os.devnull}",
    "core.sshCommand=false",
    "diff.external=",
    "log.showSignature=false",
    "protocol.allow=never",
    "credential.helper=",
)
_REMOTE = re.compile(r"(?:[:/])([^/:\s]+)/([^/\s]+?)(?:\.git)?/?\s*$")
_TEST_PATH = re.compile(
    r"(?:^|/)(?:tests?|specs?|__tests__|testing|testdata)/|(?:^|/)(?:test_[^/]*|conftest\.py)$"
    r"|(?:[._-](?:test|spec)|Tests?)\.[^/.]+$"
)
_EDITING = {"Write", "write", "Edit", "MultiEdit", "edit", "NotebookEdit"}
_EDITORS = {"str_replace_editor", "str_replace_based_edit_tool", "file_editor"}


@dataclass(frozen=True)
class LocalRepository:
    """A git repository at hand."""

    top: Path
    name: str
    """owner/name of its `origin`, else local/<folder>."""


@dataclass(frozen=True)
class OwnCommit:
    """A commit as the pull request of a session."""

    sha: str
    base: str
    message: str
    date: str
    patch: str
    test_patch: str
    license: str
    touched: int
    edited: int

    @property
    def evidence(self) -> str:
        """Why it is taken for the session's."""
        return f"commit {self.sha[:12]} touches {self.touched} of the {self.edited} files that were edited"


@lru_cache(maxsize=256)
def repository(folder: str) -> LocalRepository | None:
    """The repository that `folder` lies in; None where the folder is gone, is no repository, or is not the user's."""
    path = Path(folder)
    if not folder.startswith("/") or not path.is_dir():
        return None
    top = _git(path, "rev-parse", "--show-toplevel")
    if not top:
        return None
    remote = _REMOTE.search(_git(path, "config", "--get", "remote.origin.url") or "")
    top_path = Path(top.strip())
    return LocalRepository(top_path, f"{remote[1]}/{remote[2]}" if remote else f"local/{top_path.name}")


def following(session: Session, place: LocalRepository) -> OwnCommit | None:
    """The first commit since the session's first edit that touches a file which it edited; None where there is none.

    Commits that the agent made itself count. Merges and the repository's first commit, which has no state before it,
    do not. Looked through: HEAD and the branch that the log names.
    """
    edited = edited_files(session, place)
    start = min((call.at for call in session.calls if call.at is not None and edits(call)), default=session.started)
    if not edited or start is None:
        return None
    last = (session.ended or start) + WINDOW_DAYS * 86400
    ages = (f"--max-age={int(start)}", f"--min-age={int(last)}")
    tips = [tip for tip in ("HEAD", _branch(place, session.git_branch)) if tip]
    listed = _git(place.top, "rev-list", "--no-merges", "--reverse", *ages, *tips, "--", *edited)
    for sha in (listed or "").split():
        base = (_git(place.top, "rev-parse", "--verify", "--quiet", f"{sha}^1") or "").strip()
        if base:
            return _read(place, sha, base, edited)
    return None


def edits(call: AgentCall) -> bool:
    """True for a call that changed files, as far as its arguments tell."""
    return bool(_paths(call)) and not call.is_error and call.result is not None


def edited_files(session: Session, place: LocalRepository) -> list[str]:
    """The files that a session changed, relative to the repository's top, sorted."""
    found = set()
    for call in session.calls:
        for path in _paths(call) if edits(call) else ():
            if path.startswith("~/"):
                path = str(Path.home() / path[2:])
            whole = Path(call.folder or session.folder, path).resolve()
            if whole.is_relative_to(place.top.resolve()):
                found.add(whole.relative_to(place.top.resolve()).as_posix())
    return sorted(found)


def _paths(call: AgentCall) -> list[str]:
    arguments = call.arguments
    if call.name in _EDITING or (call.name in _EDITORS and arguments.get("command") != "view"):
        path = arguments.get("file_path", arguments.get("path"))
        return [path] if isinstance(path, str) and "\0" not in path else []
    command = arguments.get("command")
    if not isinstance(command, str) or call.name in _EDITORS:
        return []
    return [path for part in shell.parse(command).commands for path in part.writes if "\0" not in path]


def _branch(place: LocalRepository, name: str) -> str:
    """The commit of a branch that a log names; "" where there is no such branch."""
    if not name or name == "HEAD":
        return ""
    return (_git(place.top, "rev-parse", "--verify", "--quiet", f"refs/heads/{name}^0") or "").strip()


def _read(place: LocalRepository, sha: str, base: str, edited: Iterable[str]) -> OwnCommit | None:
    names = (_git(place.top, "diff-tree", "-r", "--name-only", "-z", "--no-renames", base, sha) or "").split("\0")
    changed = [name for name in names if name]
    tests = [name for name in changed if _TEST_PATH.search(name)]
    patches = [_diff(place, base, sha, part) for part in ([n for n in changed if n not in set(tests)], tests)]
    shown = _git(place.top, "show", "-s", "--no-color", "--format=%cI%n%B", sha)
    if shown is None or None in patches:
        return None
    date, _, message = shown.partition("\n")
    wanted = set(edited)
    return OwnCommit(
        sha=sha,
        base=base,
        message=message.strip(),
        date=date,
        patch=patches[0] or "",
        test_patch=patches[1] or "",
        license=_license(place, base),
        touched=len(wanted & set(changed)),
        edited=len(wanted),
    )


def _diff(place: LocalRepository, base: str, sha: str, paths: list[str]) -> str | None:
    """The diff of some files; None where it is too large or cannot be read."""
    if not paths:
        return ""
    options = ("-p", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames")
    patch = _git(place.top, "--literal-pathspecs", "diff-tree", *options, base, sha, "--", *paths)
    return patch if patch is not None and len(patch) <= LARGEST_PATCH else None


def _license(place: LocalRepository, base: str) -> str:
    """The SPDX id of the repository's license file; "" where it has none that is known."""
    names = (_git(place.top, "ls-tree", "--name-only", "-z", base) or "").split("\0")
    for name in sorted(names):
        if re.match(r"(?i)(licen[sc]e|copying)", name):
            return license_text.spdx(_git(place.top, "show", "--no-textconv", f"{base}:{name}") or "")
    return ""


def _git(folder: Path, *arguments: str) -> str | None:
    """The output of one git command; None where it failed, took too long, or git is not there."""
    off = [part for setting in _OFF for part in ("-c", setting)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 - an argument list, no shell
            ["git", "--no-pager", "-C", str(folder), *off, *arguments],  # noqa: S607 - the user's own git
            env=inherited | _SAFE,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
