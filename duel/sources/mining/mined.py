"""From a session to a row in the datasets' columns: steps in shell words, scrubbed, written to a parquet file.

A step is one thought, one bash block, one observation; parallel calls follow each other. The first call without a
faithful shell form, or a hole in the log, ends the trajectory: what comes after builds on what cannot be shown. A
person's name becomes the same word everywhere in a session, so that paths stay coherent: `/home/user/…`.
"""

import getpass
import hashlib
import re
from collections import Counter
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from duel import prompts, turn
from duel.audit import secrets
from duel.conversation import dialogue, text_actions
from duel.conversation.model import IMAGE_LEFT_OUT, AgentReply, Lost, RunOutcome, Said, Session
from duel.conversation.tasks import TASKS
from duel.conversation.values import joined, rewritten, text
from duel.errors import ItemError, require
from duel.sources.mining import shell_forms
from duel.sources.mining.own_commits import OwnCommit
from duel.workspace import disk_errors

# Rows are written when their messages reach this size: large enough to compress, small enough to hold.
GROUP_BYTES = 16 << 20
# Arrow's types of the columns that are no text.
_TYPES = {"messages": "messages"} | dict.fromkeys(("duration_sec", "ended_at"), "double") | {"resolved": "bool"}
_TYPES |= dict.fromkeys("eligible_turns session_calls compactions source_row pull_number".split(), "int64")
_TYPES |= dict.fromkeys(("FAIL_TO_PASS", "PASS_TO_PASS"), "texts")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
NOBODY = "user"
_HOME = re.compile(r"((?:/home|/Users)/|[A-Za-z]:(?:\\{1,2}|/)Users(?:\\{1,2}|/))([^\s/\\\"'`:;,<>|()\[\]{}*]+)")
# Owner and group in a line of `ls -l`: the one place where names stand that no path gives away.
_OWNED = re.compile(r"^([-bcdlps][-rwxsStT]{9}[.+@]? +\d+ +)(\S+)( +)(\S+)(?= )", re.MULTILINE)
# Accounts of machines, and people's names that are also words of code: as a word of their own they stay, since
# `max(` must not become `user(`; in a home folder they go like any other.
_WORDS = frozenset(
    "admin alias all any app art bin bot build case chance char ci code data default demo dev docker ec2-user git grant"
    " guest home host jenkins lib local log main mark max me merge min mock name node nobody norm op pat prod rob root"
    " runner self server shared src sort sum sync sys temp test tester tmp trace ubuntu user username usr var vagrant"
    " vscode web will work".split()
)
_NO_PERSON = _WORDS | {"staff", "wheel", "users"}
# The fence that a bash block opens with, inside prose: as `sh` it reads the same and is no action.
_BASH_FENCE = re.compile(r"```(?:bash|mswea_bash_command)(?=[^\S\n]*$)", re.MULTILINE)
_SUBMISSIONS = ("COMPLETE_TASK_AND_SUBMIT", "MINI_SWE_AGENT_FINAL")


