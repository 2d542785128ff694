"""The bookkeeping of one stage: what it left out, what was damaged, what was finished before, how it ends."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from duel import calls, pull
from duel.command import say
from duel.errors import EXIT_FINISHED, EXIT_OPEN, ItemError
from duel.records import Commit
from duel.settings import Settings
from duel.workspace import Workspace

if TYPE_CHECKING:
    from duel.calls import Job, Summary

# Damaged files are named one by one up to this many; the rest is counted.
NAMED_AT_MOST = 10


@dataclass
class Stage:
    """One run of one stage over one workspace."""

    name: str
    workspace: Workspace
    settings: Settings
    again: bool = False
    finished: int = 0
    """Items that an earlier run had finished."""
    stale: int = 0
    """Items that were made with other settings and are asked anew."""
    damage: list[ItemError] = field(default_factory=list)
    """Files that could not be read and that this stage cannot write again."""
    redone: list[ItemError] = field(default_factory=list)
    """Files that could not be read and are written again."""
    dropped: list[Mapping[str, Any]] = field(default_factory=list)

    def drop(self, file: str, instance_id: str, reason: str, detail: str = "") -> None:
        """Leave an item out, for a reason that is counted and can be looked up in report/dropped.jsonl."""
        self.dropped.append({"file": file, "instance_id": instance_id, "reason": reason, "detail": detail})

    def pull_request(self, instance_id: str) -> Commit | None:
        """The mirrored pull request, or None where there is none or it cannot be read (which is noted)."""
        try:
            return self.workspace.commit(instance_id)
        except ItemError as error:
            self.damage.append(error)
            return None

    def is_left_out(self, stem: str, instance_id: str, commit: Commit | None) -> bool:
        """True for what every stage skips: excluded ids, and pull requests too large to show."""
        if instance_id in self.settings.generate.exclude_ids:
            self.drop(stem, instance_id, "excluded")
        elif commit is not None and pull.is_huge(commit, self.settings):
            self.drop(stem, instance_id, "huge-pull", f"{pull.tokens(commit)} tokens")
        else:
            return False
        return True

    def write(self, jobs: Iterable[Job], arguments: Namespace, offline_url: str, total: int) -> int:
        """Have the writer model answer `jobs`, or only say what that would cost, and give the exit code."""
        common: dict[str, Any] = {"workspace": self.workspace, "settings": self.settings, "stage": self.name}
        if arguments.plan:
            calls.plan(jobs, offline=arguments.offline, **common).say()
            return EXIT_FINISHED
        route = calls.route_for(self.settings, self.workspace, "writer", offline_url)
        summary = calls.drive(jobs, route=route, total=total, again=arguments.again, budget=arguments.budget, **common)
        return self.finish(summary)

    def finish(self, summary: Summary) -> int:
        """Save what was left out, say how it went, and give the exit code."""
        self.workspace.save_dropped(self.name, self.dropped)
        if self.finished:
            say(f"{self.finished:,} were finished before")
        if self.stale:
            say(f"{self.stale:,} had been made with other settings and were asked anew")
        self._say_files(self.redone, "damaged and written again")
        self._say_files(self.damage, "damaged and left out")
        for reason, count in sorted(Counter(row["reason"] for row in self.dropped).items()):
            say(f"{count:,} dropped: {reason}")
        summary.say()
        return summary.exit_code or (EXIT_OPEN if self.damage else EXIT_FINISHED)

    def _say_files(self, errors: list[ItemError], what: str) -> None:
        if errors:
            say(f"{len(errors):,} {'file was' if len(errors) == 1 else 'files were'} {what}:")
            for error in errors[:NAMED_AT_MOST]:
                say(f"  {error}")
            if len(errors) > NAMED_AT_MOST:
                say(f"  and {len(errors) - NAMED_AT_MOST:,} more")
