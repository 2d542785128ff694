"""Rows of mined trajectories, and of the commits that followed them, as parquet files in the datasets' columns."""

import hashlib
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from duel import prompts
from duel.conversation import dialogue
from duel.conversation.model import Session
from duel.conversation.tasks import TASKS
from duel.sources.mining.own_commits import OwnCommit
from duel.sources.mining.sweep import MinedSession
from duel.workspace import cannot_write

# Rows are written when their messages reach this size: large enough to compress, small enough to hold.
GROUP_BYTES = 16 << 20
TRAJECTORY_COLUMNS = """
instance_id repo messages:messages trajectory_format exit_status duration_sec:float session_id source_format source_file
model ended_at:float outcome_guess outcome_evidence resolved:truth resolved_evidence eligible_turns:number
session_calls:number ended_by compactions:number base_commit commit license source_row:number source_revision
system_prompt native_messages tools
"""
PULL_COLUMNS = """
instance_id repo base_commit created_at pull_number:number patch test_patch problem_statement pr_description hints_text
interface license FAIL_TO_PASS:texts PASS_TO_PASS:texts
"""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


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
    import orjson

    trajectory, commit, scrub = found.trajectory, found.commit, found.scrub
    session = trajectory.session
    messages = [{"role": m["role"], "content": scrub(m["content"])} for m in trajectory.messages]
    repo = scrub(found.repo)
    native = orjson.dumps(scrub.deep(dialogue.native_chat(session)), default=str).decode() if keep_tools else None
    tools = orjson.dumps(scrub.deep(session.tools), default=str).decode() if keep_tools and session.tools else None
    ours = prompts.load("session_system")
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
    told = {"patch": commit.patch, "test_patch": commit.test_patch, "pr_description": commit.message}
    told["problem_statement"] = found.trajectory.task
    facts = {"base_commit": commit.base, "created_at": commit.date, "license": commit.license}
    unknown = {"hints_text": "", "interface": "", "FAIL_TO_PASS": [], "PASS_TO_PASS": []}
    scrubbed = {name: found.scrub(text) for name, text in told.items()}
    return {"instance_id": row["instance_id"], "repo": row["repo"], **facts, **scrubbed, **unknown}


class RowWriter:
    """Writes rows to a parquet file that appears, whole, when the body of `with` ends well and rows were written.

    `columns` is `name` and `name:kind` in a line; a column without a kind is text.
    """

    def __init__(self, path: Path, columns: str) -> None:
        self.path, self.columns, self.rows = path, columns, 0
        self._part = path.with_name(f".{path.name}.part")
        self._waiting: list[dict[str, Any]] = []
        self._bytes = 0
        self._file: Any = None

    def __enter__(self) -> Self:
        return self

    def add(self, row: dict[str, Any]) -> None:
        self._waiting.append(row)
        self.rows += 1
        texts = *(m["content"] for m in row.get("messages", ())), row.get("patch"), row.get("native_messages")
        self._bytes += sum(len(text or "") for text in texts)
        if self._bytes >= GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        message = pa.struct([("role", pa.string()), ("content", pa.string())])
        kinds = {
            "": pa.string(),
            "float": pa.float64(),
            "number": pa.int64(),
            "truth": pa.bool_(),
            "texts": pa.list_(pa.field("element", pa.string())),
            "messages": pa.list_(pa.field("element", message)),
        }
        named = (column.partition(":") for column in self.columns.split())
        schema = pa.schema([(name, kinds[kind]) for name, _, kind in named])
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = pq.ParquetWriter(self._part, schema, compression="zstd")
            self._file.write_table(pa.Table.from_pylist(self._waiting, schema=schema))
        except OSError as error:
            raise cannot_write(self.path, error) from None
        self._waiting, self._bytes = [], 0

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self._waiting:
                self._write()
            if self._file is not None:
                self._file.close()
                if kind is None:
                    self._part.replace(self.path)
        except OSError as failure:
            raise cannot_write(self.path, failure) from None
        finally:
            with suppress(OSError):
                self._part.unlink(missing_ok=True)
