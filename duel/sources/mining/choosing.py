"""Which sessions are taken: by age, project, length, outcome and what happened in them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from duel.conversation.model import Session
from duel.errors import SettingsError
from duel.sources.mining.normalize import MinedTrajectory

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([mhdw])")


def seconds_of(age: str) -> float:
    """Seconds of an age such as `7d`, `12h`, `90m`, `2w`. Raises SettingsError."""
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
        """Why a session is left before it is converted, as a slug; "" where it is not."""
        if self.not_before is not None and (session.ended is None or session.ended < self.not_before):
            return "older" if session.ended is not None else "without-a-date"
        folder = session.folder.rstrip("/")
        names = (folder, folder.rpartition("/")[2], repo)
        if self.project and not any(fnmatchcase(name, self.project) for name in names if name):
            return "other-project"
        return ""

    def refuses(self, trajectory: MinedTrajectory, outcome: str) -> str:
        """Why a trajectory is left, as a slug; "" where it is taken."""
        if not trajectory.task:
            return "no-task"
        if not trajectory.turns and (self.min_turns or not trajectory.session.calls):
            return "no-eligible-turn"
        if trajectory.turns < self.min_turns:
            return "too-short"
        if self.outcome and outcome != self.outcome:
            return "other-outcome"
        return "filtered" if self.happened and not self.happened(trajectory) else ""
