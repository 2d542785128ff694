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

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duel.bookkeeping import Result
from duel.command import Parser, say
from duel.errors import SettingsError, SourceError
from duel.settings import Settings
from duel.stages import given, options
from duel.workspace import Workspace

if TYPE_CHECKING:
    from duel.sources.mining.choosing import Choice
    from duel.sources.mining.normalise import Trajectory
    from duel.sources.mining.sweep import Mine


def run(workspace: Workspace, settings: Settings | None = None, **named: Any) -> Result:
    """Mine sessions. `named` are the options of the command line by name."""
    asked = options(add_arguments, named)
    if (asked.min_turns is not None and asked.min_turns < 1) or asked.limit < 0:
        raise SettingsError("`--min-turns` and `--limit` count sessions and turns", hint="give a positive number")
    out = asked.out or workspace.root / "mined.parquet"
    mine = sessions(asked)
    if asked.dry_run:
        mine.show()
        mine.account.say()
        return Result("mine")
    with workspace.lock("mined", "duel mine"):
        write(mine, out, asked.keep_tools)
        workspace.save_dropped("mine", [*mine.account.dropped])
    mine.account.say()
    if not mine.account.taken:
        raise SourceError(
            "no session was taken, and nothing was written",
            value=", ".join(mine.places) or "the agents' own folders",
            hint="`--dry-run` shows what is there; report/dropped.jsonl says why each was left out",
        )
    say(f"wrote {out}" + (f" and {pulls_path(out).name}" if mine.account.commits else ""))
    return Result("mine", found=out)


def sessions(asked: Namespace) -> Mine:
    """What the command line asks for."""
    from duel.sources.mining.sweep import Mine

    return Mine(
