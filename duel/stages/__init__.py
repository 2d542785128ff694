"""One story a stage. Each module is a command: `run` does the work, `add_arguments` and `main` are its command line.

    duel.stages.king.run(workspace, settings)                 also inside a running event loop, as in a notebook
    await duel.stages.king.run_async(workspace, settings)     those that ask models can be awaited

The stages: prompt, king, challenger, audit, validate, report, and `whole`, which runs them in order; export, mine and
scale.
`run` takes a workspace and settings, keeps no state between calls, and returns a `Result`. What the user must change is
raised as one of `duel.errors`.
"""

import pkgutil
from argparse import Namespace
from collections.abc import Callable
from importlib import import_module
from typing import Any

from duel import command, settings
from duel.errors import SettingsError, printable
from duel.offline import overrides
from duel.settings import Settings
from duel.workspace import Workspace


def opened(arguments: Namespace) -> tuple[Workspace, Settings]:
    """The workspace that the command line names, and its settings."""
    workspace = Workspace(arguments.workspace)
    chosen = settings.load(workspace.root, *overrides(arguments.offline))
    workspace.folders.most = chosen.store.answers_per_dir
    say_unused(chosen)
    return workspace, as_asked(chosen, arguments)


def as_asked(chosen: Settings, arguments: Namespace) -> Settings:
    """`chosen` with what the flags of a stage that asks models say of batches and of shares."""
    flags = vars(arguments)
    provider, out, absorb = (flags.get(name) or "" for name in ("batch", "batch_out", "absorb"))
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
    batch = chosen.batch.model_copy(update={"provider": provider, "out": out, "absorb": absorb})
    endpoint = chosen.endpoint.model_copy(update={"share": flags.get("share") or chosen.endpoint.share})
    return chosen.model_copy(update={"batch": batch, "endpoint": endpoint})


def say_unused(chosen: Settings) -> None:
    if chosen.unused:
        command.say(f"chain.toml, not used here: {printable(', '.join(chosen.unused))}")


def given(arguments: Namespace) -> dict[str, Any]:
    """The options of a command line by name, as `run` takes them."""
    return {name: value for name, value in vars(arguments).items() if name != "workspace"}


def options(add_arguments: Callable[[command.Parser], None], named: dict[str, Any]) -> Namespace:
    """What a caller gives by name, with the command line's defaults for the rest. Raises TypeError for other names."""
    parser = command.Parser(None)
    add_arguments(parser)
    known = given(parser.parse_args([]))
    if unknown := named.keys() - known.keys():
        raise TypeError(f"unknown options: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    return Namespace(**(known | named))


def __getattr__(name: str) -> Any:
    """A stage's module, imported when it is first used."""
    if name in {module.name for module in pkgutil.iter_modules(__path__)}:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
