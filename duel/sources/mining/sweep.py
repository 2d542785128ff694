"""The way of a session from a log to a row: read, choose, convert, find its commit, judge its outcome; the account."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice

import orjson

from duel.bookkeeping import LeftOut
from duel.command import say
from duel.conversation import dialogue
from duel.conversation.model import AgentReply, RunOutcome, Session
from duel.errors import ItemError, SettingsError, printable, require
from duel.sources.mining import own_commits
from duel.sources.mining.mined import MinedSession, MinedTrajectory, SessionScrubber, normalize
from duel.sources.mining.own_commits import OwnCommit
from duel.sources.sessions import session_formats
from duel.sources.sessions.session_formats import Log

LISTED = 12  # reasons and notes are listed one by one up to this many, and counted beyond
JUDGED_ROWS = 40  # by so many rows of a file it is judged whether its actions are known
TOLD_EVERY = 1000  # sessions between two words of how far the work is
# The words with which harnesses open every task.
_FRAME = re.compile(r"</?[a-z_-]+>|Consider the following PR description:|Please solve (?:this|the following) issue:?")
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
# Runs that a harness stopped for a limit or an error, as SWE-agent, mini-swe-agent and OpenHands name them.
_STOPPED = re.compile(r"(?i)^(?:exit_(?!submit)|limits?_?exceeded|.*(?:error|timeout|maxiteration|max_iteration))")
_TEST_RUN = re.compile(
    r"(?:^|[\s;&|(])(?:pytest|py\.test|tox|nox|nosetests|jest|vitest|mocha|rspec|phpunit|ctest"
    r"|(?:npm|pnpm|yarn|bun)\s+(?:run\s+)?test|(?:go|cargo|mix|dotnet|swift|mvn|gradle|\./gradlew|make|rake)\s+(?:test|check)"
    r"|python3?\s+-m\s+(?:pytest|unittest)|manage\.py\s+test)\b"
)


def seconds_of(age: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", age.strip().lower())
    if not found:
        raise SettingsError("not an age", where="--since", value=age, hint="a number and m, h, d or w: 7d, 12h, 2w")
    return float(found[1]) * _UNITS[found[2]]


def guess_of(session: Session, commit: OwnCommit | None) -> tuple[RunOutcome, str]:
    """A guess how a session ended for the person it was for, and the evidence that it rests on.

    It is no more than that: on 94 runs with a known outcome "failure" was wrong in 69 %. What tests said of a run is
    `Session.verdict`, which this never touches. The strongest evidence decides: a run that was stopped, a commit that
    kept the work, then the session's last run of tests. A submission proves nothing.
    """
    if _STOPPED.match(session.exit_status):
        return "failure", f"the run ended with {session.exit_status}"
    if commit is not None:
        return "success", commit.evidence
    for call in reversed(session.calls):
        command = call.arguments.get("command")
        if isinstance(command, str) and call.result is not None and (run := _TEST_RUN.search(command)):
            passed = "failed" if call.is_error else "passed"
            return ("failure" if call.is_error else "success"), f"the last run of tests {passed}: {run[0].strip()}"
    return "unknown", "no commit, no run of tests"


@dataclass
class MiningAccount:
    files: int = 0
    taken: int = 0
    turns: int = 0
    commits: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)  # what the readers counted in all sessions
    left: LeftOut = field(default_factory=LeftOut)  # sessions and files that are not taken
    ends: Counter[str] = field(default_factory=Counter)  # why eligible parts end, by reason
    notes: Counter[str] = field(default_factory=Counter)  # lines, entries and blocks that were passed over, by name
    scrubbed: Counter[str] = field(default_factory=Counter)

    def say(self) -> None:
        formats = ", ".join(f"{count:,} {name}" for name, count in self.formats.most_common())
        say(f"{self.formats.total():,} sessions in {self.files:,} files ({formats or 'none'})")
        seen = ", ".join(f"{count:,} {name}" for name, count in (+self.counts).most_common())
        say(f"  in them {seen}" if seen else "  nothing in them")
        say(f"{self.taken:,} sessions taken, {self.turns:,} turns, {self.commits:,} with the commit that followed")
        titles = "left out", "eligible part ended by", "passed over", "scrubbed"
        for title, counter in zip(titles, (self.left, self.ends, self.notes, self.scrubbed), strict=True):
            listed = (+counter).most_common()
            for name, count in listed[:LISTED]:
                say(f"  {count:,} {title}: {printable(name, 100)}")
            if len(listed) > LISTED:
                say(f"  {sum(count for _, count in listed[LISTED:]):,} {title}: {len(listed) - LISTED:,} other reasons")
        for reason in ("no-known-action", "unknown-role"):
            for row in [row for row in self.left.rows if row["reason"] == reason][:3]:
                say(f"  {reason} in {printable(row['file'], 80)}: {printable(row['detail'], 240)}")
        if self.left["no-eligible-turn"] and not self.taken:
            say("  `--keep-tools` takes sessions whose calls have no shell form, as they are, for exports with tools")


@dataclass
class Mine:
    """What is asked for; of all places everything that has a task and a turn, unless more is said."""

    places: list[str]
    format: str = ""
    split: str = "train"
    accept_license: bool = False
    all_branches: bool = False
    thinking: bool = False
    commits: bool = True
    limit: int = 0  # sessions to take at most; 0: all
    not_before: float | None = None  # sessions that ended earlier are left, in seconds since 1970
    project: str = ""  # a glob that the working folder, its last part or the repository must match
    min_turns: int = 1
    """Eligible turns; with 0, tool calls without a shell form will do: exports can keep them as they were made."""
    outcome: str = ""
    happened: Callable[[MinedTrajectory], bool] | None = None  # the predicate of `--filter`
    account: MiningAccount = field(default_factory=MiningAccount)

    def show(self) -> None:
        """A line for each session; names and paths are scrubbed here as well."""
        titles = f"{'tools':34}  {'guess':8}  {'commit':12}  {'ended by':30}"
        print(f"{'format':15} {'turns':>6} {'KB':>8}  {titles}  project: task")
        for found in self.sessions():
            trajectory, commit = found.trajectory, found.commit.sha[:12] if found.commit else "-"
            ended = printable(trajectory.ended_by or "end of the session", 30)
            tools = Counter(call.name for call in trajectory.session.calls).most_common(3)
            used = printable(", ".join(f"{count} {name}" for name, count in tools) or "-", 34)
            size = sum(len(message["content"]) for message in trajectory.messages) / 1000
            task = " ".join(_FRAME.sub(" ", trajectory.task).split())[:60]
            task = printable(found.scrub(f"{found.repo}: {task}"), 100)
            sizes = f"{trajectory.session.format:15} {trajectory.turns:6,} {size:8,.0f}"
            print(f"{sizes}  {used:34}  {found.guess[0]:8}  {commit:12}  {ended:30}  {task}")

    def sessions(self) -> Iterator[MinedSession]:
        account = self.account
        for log in session_formats.logs(self.places, self.split, self.accept_license):
            account.files += 1
            for session in self._usable(self._read(log), log):
                if not (seen := account.formats.total()) % TOLD_EVERY:
                    say(f"  … {seen:,} sessions in {account.files:,} files so far, at {log.name[-120:]}")
                found = None
                with self._bounded(log, session.id):
                    found = self._consider(session, log)
                if found is None:
                    continue
                account.taken += 1
                account.turns += found.trajectory.turns
                account.commits += found.commit is not None
                account.ends[found.trajectory.ended_by or "end of the session"] += 1
                account.notes.update(found.trajectory.left_out)
                yield found
                account.scrubbed.update(found.scrub.counts)
                if account.taken == self.limit:
                    return
            for note, count in log.notes.items():  # somebody may want to look at broken lines: with their file
                account.notes[f"{note} of {log.name}" if note.startswith("broken") else note] += count

    def _read(self, log: Log) -> Iterator[Session]:
        with self._bounded(log):
            for session in session_formats.reader_of(log, self.format).read(log, self.all_branches):
                self.account.formats[session.format] += 1
                self.account.counts.update(session.counts)
                yield session

    @contextmanager
    def _bounded(self, log: Log, session: str = "") -> Iterator[None]:
        """Logs are outside data in formats that change: what nobody knows costs its file or its session only."""
        try:
            yield
        except ItemError as error:
            self.account.left.drop(log.name, session, error.reason, error.what * (error.what != error.reason))
        except OSError as error:
            self.account.left.drop(log.name, session, "unreadable", error.strerror or str(error))
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            self.account.left.drop(log.name, session, "unknown-shape", f"{type(error).__name__}: {error}"[:200])

    def _usable(self, sessions: Iterator[Session], log: Log) -> Iterator[Session]:
        """The sessions; a set whose replies act in a way that nobody knows is left as a whole."""
        first = list(islice(sessions, JUDGED_ROWS))
        replies: list[AgentReply] = []
        for session in first:
            if session.row >= 0 and not session.refusal and session.task != "chat" and (said := session.replies):
                # Every reply holds an action, but the one that closes a session with actions, which hands over.
                replies += said[:-1] if session.calls and not said[-1].calls else said
        without = [reply for reply in replies if not reply.calls and not reply.verbatim]
        if 2 * len(without) > len(replies):
            seen = f"{len(replies) - len(without)} of {len(replies)} replies hold an action that is known"
            example = printable(" ".join(without[0].text.split()), 80)
            self.account.left.drop(log.name, "", "no-known-action", f"{seen}; one does not: {example}")
            return
        yield from first
        yield from sessions

    def _consider(self, session: Session, log: Log) -> MinedSession:
        """What is written of a session. Raises ItemError with the reason why it is left out."""
        if session.refusal or not session.replies:
            raise ItemError(session.refusal or "no-reply", session.detail or "nobody answers in it")
        session.license, session.revision = session.license or log.license, log.revision
        folder, place = session.folder.rstrip("/"), own_commits.repository(session.folder)
        repo = session.repo or (place.name if place else f"local/{folder.rpartition('/')[2] or 'unknown'}")
        names = filter(None, (folder, folder.rpartition("/")[2], repo))
        if self.not_before is not None:
            require(session.ended is not None, "without-a-date")
            require((session.ended or 0) >= self.not_before, "older")
        require(not self.project or any(fnmatchcase(name, self.project) for name in names), "other-project")
        session.top = str(place.top) if place else ""
        # What is nested too deep to be written fails here, not later.
        orjson.dumps([dialogue.native_chat(session), session.tools], default=str)
        trajectory = normalize(session, self.thinking)
        turns = trajectory.turns
        commit = own_commits.following(session, place) if place and self.commits and turns else None
        guess = guess_of(session, commit)
        refusals = {
            "no-task": not trajectory.task,
            "no-eligible-turn": not turns and (self.min_turns or not session.calls),
            "too-short": turns < self.min_turns,
            "other-outcome": self.outcome not in ("", guess[0] if session.verdict == "unknown" else session.verdict),
            "filtered": self.happened is not None and not self.happened(trajectory),
        }
        if reason := next((reason for reason, holds in refusals.items() if holds), ""):
            raise ItemError(reason, trajectory.ended_by)
        return MinedSession(trajectory, log.name, repo, commit, guess, SessionScrubber(session))
