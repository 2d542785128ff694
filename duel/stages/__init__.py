"""One story a stage. Each module is a command: `run` does the work, `add_arguments` and `main` are its command line.

    duel.stages.king.run(workspace, settings)                 also inside a running event loop, as in a notebook
    await duel.stages.king.run_async(workspace, settings)     those that ask models can be awaited

The stages: prompt, king, challenger, audit, validate, report, and `whole`, which runs them in order; export, mine and
scale.
`run` takes a workspace and settings, keeps no state between calls, and returns a `Result`. What the user must change is
raised as one of `duel.errors`.
"""

from __future__ import annotations

import pkgutil
from argparse import Namespace
from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from duel import command, settings
from duel.errors import EXIT_FINISHED, SettingsError, UserError, printable
from duel.offline import overrides
from duel.settings import Settings
from duel.workspace import Workspace

if TYPE_CHECKING:
    from duel.bookkeeping import Result
    from duel.calls import Plan

Flags = Callable[[command.Parser], object]


def opened(
    arguments: Namespace, *, begins: bool = False, flags: Mapping[tuple[str, str], Any] | None = None
) -> tuple[Workspace, Settings]:
    """The workspace that the command line names, and its settings; `flags` are keys that it sets.

    Raises UserError where there is no such folder, unless the stage `begins` a workspace: it needs nothing of it.
    """
    workspace = Workspace(arguments.workspace)
    if not begins and not workspace.root.is_dir():
        hint = "run prompt.py first, or name the folder of a run with --workspace"
        raise UserError("there is no such workspace", where=workspace.root, hint=hint)
    forced, defaults = overrides(arguments.offline)
    chosen = settings.load(workspace.root, forced | dict(flags or {}), defaults)
    workspace.folders.most = chosen.store.answers_per_dir
    if chosen.unused:
        command.say(f"chain.toml, not used here: {printable(', '.join(chosen.unused))}")
    asked = vars(arguments)
    provider, out, absorb = (asked.get(name) or "" for name in ("batch", "batch_out", "absorb"))
    if arguments.offline and (provider not in ("", "off") or out or absorb):
        raise SettingsError("the stand-in takes no batches", value="--offline", hint="leave one of the two out")
    if out or absorb:
        provider = "file"
    elif provider == "on":
        provider = chosen.batch.provider if chosen.batch.provider != "off" else "openai"
    provider = "off" if arguments.offline else provider or chosen.batch.provider
    if provider not in ("off", "file"):
        from duel.calls.batches import PROVIDERS

        _ = PROVIDERS[provider]  # a misspelt one is told before anything is done
    return workspace, chosen.with_keys(
        batch={"provider": provider, "out": out, "absorb": absorb},
        endpoint={"share": asked.get("share") or chosen.endpoint.share},
        execute={"backend": asked.get("backend") or chosen.execute.backend},
    )


def command_line(
    run: Callable[..., Result],
    plan: Callable[..., Plan] | None = None,
    *,
    flags: Flags = lambda parser: None,
    show: Callable[[Any, Namespace], object] = lambda found, arguments: None,
    begins: Callable[[Namespace], object] = lambda arguments: None,
) -> tuple[Callable[[command.Parser], None], Callable[[Namespace], int]]:
    """`add_arguments` and `main` of a stage: `--offline`, where it has a `plan` what paying stages take, and `flags`.

    Flags reach `run` and `plan` as the options of the same names; `show` is handed what `run` found; `begins` says of a
    command line whether it needs no workspace that is there.
    """

    def add_arguments(parser: command.Parser) -> None:
        parser.with_offline()
        if plan is not None:
            parser.with_spending()
        flags(parser)

    def taken_by(function: Callable[..., object], arguments: Namespace) -> dict[str, Any]:
        parameters = signature(function).parameters
        open_ended = any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values())
        return {name: value for name, value in given(arguments).items() if open_ended or name in parameters}

    def main(arguments: Namespace) -> int:
        workspace, chosen = opened(arguments, begins=bool(begins(arguments)))
        if plan is not None and arguments.plan:
            plan(workspace, chosen, **taken_by(plan, arguments)).say()
            return EXIT_FINISHED
        result = run(workspace, chosen, **taken_by(run, arguments))
        show(result.found, arguments)
        return result.exit_code

    return add_arguments, main


def given(arguments: Namespace) -> dict[str, Any]:
    """The options of a command line by name, as `run` takes them."""
    return {name: value for name, value in vars(arguments).items() if name != "workspace"}


def options(add_arguments: Flags, named: dict[str, Any]) -> Namespace:
    """What a caller gives by name, with the command line's defaults for the rest. Raises TypeError for other names."""
    parser = command.Parser(None)
    add_arguments(parser)
    known = given(parser.parse_args([]))
    if unknown := named.keys() - known.keys():
        raise TypeError(f"unknown options: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    return Namespace(**(known | named))


def __getattr__(name: str) -> Any:
    if name in {module.name for module in pkgutil.iter_modules(__path__)}:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
