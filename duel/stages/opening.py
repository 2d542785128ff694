"""From a command line to a stage: the options in the table beside this file, then the workspace and the settings.

A help text needs the table and the first docstring of the stage; the stage itself, with all that it imports, is
imported when it runs. An option that is not given leaves the default that the stage's `run` has.
"""

import math
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from duel import command, wordlists
from duel.errors import SettingsError, UserError, printable

if TYPE_CHECKING:
    from duel.settings import Settings
    from duel.workspace import Workspace


def number(kind: Callable[[str], Any], least: int, below: float = math.inf) -> Callable[[str], Any]:
    """The type of an option that takes a number of a `kind` within these bounds."""

    def read(text: str) -> Any:
        with suppress(ValueError):  # no number, or one of thousands of digits
            if (kind is float or text.isdecimal()) and least <= (value := kind(text)) < below:
                return value
        bound = "" if below == math.inf else f", under {below}"
        raise ArgumentTypeError(f"must be a number of at least {least}{bound}: {text[:40]}")

    return read


TYPES: dict[str, Callable[[str], Any]] = {
    "int": int, "seconds": number(float, 0), "path": Path, "dollars": number(float, 0), "from 0": number(int, 0),
    "from 1": number(int, 1), "port": number(int, 0, 65_536),
}  # fmt: skip


# The options by command, in the order in which `duel --help` tells of them, and those of `group`.
table = partial(wordlists.toml, __package__, "options")


def add_options(name: str, parser: ArgumentParser) -> None:
    own = {option: row for option, row in table()[name].items() if option not in ("use", "module", "begins")}
    groups = [table()["group"][group] for group in table()[name].get("use", ())]
    for option, told in (pair for rows in (*groups, own) for pair in rows.items()):
        row = {"action": "store_true", "help": told} if isinstance(told, str) else dict(told)
        row |= {"type": TYPES[row["type"]]} if "type" in row else {}
        if "names" in row:
            found = resolve_name(row.pop("names"))
            known = list(found() if callable(found) else found)
            row["help"] = row["help"].format(names=", ".join(known))
            row |= {"choices": known} if row.pop("only", False) else {}
        parser.add_argument(option, **row)


def options(name: str, named: dict[str, Any]) -> Namespace:
    """What a caller gives by name, with the command line's defaults for the rest. Raises TypeError for other names."""
    parser = ArgumentParser()
    add_options(name, parser)
    known = vars(parser.parse_args([]))
    if unknown := named.keys() - known.keys():
        raise TypeError(f"unknown options: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    return Namespace(**(known | named))


def taken_by(function: Callable[..., object], arguments: Namespace) -> dict[str, Any]:
    """The options that were given, by name, of those that `function` takes."""
    parameters = signature(function).parameters
    every = any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values())
    given = {name: value for name, value in vars(arguments).items() if value is not None and name != "workspace"}
    return {name: value for name, value in given.items() if every or name in parameters}


def opened(
    arguments: Namespace, *, begins: bool = False, flags: Mapping[tuple[str, str], Any] | None = None
) -> "tuple[Workspace, Settings]":
    """The workspace, which must be there unless the stage `begins` one, and its settings; `flags` are keys of them."""
    from duel import settings
    from duel.calls.batches import PROVIDERS
    from duel.offline import overrides
    from duel.workspace import Workspace

    workspace, asked = Workspace(arguments.workspace), vars(arguments)
    if not begins and not asked.get("source") and not workspace.root.is_dir():
        hint = "run prompt.py first, or name the folder of a run with --workspace"
        raise UserError("there is no such workspace", where=workspace.root, hint=hint)
    offline = bool(asked.get("offline"))
    forced, defaults = overrides(offline)
    chosen = settings.load(workspace.root, forced | dict(flags or {}), defaults)
    workspace.folders.most = chosen.store.answers_per_dir
    if chosen.unused:
        command.say(f"chain.toml, not used here: {printable(', '.join(chosen.unused))}")
    provider, out, absorb = (asked.get(name) or "" for name in ("batch", "batch_out", "absorb"))
    if offline and (provider not in ("", "off") or out or absorb):
        raise SettingsError("the stand-in takes no batches", value="--offline", hint="leave one of the two out")
    if provider == "on":
        provider = chosen.batch.provider if chosen.batch.provider != "off" else "openai"
    provider = "off" if offline else "file" if out or absorb else provider or chosen.batch.provider
    if provider not in ("off", "file"):
        _ = PROVIDERS[provider]  # a misspelled one is told before anything is done
    return workspace, chosen.with_keys(
        batch={"provider": provider, "out": out, "absorb": absorb},
        endpoint={"share": asked.get("share") or chosen.endpoint.share},
        execute={"backend": asked.get("backend") or chosen.execute.backend},
    )
