"""The commit that followed a session: what the person kept of the agent's work, as a pull request of one's own.

The folder is named by a log: git runs by argument lists, with hooks, helpers, external diffs, lazy fetches and the
user's configuration off; it refuses somebody else's repository itself. Nothing is written, nothing leaves the machine.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from duel import shell, wordlists
from duel.conversation.model import AgentCall, Session
from duel.environment import expanded

WINDOW_DAYS = 7  # how long after a session a commit still counts as its own
TIMEOUT_SECONDS = 30
LARGEST_PATCH = 4 << 20  # a larger diff is generated or vendored code; prompt.py would refuse it as huge
_SAFE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
_SAFE |= dict.fromkeys(("GIT_CONFIG_NOSYSTEM", "GIT_ATTR_NOSYSTEM", "GIT_NO_LAZY_FETCH"), "1")
_OFF = (
    f"core.fsmonitor=false core.hooksPath={os.devnull} core.attributesFile={os.devnull} core.sshCommand=false"
    " diff.external= log.showSignature=false protocol.allow=never credential.helper="
).split()
NOTHING_RUNS = [part for setting in _OFF for part in ("-c", setting)]  # git's options: nothing of a folder's is run
_REMOTE = re.compile(r"(?:[:/])([^/:\s]+)/([^/\s]+?)(?:\.git)?/?\s*$")
_TEST_PATH = re.compile(
    r"(?:^|/)(?:tests?|specs?|__tests__|testing|testdata)/|(?:^|/)(?:test_[^/]*|conftest\.py)$"
    r"|(?:[._-](?:test|spec)|Tests?)\.[^/.]+$"
)
_EDITING = {"Write", "write", "Edit", "MultiEdit", "edit", "NotebookEdit"}
_EDITORS = {"str_replace_editor", "str_replace_based_edit_tool", "file_editor"}
_LOOKED_AT = 20_000  # titles stand in the first lines; the Apache text is 11 KB, so all of them lie within this


class LocalRepository(NamedTuple):
    top: Path
    name: str  # owner/name of its `origin`, else local/<folder>


class OwnCommit(NamedTuple):
    sha: str
    base: str
    message: str
    date: str
    patch: str
    test_patch: str
    license: str
    evidence: str


@lru_cache(maxsize=256)
def repository(folder: str) -> LocalRepository | None:
    """The repository that `folder` lies in; None where the folder is gone, is no repository, or is not the user's."""
    found = _git(Path(folder), "rev-parse", "--show-toplevel") if folder.startswith("/") else None
    if not found:
        return None
    top = Path(found.strip())
    remote = _REMOTE.search(_git(top, "config", "--get", "remote.origin.url") or "")
    return LocalRepository(top, f"{remote[1]}/{remote[2]}" if remote else f"local/{top.name}")


def following(session: Session, place: LocalRepository) -> OwnCommit | None:
    """The first commit, from HEAD and the log's branch, that touches an edited file, since the session's first edit."""
    worked = [call for call in session.calls if call.result is not None and not call.is_error and _paths(call)]
    start = min((call.at for call in worked if call.at is not None), default=session.started)
    top = place.top.resolve()
    named = ((call.folder or session.folder, path) for call in worked for path in _paths(call))
    places = (Path(at, expanded(path)).resolve() for at, path in named)
    edited = sorted({path.relative_to(top).as_posix() for path in places if path.is_relative_to(top)})
    if not edited or start is None:
        return None
    ages = (f"--max-age={int(start)}", f"--min-age={int((session.ended or start) + WINDOW_DAYS * 86400)}")
    branch = session.git_branch if session.git_branch != "HEAD" else ""
    tips = ["HEAD", *filter(None, [branch and _commit(place.top, f"refs/heads/{branch}^0")])]
    listed = _git(place.top, "rev-list", "--no-merges", "--reverse", *ages, *tips, "--", *edited)
    for sha in (listed or "").split():
        if base := _commit(place.top, f"{sha}^1"):
            return _read(place.top, sha, base, edited)
    return None


def _paths(call: AgentCall) -> list[str]:
    arguments = call.arguments
    if call.name in _EDITING or (call.name in _EDITORS and arguments.get("command") != "view"):
        path = arguments.get("file_path", arguments.get("path"))
        return [path] if isinstance(path, str) and "\0" not in path else []
    command = arguments.get("command")
    if not isinstance(command, str) or call.name in _EDITORS:
        return []
    return [path for part in shell.parse(command).commands for path in part.writes if "\0" not in path]


def _commit(top: Path, name: str) -> str:
    return (_git(top, "rev-parse", "--verify", "--quiet", name) or "").strip()


def _read(top: Path, sha: str, base: str, edited: Sequence[str]) -> OwnCommit | None:
    names = _git(top, "diff-tree", "-r", "--name-only", "-z", "--no-renames", base, sha) or ""
    changed = [name for name in names.split("\0") if name]
    tests = [name for name in changed if _TEST_PATH.search(name)]
    options = ("-p", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", base, sha, "--")
    patch, test_patch = (
        _git(top, "--literal-pathspecs", "diff-tree", *options, *paths) if paths else ""
        for paths in ([name for name in changed if name not in tests], tests)
    )
    shown = _git(top, "show", "-s", "--no-color", "--format=%cI%n%B", sha)
    if shown is None or patch is None or test_patch is None or max(len(patch), len(test_patch)) > LARGEST_PATCH:
        return None
    date, _, message = shown.partition("\n")
    listed = (_git(top, "ls-tree", "--name-only", "-z", base) or "").split("\0")
    file = next((name for name in sorted(listed) if re.match(r"(?i)(licen[sc]e|copying)", name)), "")
    license = spdx_of((_git(top, "show", "--no-textconv", f"{base}:{file}") or "") if file else "")
    evidence = f"commit {sha[:12]} touches {len({*edited} & {*changed})} of the {len(edited)} files that were edited"
    return OwnCommit(sha, base, message.strip(), date, patch, test_patch, license, evidence)


def spdx_of(text: str) -> str:
    """The SPDX id of a license file, by the words that only it has, the more specific first; "" for an unknown one."""
    words = re.sub(r"\s+", " ", text[:_LOOKED_AT]).lower()
    known = wordlists.rows(__package__, "license_words.txt")
    return next((name for name, *parts in known if all(part in words for part in parts)), "")


def _git(folder: Path, *arguments: str) -> str | None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 - an argument list, no shell
            ["git", "--no-pager", "-C", str(folder), *NOTHING_RUNS, *arguments],  # noqa: S607 - the user's own git
            env=inherited | _SAFE,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