@dataclass
class MinedTrajectory:
    session: Session
    messages: list[dict[str, str]] = field(default_factory=list)
    turns: int = 0  # assistant turns in `messages`
    ended_by: str = ""  # the reason why the rest of the session is not in it; "" where all of it is
    exit_status: str = ""
    left_out: Counter[str] = field(default_factory=Counter)  # what was passed over without ending it

    def __post_init__(self) -> None:
        self._prose: list[str] = []  # words of replies that made no turn of their own: the next turn opens with them
        self._handed_over, self._acts = False, bool(self.session.calls)

    @property
    def task(self) -> str:
        return next((message["content"] for message in self.messages if message["role"] == "user"), "")

    def take(self, thinking: bool) -> None:
        """Add entry by entry. Raises ItemError where the trajectory ends before its session."""
        session = self.session
        for entry in session.entries:
            if isinstance(entry, Lost):
                raise ItemError(entry.reason)
            if isinstance(entry, Said):
                self._user(joined(entry.text, *[IMAGE_LEFT_OUT] * entry.images))
                require(not entry.images, "image from the person")
            elif entry.cut or not self.task:
                self.left_out["aborted reply" if self.task else "reply before any task"] += 1
            elif session.stays_verbatim:
                self._assistant(entry.verbatim or entry.text)
                submits = any(name in entry.verbatim for name in _SUBMISSIONS)
                self._handed_over = submits or session.task == "chat"
                for call in entry.answered:
                    self._user(call.result or "")
            else:
                self._reply(entry, thinking, is_last=entry is session.entries[-1])
        self.exit_status = session.exit_status or ("Submitted" if self._handed_over else "incomplete")

    def _reply(self, reply: AgentReply, thinking: bool, is_last: bool) -> None:
        session = self.session
        require(self._acts, "no known action")
        unknown = session.acts_in_text and text_actions.LOOKS_LIKE_ACTION.search(reply.text)
        require(not unknown, "an action of an unknown kind")
        self._prose += [reply.thinking if thinking else "", reply.text]
        if not reply.calls and any(self._prose):
            self._turn(shell_forms.SUBMIT)
        for call in reply.calls:
            if call.name in shell_forms.BOOKKEEPING:
                self.left_out[f"bookkeeping: {call.name}"] += 1
                self._prose.append(str(call.arguments.get("thought") or "") if call.name == "think" else "")
            elif call.name in shell_forms.HAND_OVER:
                self._prose.append(str(call.arguments.get("message") or ""))
                self._turn(shell_forms.SUBMIT)
                if call.result is not None and not is_last:
                    self._user(call.result)
            else:
                folder, top = call.folder.rstrip("/"), (session.top or session.folder).rstrip("/")
                call.prefix = folder[len(top) + 1 :] if f"{folder}/".startswith(f"{top}/") else None
                command = shell_forms.shell_form(call)
                if not any(self._prose):  # Claude Code's model says there what a command is for
                    self._prose.append(text(call.arguments, "description"))
                self._turn(command)
                require(call.result is not None, "call without a result")
                self._user(call.result or "")

    def _turn(self, command: str) -> None:
        thought = _BASH_FENCE.sub("```sh", joined(*(part.strip() for part in self._prose)))
        self._prose = []
        content = (f"THOUGHT: {thought}\n\n" if thought else "") + f"```bash\n{command}\n```"
        problem = turn.format_problem(content)
        require(not problem, f"not one bash block: {problem}")
        self._assistant(content)
        self._handed_over = command == shell_forms.SUBMIT

    def _assistant(self, content: str) -> None:
        if self.messages and self.messages[-1]["role"] == "assistant":  # two replies with nothing in between
            self.messages.append({"role": "user", "content": ""})
        self.messages.append({"role": "assistant", "content": content})
        self.turns += 1

    def _user(self, content: str) -> None:
        if self.messages and self.messages[-1]["role"] == "user":
            content = joined(self.messages.pop()["content"], content)
        self.messages.append({"role": "user", "content": content})


def normalize(session: Session, thinking: bool = False) -> MinedTrajectory:
    """The trajectory of a session; with `thinking`, the thought of a turn opens with what the model thought."""
    trajectory = MinedTrajectory(session)
    if system := session.system if session.stays_verbatim else prompts.load("session_system").text:
        trajectory.messages.append({"role": "system", "content": system})
    try:
        trajectory.take(thinking)
    except ItemError as end:  # the first part of a session says nothing about its end: it has no exit status
        trajectory.ended_by = end.reason
    return trajectory


class SessionScrubber:
    """Scrubs the texts of one session, and counts what it took out by kind."""

    def __init__(self, session: Session) -> None:
        self.counts: Counter[str] = Counter()
        names = {found[2] for found in _HOME.finditer(session.folder)}
        with suppress(OSError, KeyError, RuntimeError):  # a machine may have no home folder and no name for its user
            names |= {Path.home().name, getpass.getuser()}
        self._names = {name.lower() for name in names if len(name) > 2 and name.lower() not in _WORDS}
        words = "|".join(re.escape(name) for name in sorted(self._names, key=lambda name: (-len(name), name)))
        self._name = re.compile(rf"(?<![A-Za-z0-9])(?:{words})(?![A-Za-z0-9])", re.IGNORECASE)

    def __call__(self, text: str) -> str:
        # A plain search comes first: 10 MB of results took 0.06 s this way, and 0.41 s by the two patterns alone.
        if "/home/" in text or "Users" in text:
            self.counts["home folder"] += sum(found[2] != NOBODY for found in _HOME.finditer(text))
            text = _HOME.sub(rf"\g<1>{NOBODY}", text)
        if "rw" in text or "r-x" in text or "r--" in text:
            text = _OWNED.sub(self._owned, text)
        # Before the names, while addresses are whole: `user@…` would pass for the address of an example.
        scrubbed = secrets.scrub(text)
        self.counts.update(scrubbed.counts)
        text = scrubbed.text.replace("<user>", NOBODY)
        lowered = text.lower()
        if any(name in lowered for name in self._names):
            text, found = self._name.subn(NOBODY, text)
            self.counts["user name"] += found
        return text

    def _owned(self, found: re.Match[str]) -> str:
        names = found[2], found[4]
        kept = [n if n.isdigit() or n.startswith("_") or n.lower() in _NO_PERSON else NOBODY for n in names]
        self.counts["user name"] += sum(old != new for old, new in zip(names, kept, strict=True))
        return f"{found[1]}{kept[0]}{found[3]}{kept[1]}"


class MinedSession(NamedTuple):
    trajectory: MinedTrajectory
    file: str
    repo: str
    commit: OwnCommit | None
    guess: tuple[RunOutcome, str]
    scrub: SessionScrubber


