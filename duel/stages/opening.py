"""From a command line to a stage: the workspace and the settings that it names, then the plan or the run."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from types import ModuleType
from typing import Any

from duel import command, settings
from duel.calls.batches import PROVIDERS
from duel.errors import EXIT_FINISHED, SettingsError, UserError, printable
from duel.offline import overrides
from duel.settings import Settings
from duel.workspace import Workspace


def opened(
    arguments: Namespace, *, begins: bool = False, flags: Mapping[tuple[str, str], Any] | None = None
) -> tuple[Workspace, Settings]:
    """The workspace that the command line names, and its settings; `flags` are keys that it sets.

    Raises UserError where there is no such folder, unless the stage `begins` a workspace or is given its source.
    """
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
        _ = PROVIDERS[provider]  # a misspelt one is told before anything is done
    return workspace, chosen.with_keys(
        batch={"provider": provider, "out": out, "absorb": absorb},
        endpoint={"share": asked.get("share") or chosen.endpoint.share},
        execute={"backend": asked.get("backend") or chosen.execute.backend},
    )


def launch(stage: ModuleType, arguments: Namespace, *, begins: bool = False) -> int:
    """Plan or run a stage on the options that its `plan` or `run` takes, and let it `show` what it found."""
    workspace, chosen = opened(arguments, begins=begins)
    if getattr(arguments, "plan", False) and hasattr(stage, "plan"):
        stage.plan(workspace, chosen, **taken_by(stage.plan, arguments)).say()
        return EXIT_FINISHED
    result = stage.run(workspace, chosen, **taken_by(stage.run, arguments))
    if hasattr(stage, "show"):
        stage.show(result.found, arguments)
    return int(result.exit_code)


def taken_by(function: Callable[..., object], arguments: Namespace) -> dict[str, Any]:
    """The options that were given, by name, of those that `function` takes."""
    parameters = signature(function).parameters
    every = any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values())
    given = {name: value for name, value in vars(arguments).items() if value is not None and name != "workspace"}
    return {name: value for name, value in given.items() if every or name in parameters}
