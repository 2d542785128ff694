"""The command line of every stage, made from the table of options beside this file.

A help text needs the table and the first docstring of the stage; the stage itself, with all that it imports, is
imported when it runs. An option that is not given leaves the default that the stage's `run` has.
"""

import math
import tomllib
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from duel import chat_tokens


def dollars(text: str) -> float:
    amount = float(text)
    if not 0 <= amount < math.inf:
        raise ArgumentTypeError(f"takes dollars: {text}")
    return amount


def at_least(least: int, most: int | None = None) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least or int(text) > (most or int(text)):
            bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise ArgumentTypeError(f"must be a number {bounds}: {text}")
        return int(text)

    return number


TYPES: dict[str, Callable[[str], Any]] = {
    "int": int, "float": float, "path": Path, "dollars": dollars, "from 0": at_least(0), "from 1": at_least(1),
    "port": at_least(0, 65_535),
}  # fmt: skip


def names(kind: str) -> list[str]:
    """The names of parts that may come from outside, or from another table."""
    if kind == "export formats":
        from duel.exports import formats

        return list(formats.FORMATS)
    if kind == "session formats":
        from duel.sources.sessions import session_formats

        return list(session_formats.formats())
    return ["all", "none", *chat_tokens.FAMILIES]


@cache
def table() -> dict[str, dict[str, Any]]:
    """The options by command, in the order in which `duel --help` tells of them, and those of `group`."""
    return tomllib.loads(resources.files(__package__).joinpath("options.toml").read_text("utf-8"))


def add_options(command: str, parser: ArgumentParser) -> None:
    own = {name: row for name, row in table()[command].items() if name not in ("use", "module", "begins")}
    groups = [table()["group"][name] for name in table()[command].get("use", ())]
    for option, told in (pair for rows in (*groups, own) for pair in rows.items()):
        if isinstance(told, str):
            parser.add_argument(option, action="store_true", help=told)
            continue
        row = dict(told)
        if "type" in row:
            row["type"] = TYPES[row["type"]]
        if "names" in row:
            known = names(row.pop("names"))
            row["help"] = row["help"].format(names=", ".join(known))
            row |= {"choices": known} if row.pop("only", False) else {}
        parser.add_argument(option, **row)


def options(command: str, named: dict[str, Any]) -> Namespace:
    """What a caller gives by name, with the command line's defaults for the rest. Raises TypeError for other names."""
    parser = ArgumentParser()
    add_options(command, parser)
    known = vars(parser.parse_args([]))
    if unknown := named.keys() - known.keys():
        raise TypeError(f"unknown options: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    return Namespace(**(known | named))
