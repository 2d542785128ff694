"""Which sessions are taken: by age, project, length, outcome (here is the guess of it) and what happened in them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from duel.conversation.model import Outcome, Session
from duel.errors import SettingsError
from duel.sources.mining.normalize import MinedTrajectory
from duel.sources.mining.own_commits import OwnCommit

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([mhdw])")
# Runs that a harness stopped for a limit or an error, as SWE-agent, mini-swe-agent and OpenHands name them.
_STOPPED = re.compile(r"(?i)^(?:exit_(?!submit)|limits?_?exceeded|.*(?:error|timeout|maxiteration|max_iteration))")
_TEST_RUN = re.compile(
    r"(?:^|[\s;&|(])(?:pytest|py\.test|tox|nox|nosetests|jest|vitest|mocha|rspec|phpunit|ctest"
    r"|(?:npm|pnpm|yarn|bun)\s+(?:run\s+)?test|(?:go|cargo|mix|dotnet|swift|mvn|gradle|\./gradlew|make|rake)\s+(?:test|check)"
    r"|python3?\s+-m\s+(?:pytest|unittest)|manage\.py\s+test)\b"
)


def seconds_of(age: str) -> float:
    found = _AGE.fullmatch(age.strip().lower())
    if not found:
        raise SettingsError("not an age", where="--since", value=age, hint="a number and m, h, d or w: 7d, 12h, 2w")
    return float(found[1]) * _UNITS[found[2]]


@dataclass(frozen=True)
class SessionChoice:
    """What is asked for; the empty choice takes everything that has a task and a turn."""

    not_before: float | None = None  # sessions that ended earlier are left, in seconds since 1970
    project: str = ""  # A glob that the working folder, its last part or the repository must match
    min_turns: int = 1
    """Eligible turns; with 0, tool calls without a shell form will do: exports can keep them as they were made."""
    outcome: str = ""
    happened: Callable[[MinedTrajectory], bool] | None = None  # the predicate of `--filter`

    def refuses_session(self, session: Session, repo: str) -> str:
        if self.not_before is not None and (session.ended is None or session.ended < self.not_before):
            return "older" if session.ended is not None else "without-a-date"
        folder = session.folder.rstrip("/")
        names = (folder, folder.rpartition("/")[2], repo)
        if self.project and not any(fnmatchcase(name, self.project) for name in names if name):
            return "other-project"
        return ""

    def refuses(self, trajectory: MinedTrajectory, outcome: str) -> str:
        if not trajectory.task:
            return "no-task"
        if not trajectory.turns and (self.min_turns or not trajectory.session.calls):
            return "no-eligible-turn"
        if trajectory.turns < self.min_turns:
            return "too-short"
        if self.outcome and outcome != self.outcome:
            return "other-outcome"
        return "filtered" if self.happened and not self.happened(trajectory) else ""


def guess_of(session: Session, commit: OwnCommit | None) -> tuple[Outcome, str]:
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
