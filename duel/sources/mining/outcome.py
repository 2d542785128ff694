"""A guess how a session ended for the person it was for, and the evidence that it rests on.

It is no more than that: on 94 runs with a known outcome "failure" was wrong in 69 %. What tests said of a run is
`Session.verdict`, which this never touches.
"""

import re

from duel.conversation.model import Outcome, Session
from duel.sources.mining.own_commits import OwnCommit

# Runs that a harness stopped for a limit or an error, as SWE-agent, mini-swe-agent and OpenHands name them.
_STOPPED = re.compile(r"(?i)^(?:exit_(?!submit)|limits?_?exceeded|.*(?:error|timeout|maxiteration|max_iteration))")
_TEST_RUN = re.compile(
    r"(?:^|[\s;&|(])(?:pytest|py\.test|tox|nox|nosetests|jest|vitest|mocha|rspec|phpunit|ctest"
    r"|(?:npm|pnpm|yarn|bun)\s+(?:run\s+)?test|(?:go|cargo|mix|dotnet|swift|mvn|gradle|\./gradlew|make|rake)\s+(?:test|check)"
    r"|python3?\s+-m\s+(?:pytest|unittest)|manage\.py\s+test)\b"
)


def guess_of(session: Session, commit: OwnCommit | None) -> tuple[Outcome, str]:
    """The guess and its evidence. The strongest decides: a run that was stopped, a commit that kept the work, then the
    session's last run of tests. A submission proves nothing.
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
