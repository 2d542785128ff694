"""Turn the sessions of your own agents into trajectories.

    duel mine                                 what Claude Code, pi and OpenClaw left on this machine
    duel mine --dry-run --since 7d            what would be taken; nothing is written
    duel mine runs/ --outcome success         mini-swe-agent, SWE-agent, OpenHands, messages in JSONL or parquet
    duel mine nebius/SWE-rebench-openhands-trajectories --limit 500

    prompt.py --source mined.parquet --pulls mined-pulls.parquet
    duel export --from mined.parquet

Reads   session logs, told apart by their content: files, folders, or a dataset of the Hub.
Writes  mined.parquet: a session a row, one thought and one bash block a turn, in the dataset's columns and a few more;
        mined-pulls.parquet: the commits that followed, where a session's folder is a git repository at hand;
        report/dropped.jsonl: what was left out, and why.

Secrets, e-mail addresses, user names and home folders are taken out before anything is written. Nothing is sent.
"""

import time
from argparse import Namespace
from typing import Any

from duel.bookkeeping import Result
from duel.command import say
from duel.conversation import dialogue
from duel.errors import SourceError
from duel.exports import recovery
from duel.records import Message
from duel.settings import Settings
from duel.sources.mining import mined
from duel.sources.mining.sweep import Mine, seconds_of
from duel.stages.opening import options
from duel.workspace import Workspace


def run(workspace: Workspace, settings: Settings | None = None, **named: Any) -> Result:
    asked = options("mine", named)
    out = asked.out or workspace.root / "mined.parquet"
    beside = out.with_name(f"{out.stem}-pulls{out.suffix}")
    mine = sessions(asked)
    if asked.dry_run:
        mine.show()
        mine.account.say()
        return Result("mine")
    with workspace.lock("mined", "duel mine"):
        # Both files appear whole or not at all; a run that takes nothing leaves an earlier run's files as they were.
        with mined.RowWriter(out) as rows, mined.RowWriter(beside) as pulls:
            for found in mine.sessions():
                row = mined.row(found, asked.keep_tools)
                rows.add(row)
                if found.commit is not None:
                    pulls.add(mined.pull_row(row, found, found.commit))
        if rows.rows and not pulls.rows:
            beside.unlink(missing_ok=True)  # the commits of other sessions than those that were written
        workspace.save_dropped("mine", mine.account.left.rows)
    mine.account.say()
    if not mine.account.taken:
        hint = "`--dry-run` shows what is there; report/dropped.jsonl says why each was left out"
        places = ", ".join(mine.places) or "the agents' own folders"
        raise SourceError("no session was taken, and nothing was written", value=places, hint=hint)
    say(f"wrote {out}" + (f" and {beside.name}" if mine.account.commits else ""))
    return Result("mine", found=out)


def sessions(asked: Namespace) -> Mine:
    passed_on = "format split accept_license all_branches thinking limit project outcome".split()
    return Mine(
        asked.place,
        commits=not asked.no_commits,
        not_before=time.time() - seconds_of(asked.since) if asked.since else None,
        min_turns=(0 if asked.keep_tools else 1) if asked.min_turns is None else asked.min_turns,
        happened=FILTERS[asked.filter] if asked.filter else None,
        **{name: getattr(asked, name) for name in passed_on},
    )


def recovers(trajectory: mined.MinedTrajectory) -> bool:
    messages = [Message.model_validate(message) for message in trajectory.messages]
    return bool(recovery.spans_of(recovery.steps_of(dialogue.parse(messages))))


def codes(trajectory: mined.MinedTrajectory) -> bool:
    return any(m["role"] == "assistant" and "```" in m["content"] for m in trajectory.messages)


FILTERS = {"error-recovery": recovers, "coding": codes}
