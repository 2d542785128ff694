"""The bookkeeping of one stage: what it left out, what was damaged, what was finished before, how it ends."""

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from duel import calls, pull
from duel.command import say
from duel.errors import EXIT_FINISHED, EXIT_OPEN, ItemError
from duel.records import Commit
from duel.settings import Settings
from duel.workspace import Workspace

NAMED_AT_MOST = 10  # damaged files that are named one by one; the rest is counted


@dataclass(frozen=True)
class Result:
    """What a stage came to, for whoever called it."""

    stage: str
    exit_code: int = EXIT_FINISHED  # as `duel.errors` has them
    found: Any = None  # what the stage found out: the verdict, the figures of the report, what the audit counted
    calls: "calls.Summary | None" = None  # what was asked and what it cost, where the stage calls models
    dropped: Mapping[str, int] = field(default_factory=dict)  # how many items were left out, by reason


class LeftOut(Counter[str]):
    """What was left out: how often for each reason, and a row of report/dropped.jsonl for each of the first `most`."""

    def __init__(self, most: int = sys.maxsize) -> None:
        super().__init__()
        self.rows: list[Mapping[str, Any]] = []
        self.most = most

    def drop(self, file: str, instance_id: str, reason: str, detail: str = "") -> None:
        self[reason] += 1
        if len(self.rows) < self.most:
            self.rows.append({"file": file, "instance_id": instance_id, "reason": reason, "detail": detail})


@dataclass
class Stage:
    """One run of one stage over one workspace."""

    name: str
    workspace: Workspace
    settings: Settings
    again: bool = False
    offline: bool = False  # the stand-in is asked
    finished: int = 0  # items that an earlier run had finished
    stale: int = 0  # items that were made with other settings and are asked anew
    damage: list[ItemError] = field(default_factory=list)  # files that cannot be read, nor written again by this stage
    redone: list[ItemError] = field(default_factory=list)  # files that could not be read and are written again
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
            return True
        if huge := commit is not None and pull.is_huge(commit, self.settings):
            self.drop(stem, instance_id, "huge-pull", f"{pull.tokens(commit)} tokens")
        return huge

    def finish(self, summary: "calls.Summary", found: Any = None) -> Result:
        self.workspace.save_dropped(self.name, self.dropped)
        if self.stale and summary.calls:
            say(f"{self.stale:,} had been made with other settings and were asked anew")
        for errors, what in ((self.redone, "damaged and written again"), (self.damage, "damaged and left out")):
            if errors:
                say(f"{len(errors):,} {'file was' if len(errors) == 1 else 'files were'} {what}:")
            for error in errors[:NAMED_AT_MOST]:
                say(f"  {error}")
            if len(errors) > NAMED_AT_MOST:
                say(f"  and {len(errors) - NAMED_AT_MOST:,} more")
        dropped = Counter(str(row["reason"]) for row in self.dropped)
        for reason, count in sorted(dropped.items()):
            say(f"{count:,} dropped: {reason}")
        summary.finished_before = self.finished
        summary.say()
        code = summary.exit_code or (EXIT_OPEN if self.damage else EXIT_FINISHED)
        return Result(self.name, code, found, summary, dropped)
