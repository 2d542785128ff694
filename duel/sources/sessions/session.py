"""What every reader reads into: a session as what people said and what the agent replied, called and got back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

# What a user message holds in place of an image; the pixels are never kept.
IMAGE_LEFT_OUT = "[an image is left out here]"

Outcome = Literal["success", "failure", "unknown"]


@dataclass(frozen=True, slots=True)
class Hunk:
    """One hunk of a unified diff: first lines (1-based) and the lines with their sign in front."""

    old_start: int
    new_start: int
    lines: tuple[str, ...]


@dataclass(slots=True)
class Call:
    """One tool call and what came back from it. `result` is None where nothing ever came back."""

    id: str
    name: str
    arguments: dict[str, Any]
    folder: str = ""
    """The working directory in which it was made; "" where the log does not say."""
    prefix: str | None = ""
    """Where `folder` lies below the top of its repository; None outside of it."""
    at: float | None = None
    """When it was made, in seconds since 1970."""
    result: str | None = None
    is_error: bool = False
    images: int = 0
    """Images in the result, left out."""
    before: str | None = None
    """An edited file's whole content before the edit, where the log has it."""
    hunks: tuple[Hunk, ...] = ()
    """What the harness says an edit changed."""
    obstacle: str = ""
    """Why this very call has no shell form although its tool has one ("rejected by the user")."""


@dataclass(slots=True)
class Said:
    """A message of the person, or of the harness in the person's name."""

    text: str
    images: int = 0


@dataclass(slots=True)
class Reply:
    """One reply of the agent: its prose, its thinking, its calls in order."""

    text: str = ""
    thinking: str = ""
    calls: list[Call] = field(default_factory=list)
    verbatim: str = ""
    """The whole reply where the log's own protocol is already prose and one bash block."""
    cut: bool = False
    """Aborted or failed half-way: not a turn to learn from."""


Entry: TypeAlias = Said | Reply


@dataclass(slots=True)
class Session:
    """One conversation with an agent, in order, whatever wrote it down."""

    format: str
    id: str
    entries: list[Entry] = field(default_factory=list)
    task_id: str = ""
    """What tells this task from others where sessions share it: forks of one session are rollouts of one task."""
    agent: str = ""
    """Which sub-agent wrote it; "" for the main one."""
    branch: str = ""
    """Which branch of a session tree this is; "" for the active one."""
    folder: str = ""
    """The working directory it started in."""
    top: str = ""
    """The top of its repository, where that is at hand; else `folder` is taken for it."""
    git_branch: str = ""
    started: float | None = None
    """Seconds since 1970."""
    ended: float | None = None
    model: str = ""
    system: str = ""
    """The system prompt, where the log has it."""
    tools: list[Any] = field(default_factory=list)
    """The tool schemas, where the log has them."""
    keeps_protocol: bool = False
    """True where `system` and the replies are already the bash-block protocol and stay as they are."""
    compactions: int = 0
    """Times the harness replaced the history by a summary; the full history is kept here."""
    instance_id: str = ""
    """The dataset's own id of the task; "" for a session of one's own."""
    repo: str = ""
    base_commit: str = ""
    exit_status: str = ""
    verdict: Outcome = "unknown"
    """What the source itself says of the outcome (tests run on the result)."""
    verdict_evidence: str = ""
    seconds: float | None = None
    """How long it took, where the source says so itself."""
    counts: Counter[str] = field(default_factory=Counter)
    """What the reader saw in it, by kind: user turns, tool calls, tool results, tool errors, images, thinking."""

    @property
    def replies(self) -> list[Reply]:
        """The agent's replies."""
        return [entry for entry in self.entries if isinstance(entry, Reply)]

    @property
    def calls(self) -> list[Call]:
        """All tool calls in order."""
        return [call for reply in self.replies for call in reply.calls]

    def saw(self, seconds: float | None) -> None:
        """Stretch the session's span to a recorded moment."""
        if seconds is not None:
            self.started = seconds if self.started is None else min(self.started, seconds)
            self.ended = seconds if self.ended is None else max(self.ended, seconds)

    def tally(self) -> Session:
        """Count what the entries hold, on top of what the reader counted itself."""
        for entry in self.entries:
            if isinstance(entry, Said):
                self.counts["user turns"] += 1
                self.counts["images"] += entry.images
                continue
            self.counts["thinking"] += bool(entry.thinking)
            self.counts["tool calls"] += len(entry.calls)
            for call in entry.calls:
                self.counts["tool results"] += call.result is not None
                self.counts["tool errors"] += call.is_error
                self.counts["images"] += call.images
        return self


def text(source: Mapping[str, Any], *names: str) -> str:
    """The first of `names` in `source` that is a text; "" where none is."""
    return next((value for name in names if isinstance(value := source.get(name), str)), "")


def table(value: Any) -> dict[str, Any]:
    """`value` where it is a JSON object, else an empty one: logs are outside data."""
    return value if isinstance(value, dict) else {}


def tables(value: Any) -> list[dict[str, Any]]:
    """The JSON objects of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def parts(content: Any) -> tuple[str, int]:
    """(text, number of images) of a message's content: a text, or a list of blocks."""
    if isinstance(content, str):
        return content, 0
    texts, images = [], 0
    for block in content if isinstance(content, list) else []:
        if isinstance(block, str):
            texts.append(block)
        elif isinstance(block, dict):
            if "image" in text(block, "type"):
                images += 1
            elif isinstance(block.get("text"), str):
                texts.append(block["text"])
    return "\n".join(texts), images


def seconds(moment: Any) -> float | None:
    """Seconds since 1970 of an ISO 8601 text or of a number of (milli)seconds; None where it is neither."""
    if isinstance(moment, (int, float)) and not isinstance(moment, bool):
        return float(moment) / 1000 if moment > 1e11 else float(moment)
    if not isinstance(moment, str):
        return None
    from datetime import UTC, datetime

    try:
        read = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
