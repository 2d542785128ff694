"""The one model of a conversation: what people said, what the agent replied and called, what came back."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeAlias

IMAGE_LEFT_OUT = "[an image is left out here]"  # in place of an image; the pixels are never kept
RunOutcome = Literal["success", "failure", "unknown"]


@dataclass(slots=True)
class AgentCall:
    id: str
    name: str
    arguments: dict[str, Any]
    folder: str = ""  # the working directory in which it was made; "" where the log does not say
    prefix: str | None = ""  # where `folder` lies below the top of its repository; None outside of it
    at: float | None = None  # when it was made, in seconds since 1970
    result: str | None = None  # None where nothing ever came back
    is_error: bool = False
    images: int = 0  # images in the result, left out
    before: str | None = None  # an edited file's whole content before the edit, where the log has it
    obstacle: str = ""  # why this very call has no shell form although its tool has one ("rejected by the user")


@dataclass(slots=True)
class Said:
    text: str
    images: int = 0
    role: str = "user"


@dataclass(slots=True)
class AgentReply:
    """One reply of the agent: its prose without the actions, its calls in order, its thinking."""

    text: str = ""
    calls: list[AgentCall] = field(default_factory=list)
    thinking: str = ""
    verbatim: str = ""  # the whole reply where the log's own protocol is already prose and one bash block
    cut: bool = False  # aborted or failed half-way: not a turn to learn from

    @property
    def answered(self) -> list[AgentCall]:
        return [call for call in self.calls if call.result is not None]


@dataclass(frozen=True, slots=True)
class Lost:
    """Something stood here that cannot be read: what follows builds on what nobody can see."""

    reason: str


Entry: TypeAlias = Said | AgentReply


def calls_made(entries: Iterable[Entry | Lost]) -> list[AgentCall]:
    return [call for entry in entries if isinstance(entry, AgentReply) for call in entry.calls]


@dataclass(slots=True)
class Session:
    format: str
    id: str
    entries: list[Entry | Lost] = field(default_factory=list)
    task_id: str = ""  # what tells this task from others: forks of one session are rollouts of one task
    agent: str = ""  # which sub-agent wrote it; "" for the main one
    branch: str = ""  # which branch of a session tree this is; "" for the active one
    folder: str = ""  # the working directory it started in
    top: str = ""  # the top of its repository, where that is at hand; else `folder` is taken for it
    git_branch: str = ""
    started: float | None = None  # seconds since 1970
    ended: float | None = None
    model: str = ""
    system: str = ""  # the system prompt, where the log has it
    tools: list[Any] = field(default_factory=list)  # the tool schemas, where the log has them
    keeps_protocol: bool = False  # `system` and the replies are already the bash-block protocol and stay as they are
    compactions: int = 0  # times the harness replaced the history by a summary; the full history is kept here
    instance_id: str = ""  # the dataset's own id of the task; "" for a session of one's own
    repo: str = ""
    base_commit: str = ""
    exit_status: str = ""
    task: str = "bash-block"  # what its replies are, as `tasks` beside it names them: `chat` has no actions at all
    acts_in_text: bool = False  # actions are read out of the replies' text: one may hide in what is taken for prose
    refusal: str = ""  # why the whole session cannot be used ("unknown-role"); "" where it can
    detail: str = ""  # what `refusal` is about, for people
    license: str = ""
    revision: str = ""  # commit of the dataset that it was read from
    row: int = -1  # its row in its file or split, from 0; -1 where a file is one session
    verdict: RunOutcome = "unknown"  # what the source itself says of the outcome (tests run on the result)
    verdict_evidence: str = ""
    seconds: float | None = None  # how long it took, where the source says so itself
    counts: Counter[str] = field(default_factory=Counter)  # what the reader saw in it, by kind

    @property
    def last(self) -> Entry | Lost | None:
        return self.entries[-1] if self.entries else None

    @property
    def stays_verbatim(self) -> bool:
        """True where the replies are taken as they are: our own protocol, or talk without actions."""
        return self.keeps_protocol or self.task == "chat"

    @property
    def replies(self) -> list[AgentReply]:
        return [entry for entry in self.entries if isinstance(entry, AgentReply)]

    @property
    def calls(self) -> list[AgentCall]:
        return calls_made(self.entries)

    def saw(self, seconds: float | None) -> None:
        """Stretch the session's span to a recorded moment."""
        if seconds is not None:
            self.started = seconds if self.started is None else min(self.started, seconds)
            self.ended = seconds if self.ended is None else max(self.ended, seconds)

    def tally(self) -> Self:
        counts = self.counts
        for entry in self.entries:
            if isinstance(entry, Said):
                counts["user turns"] += 1
                counts["images"] += entry.images
            elif isinstance(entry, AgentReply):
                counts["thinking"] += bool(entry.thinking)
                counts["tool calls"] += len(entry.calls)
                for call in entry.calls:
                    counts["tool results"] += call.result is not None
                    counts["tool errors"] += call.is_error
                    counts["images"] += call.images
        return self
