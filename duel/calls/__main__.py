"""What the calls of a workspace came to, by stage and model.

duel calls                      the ledger of the current directory
duel calls --workspace DIR      of another workspace
duel calls --json               the same figures for programs
"""

import sys
from argparse import Namespace

from duel.command import Parser, call, run
from duel.errors import EXIT_FINISHED, WorkspaceError


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(arguments: Namespace) -> int:
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
    run(lambda: call("duel.calls.__main__", "python -m duel.calls", sys.argv[1:]))
