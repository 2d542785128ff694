#!/usr/bin/env python3
"""Run the five stages in order: prompt.py, king.py, ch.py, validate.py, report.py.

    python run.py --offline         all of it with the bundled sample and the stand-in endpoint
    python run.py --plan            what a run would call and cost, before a cent is spent
    python run.py                   the real thing; run it again after an interruption

Each stage reads what the one before it wrote. Where some items of a stage stay open, the others go on and the run ends
with exit code 1; where the user must change something, it stops there.
"""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from duel import command
from duel.errors import EXIT_FINISHED, EXIT_OPEN

STAGES = ("prompt.py", "king.py", "ch.py", "validate.py", "report.py")
PAYING = ("king.py", "ch.py", "validate.py")


def main() -> int:
    """The stages, one process each."""
    arguments = command.Parser(__doc__).with_offline().with_spending().parse_args()
    if arguments.plan:
        return say_plan(arguments)
    shared = ["--workspace", str(arguments.workspace)] + ["--offline"] * arguments.offline
    spent_before = spent(arguments.workspace)
    open_items = False
    for number, script in enumerate(STAGES, start=1):
        command.say(f"\n[{number}/{len(STAGES)}] {script}")
        paying = spending(arguments, spent_before) if script in PAYING else []
        code = run_stage([script, *shared, *paying])
        if code not in (EXIT_FINISHED, EXIT_OPEN):
            return code
        open_items |= code == EXIT_OPEN
    return EXIT_OPEN if open_items else EXIT_FINISHED


def say_plan(arguments: Namespace) -> int:
    """Calls, tokens and dollars of all paying stages; nothing is asked, downloaded or written."""
    from duel import calls, estimate, offline, settings
    from duel.workspace import Workspace

    workspace = Workspace(arguments.workspace)
    chosen = settings.load(workspace.root, *offline.overrides(arguments.offline))
    if not workspace.prompt_files():
        command.say(f"no prompt is drawn yet: {chosen.sample.n:,} turns of the dataset's average length are assumed")
    common: dict[str, Any] = {"workspace": workspace, "settings": chosen, "offline": arguments.offline}
    plans = [
        calls.plan(estimate.kings(workspace, chosen), stage="king", **common),
        calls.plan(estimate.challengers(workspace, chosen), stage="challenger", **common),
        calls.plan(estimate.judges(workspace, chosen), stage="judge", **common),
    ]
    for plan in plans:
        plan.say()
    known = [plan.cost for plan in plans if plan.cost is not None]
    unknown = "" if len(known) == len(plans) else " and what has an unknown price"
    print(f"in all: {sum(plan.calls for plan in plans):,} calls, at most ${sum(known):.2f}{unknown}")
    return EXIT_FINISHED


def spending(arguments: Namespace, spent_before: float) -> list[str]:
    """The flags that only stages with paid calls take; the budget is one for all of them."""
    if arguments.budget is None:
        return ["--again"] * arguments.again
    left = max(0.0, arguments.budget - (spent(arguments.workspace) - spent_before))
    return ["--budget", f"{left:.6f}"] + ["--again"] * arguments.again


def spent(folder: Path) -> float:
    """Dollars that the workspace has cost so far."""
    from duel.calls.ledger import Ledger
    from duel.workspace import Workspace

    path = Workspace(folder).ledger
    if not path.exists():
        return 0.0
    with Ledger(path) as ledger:
        return ledger.spent()


def run_stage(call: list[str]) -> int:
    """Run one script to its end. Ctrl-C reaches it as well: it is left to finish what is in flight."""
    script, *flags = call
    stage = subprocess.Popen([sys.executable, str(Path(__file__).with_name(script)), *flags])  # noqa: S603
    while True:
        try:
            return stage.wait()
        except KeyboardInterrupt:
            continue


if __name__ == "__main__":
    command.run(main)
