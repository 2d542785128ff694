#!/usr/bin/env python3
"""Audit the answers: the blind rule, the protocol, near-duplicates, secrets, contamination and licences. No call.

    python audit.py                 audit the challengers, print a table
    python audit.py --side king     the same of the turns whose author has seen nothing: how often is the alarm false?

reads   answer_<k>/, commit/, and the lists of benchmark instances that [audit] decontaminate names
writes  the `audit` field of each answer, in place; report/audit.json; what cannot enter final/ in report/dropped.jsonl
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from duel import command, errors, settings
from duel.workspace import Workspace


def main() -> int:
    """Audit one side of every answer; 1 where an answer could not be read."""
    arguments = read_arguments()
    # Reading numpy and the parsers takes 0.3 s: not for `--help`.
    from duel.audit.contamination import Benchmarks
    from duel.audit.table import table
    from duel.audit.turns import audit_workspace

    workspace = Workspace(arguments.workspace)
    chosen = settings.load(workspace.root, defaults=offline_defaults(arguments.offline))
    if not workspace.answer_folders():
        raise errors.WorkspaceError(
            "there are no answers to audit", where=workspace.root, hint="`python king.py` writes them"
        )
    with workspace.lock("answer", "audit.py"):
        command.say("reading lists of benchmarks …")
        benchmarks = Benchmarks.load(chosen, workspace, arguments.offline)
        command.say(f"auditing the {arguments.side} of each answer …")
        found = audit_workspace(workspace, chosen, arguments.side, benchmarks)
        save(workspace, found.summary, found.dropped if arguments.side == "challenger" else None)
    print(table(found.summary))
    for problem in found.damage:
        command.say_error(problem)
    return errors.EXIT_OPEN if found.damage else errors.EXIT_FINISHED


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = command.Parser(__doc__).with_offline()
    parser.add_argument(
        "--side",
        choices=["king", "challenger", "assistant"],
        default="challenger",
        help="whose turns are audited (default: challenger, whose audit decides on `final/`)",
    )
    return parser.parse_args()


def offline_defaults(offline: bool) -> dict[str, dict[str, object]]:
    """Without the Hub there are no lists of benchmarks, so none is asked for unless chain.toml names one."""
    return {"audit": {"decontaminate": []}} if offline else {}


def save(workspace: Workspace, summary: dict[str, object], dropped: list[Mapping[str, object]] | None) -> None:
    """Write the report, and for the side that decides the list of what cannot enter `final/`."""
    import orjson

    workspace.save(
        workspace.report / "audit.json", orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    )
    if dropped is not None:
        workspace.save_dropped("audit", dropped)


if __name__ == "__main__":
    command.run(main)
