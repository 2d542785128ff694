"""What the calls of a workspace came to, by stage and model.

python -m duel.calls                      the ledger of the current directory
python -m duel.calls --workspace DIR      of another workspace
python -m duel.calls --json               the same figures for programs
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from duel import command
from duel.errors import EXIT_FINISHED, WorkspaceError


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m duel.calls", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workspace", type=Path, default=Path(), metavar="DIR", help="the folder of the run")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()

    from duel.calls import call_figures
    from duel.calls.ledger import Ledger
    from duel.workspace import Workspace

    path = Workspace(arguments.workspace).ledger
    if not path.exists():
        where = arguments.workspace.absolute()
        raise WorkspaceError("no call was made in this workspace", where=where, hint="name it with --workspace")
    with Ledger(path) as ledger:
        rows = call_figures.collect(ledger)
    if arguments.json:
        print(call_figures.as_json(rows))
    elif sys.stdout.isatty():
        call_figures.show_table(rows)
    else:
        print(call_figures.as_text(rows))
    return EXIT_FINISHED


if __name__ == "__main__":
    command.run(main)