def identity(session: Session, repo: str) -> str:
    """The instance id: the dataset's own, else `owner__repo-s<12 hex digits>`, equal for forks of one session."""
    if session.instance_id:
        return session.instance_id
    key = f"{session.format}\x1f{session.task_id or session.id}\x1f{session.agent}"
    owner, _, name = repo.partition("/")
    place = "__".join(_UNSAFE.sub("-", part).strip("-.")[:60] or "unknown" for part in (owner, name))
    return f"{place}-s{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def row(found: MinedSession, keep_tools: bool = False) -> dict[str, Any]:
    """One row in the dataset's six columns and what a session has beyond them; every text of it is scrubbed."""
    trajectory, commit, scrub = found.trajectory, found.commit, found.scrub
    session, ours = trajectory.session, prompts.load("session_system")
    messages = [{"role": m["role"], "content": scrub(m["content"])} for m in trajectory.messages]
    repo = scrub(found.repo)
    kept = (dialogue.native_chat(session), session.tools or None) if keep_tools else (None, None)
    native, tools = (None if one is None else orjson.dumps(rewritten(one, scrub), default=str).decode() for one in kept)
    base = commit.base if commit else session.base_commit
    task = next((message for message in messages if message["role"] == "user"), {"content": ""})
    if base and base not in task["content"]:
        task["content"] = prompts.load("session_task").render(task=task["content"], repo=repo, commit=base).rstrip("\n")
    span = session.ended - session.started if session.started is not None and session.ended is not None else None
    return {
        "instance_id": scrub(identity(session, repo)),
        "repo": repo,
        "messages": messages,
        "trajectory_format": TASKS[session.task].trajectory_format,
        "exit_status": trajectory.exit_status,
        "duration_sec": session.seconds if session.seconds is not None else span,
        "session_id": scrub("/".join(filter(None, (session.id, session.agent, session.branch)))),
        "source_format": session.format,
        "source_file": scrub(found.file),
        "model": session.model,
        "ended_at": session.ended,
        "outcome_guess": found.guess[0],
        "outcome_evidence": scrub(found.guess[1]),
        "resolved": {"success": True, "failure": False}.get(session.verdict),
        "resolved_evidence": scrub(session.verdict_evidence),
        "eligible_turns": trajectory.turns,
        "session_calls": session.counts["tool calls"],
        "ended_by": trajectory.ended_by,
        "compactions": session.compactions,
        "base_commit": base,
        "commit": commit.sha if commit else "",
        "license": commit.license if commit else session.license,
        "source_row": session.row if session.row >= 0 else None,
        "source_revision": session.revision,
        "system_prompt": "the log's" if session.stays_verbatim else f"session_system {ours.hash}",
        "native_messages": native,
        "tools": tools,
    }


def pull_row(row: dict[str, Any], found: MinedSession, commit: OwnCommit) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("instance_id", "repo", "base_commit")},
        "created_at": commit.date,
        "pull_number": None,
        "patch": found.scrub(commit.patch),
        "test_patch": found.scrub(commit.test_patch),
        "problem_statement": found.scrub(found.trajectory.task),
        "pr_description": found.scrub(commit.message),
        "hints_text": "",
        "interface": "",
        "license": commit.license,
        "FAIL_TO_PASS": [],
        "PASS_TO_PASS": [],
    }


class RowWriter(AbstractContextManager["RowWriter"]):
    """Writes rows to a parquet file that appears, whole, when the body of `with` ends well and rows were written."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, 0
        self._part = path.with_name(f".{path.name}.part")
        self._waiting, self._bytes = list[dict[str, Any]](), 0
        self._file: Any = None

    def add(self, row: dict[str, Any]) -> None:
        self._waiting.append(row)
        self.rows += 1
        texts = *(m["content"] for m in row.get("messages", ())), row.get("patch"), row.get("native_messages")
        self._bytes += sum(len(text or "") for text in texts)
        if self._bytes >= GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        elements = {"messages": pa.struct([("role", pa.string()), ("content", pa.string())]), "texts": pa.string()}
        lists = {kind: pa.list_(pa.field("element", one)) for kind, one in elements.items()}
        kinds = [(name, _TYPES.get(name, "string")) for name in self._waiting[0]]
        schema = pa.schema([(name, lists.get(kind) or pa.type_for_alias(kind)) for name, kind in kinds])
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._file or pq.ParquetWriter(self._part, schema, compression="zstd")
            self._file.write_table(pa.Table.from_pylist(self._waiting, schema=schema))
        self._waiting, self._bytes = [], 0

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self._waiting:
                self._write()
            if self._file is not None:
                with disk_errors(self.path):
                    self._file.close()
                    if kind is None:
                        self._part.replace(self.path)
        finally:
            with suppress(OSError):
                self._part.unlink(missing_ok=True)
