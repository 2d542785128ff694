"""Which executor runs: the one that `[execute] backend` names, found here or registered by an installed package.

[project.entry-points."duel.executor"]
remote = "my_package:make"          # make(settings, sources) -> Executor
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from duel.errors import SettingsError
from duel.execution.bubblewrap import Bubblewrap
from duel.execution.checkouts import Sources
from duel.execution.containers import Containers
from duel.execution.executor import Executor, Limits
from duel.execution.replay import EvidenceRules
from duel.execution.verification import Verifier
from duel.processes import cores
from duel.registry import Registry
from duel.settings import Settings
from duel.workspace import Workspace

Make = Callable[[Settings, Sources], Executor]


def _bundled(name: str, settings: Settings, sources: Sources) -> Executor:
    if name == "bubblewrap":
        return Bubblewrap(sources, limits(settings))
    return Containers(sources, limits(settings), program=name, image=settings.execute.image)


BACKENDS: Registry[Make] = Registry("executor")
for _name in ("bubblewrap", "docker", "podman"):
    BACKENDS.add(_name, partial(_bundled, _name))


def needs_backend(settings: Settings, what: str, hint: str) -> None:
    if settings.execute.backend == "off":
        raise SettingsError(f"no back end is set to run {what}", where="[execute] backend", value="off", hint=hint)


def open_executor(
    workspace: Workspace, settings: Settings, machine: Limits | None = None, *, offline: bool = False
) -> Executor:
    """The executor of the settings, tried out; within `machine`, bubblewrap shows this machine's own programs.

    Checkouts come from the settings' mirrors, the sample, the workspace's cache, the code host. Raises UserError that
    says why it cannot run, and how to get it.
    """
    mirrors = settings.execute.repositories
    if mirrors and "{repo}" not in mirrors:
        folder = workspace.resolve(mirrors)
        if not folder.is_dir():
            raise SettingsError("there is no such folder of mirrors", where="[execute] repositories", value=folder)
        mirrors = str(folder)
    sources = Sources(Path(workspace.private) / "repositories", mirrors, offline=offline)
    if machine and settings.execute.backend == "bubblewrap":
        return Bubblewrap(sources, machine, whole_machine=True)
    return BACKENDS[settings.execute.backend](settings, sources)


def open_verifier(workspace: Workspace, settings: Settings, seconds: float, *, offline: bool = False) -> Verifier:
    """What runs the issues' own tests: the settings' containers, or bubblewrap with all of this machine's tools."""
    executor = open_executor(workspace, settings, offline=offline)
    if settings.execute.backend != "bubblewrap":
        return Verifier(executor, seconds=seconds)
    most = Limits(settings.execute.timeout_s, 2 * settings.execute.memory_mb, 512, 2048, keep=4 << 20)
    return Verifier(open_executor(workspace, settings, most, offline=offline), executor, seconds)


def limits(settings: Settings) -> Limits:
    chosen = settings.execute
    return Limits(seconds=chosen.timeout_s, memory_mb=chosen.memory_mb, processes=chosen.pids)


def rules(settings: Settings) -> EvidenceRules:
    chosen = settings.execute
    return EvidenceRules(chosen.min_faithful, chosen.output_chars, chosen.replay)


def workers(settings: Settings) -> int:
    return settings.execute.workers or 2 * cores()
