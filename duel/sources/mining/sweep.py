"""The way of a session from a log to a row: read, choose, convert, find its commit, judge its outcome. And the account.

One session is in memory at a time. Whatever is left out is counted by reason and listed for report/dropped.jsonl.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from duel.command import say
from duel.conversation.model import Outcome, Session
from duel.errors import ItemError, printable
from duel.sources.mining import own_commits
from duel.sources.mining.choosing import Choice
from duel.sources.mining.normalise import Trajectory, normalise
from duel.sources.mining.outcome import outcome_of
from duel.sources.mining.own_commits import OwnCommit
from duel.sources.mining.scrubbing import Scrubber
from duel.sources.sessions import registry
from duel.sources.sessions.log import Log

# Reasons and notes are listed one by one up to this many, and counted beyond.
LISTED = 12


@dataclass(frozen=True)
class Mined:
    """One session that is taken."""

    trajectory: Trajectory
    file: str
    repo: str
    commit: OwnCommit | None
    outcome: tuple[Outcome, str]
    scrub: Scrubber

    @property
    def task(self) -> str:
        """What the person asked for, as the first user message of the row has it."""
        return self.trajectory.task

    def line(self) -> str:
        """One line for the eye; names and paths are scrubbed here as well."""
        commit = self.commit.sha[:12] if self.commit else "-"
        ended = printable(self.trajectory.ended_by or "end of the session", 30)
        label = printable(self.scrub(f"{self.repo}: {self.task[:60]}"), 100)
        format = self.trajectory.session.format
        return f"{format:15} {self.trajectory.turns:6,}  {self.outcome[0]:8}  {commit:12}  {ended:30}  {label}"


@dataclass
class Account:
    """What was seen, taken and left out."""

    files: int = 0
    sessions: int = 0
    taken: int = 0
    turns: int = 0
    commits: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    """What the readers counted in all sessions: user turns, tool calls, results, errors, images, thinking."""
    left: Counter[str] = field(default_factory=Counter)
    """Sessions and files that are not taken, by reason."""
    ends: Counter[str] = field(default_factory=Counter)
    """Why eligible parts end, by reason."""
    notes: Counter[str] = field(default_factory=Counter)
    """Lines, entries and blocks that were passed over, by name."""
    scrubbed: Counter[str] = field(default_factory=Counter)
    dropped: list[dict[str, str]] = field(default_factory=list)

    def leave(self, file: str, session: str, reason: str, detail: str = "") -> None:
        """Count and list what is not taken."""
        self.left[reason] += 1
        self.dropped.append({"file": file, "instance_id": session, "reason": reason, "detail": detail})

    def take(self, mined: Mined) -> None:
        """Count what is taken."""
        self.taken += 1
        self.turns += mined.trajectory.turns
        self.commits += mined.commit is not None
        self.ends[mined.trajectory.ended_by or "end of the session"] += 1

    def say(self) -> None:
        """Tell how it went."""
        formats = ", ".join(f"{count:,} {name}" for name, count in self.formats.most_common())
        say(f"{self.sessions:,} sessions in {self.files:,} files ({formats or 'none'})")
        seen = ", ".join(f"{count:,} {name}" for name, count in self.counts.most_common() if count)
        say(f"  in them {seen}" if seen else "  nothing in them")
        say(f"{self.taken:,} sessions taken, {self.turns:,} turns, {self.commits:,} with the commit that followed")
        for title, counter in (
            ("left out", self.left),
            ("eligible part ended by", self.ends),
            ("passed over", self.notes),
            ("scrubbed", self.scrubbed),
        ):
            listed = [(name, count) for name, count in counter.most_common() if count]
            for name, count in listed[:LISTED]:
                say(f"  {count:,} {title}: {printable(name, 100)}")
            if len(listed) > LISTED:
                say(f"  {sum(count for _, count in listed[LISTED:]):,} {title}: {len(listed) - LISTED:,} other reasons")


@dataclass
class Mine:
    """Sessions in their places, and which of them are wanted."""

    places: list[str]
    choice: Choice
    format: str = ""
    split: str = "train"
    all_branches: bool = False
    thinking: bool = False
    commits: bool = True
    limit: int = 0
    """Sessions to take at most; 0: all."""
    account: Account = field(default_factory=Account)

    def sessions(self) -> Iterator[Mined]:
        """The sessions that are taken, in the order of their files."""
        for log in registry.logs(self.places, self.split):
            self.account.files += 1
            for session in self._read(log):
                mined = self._consider(session, log)
                if mined is not None:
                    self.account.take(mined)
                    yield mined
                    self.account.scrubbed.update(mined.scrub.counts)
                    if self.account.taken == self.limit:
                        return
            self.account.notes.update(_named(log))

    def show(self) -> None:
        """Print what would be taken, a session a line; nothing is written."""
        print(f"{'format':15} {'turns':>6}  {'outcome':8}  {'commit':12}  {'ended by':30}  session")
        for mined in self.sessions():
            print(mined.line())

    def _read(self, log: Log) -> Iterator[Session]:
        """The sessions of one file; a file that cannot be read is left, and the rest goes on."""
        try:
            reader = registry.reader_of(log, self.format)
            for session in reader.read(log, self.all_branches):
                self.account.sessions += 1
                self.account.formats[session.format] += 1
                self.account.counts.update(session.counts)
                yield session
        except ItemError as error:
            self.account.leave(log.name, "", error.reason, error.what)
        except OSError as error:
            self.account.leave(log.name, "", "unreadable", error.strerror or str(error))
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            # Logs are outside data in formats that change: a shape that no reader knows costs its file only.
            self.account.leave(log.name, "", "unknown-shape", f"{type(error).__name__}: {error}"[:200])

    def _consider(self, session: Session, log: Log) -> Mined | None:
        place = own_commits.repository(session.folder)
        repo = session.repo or (place.name if place else _local_name(session))
        if reason := self.choice.refuses_session(session, repo):
            self.account.leave(log.name, session.id, reason)
            return None
        session.top = str(place.top) if place else ""
        trajectory = normalise(session, self.thinking)
        commit = own_commits.following(session, place) if place and self.commits and trajectory.turns else None
        outcome = outcome_of(session, commit)
        if reason := self.choice.refuses(trajectory, outcome[0]):
            self.account.leave(log.name, session.id, reason, trajectory.ended_by)
            return None
        return Mined(trajectory, log.name, repo, commit, outcome, Scrubber(session))


def _named(log: Log) -> Counter[str]:
    """The notes of a log; broken lines with their file, since somebody may want to look at them."""
    return Counter({f"{name} of {log.name}" if name.startswith("broken") else name: n for name, n in log.notes.items()})


def _local_name(session: Session) -> str:
    """The repository of a session whose folder is not at hand."""
    return f"local/{session.folder.rstrip('/').rpartition('/')[2] or 'unknown'}"
