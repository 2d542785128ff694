"""Which executor runs: the one that `[execute] backend` names, found here or registered by an installed package.

[project.entry-points."duel.executor"]
remote = "my_package:make"          # make(settings, sources) -> Executor
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from duel.errors import SettingsError
from duel.execution.checkouts import Sources
from duel.execution.executor import Executor, Limits
from duel.execution.replay import Rules
from duel.settings import Settings
from duel.workspace import Workspace

Make = Callable[[Settings, Sources], Executor]


def _bubblewrap(settings: Settings, sources: Sources) -> Executor:
    from duel.execution.bubblewrap import Bubblewrap

    return Bubblewrap(sources, limits(settings))


def _containers(program: str) -> Make:
    def make(settings: Settings, sources: Sources) -> Executor:
        from duel.execution.containers import Containers

        return Containers(sources, limits(settings), program=program, image=settings.execute.image)

    return make


BACKENDS: dict[str, Make] = {
    "bubblewrap": _bubblewrap,
    "docker": _containers("docker"),
    "podman": _containers("podman"),
}


def open_executor(workspace: Workspace, settings: Settings, *, offline: bool = False) -> Executor:
    """The executor of the settings, tried out. Raises UserError that says why it cannot run, and how to get it."""
    name = settings.execute.backend
    outside = {entry.name: entry for entry in entry_points(group="duel.executor")}
    if name not in BACKENDS and name not in outside:
        known = ", ".join(["off", *BACKENDS, *outside])
        raise SettingsError("there is no such back end", where="[execute] backend", value=name, hint=f"one of {known}")
    make: Make = BACKENDS.get(name) or outside[name].load()
    return make(settings, sources(workspace, settings, offline=offline))


def sources(workspace: Workspace, settings: Settings, *, offline: bool = False) -> Sources:
    """Where checkouts come from: the settings' mirrors, the sample, the workspace's cache, the code host."""
    mirrors = settings.execute.repositories
    if mirrors and "{repo}" not in mirrors:
        folder = workspace.resolve(mirrors)
        if not folder.is_dir():
            raise SettingsError("there is no such folder of mirrors", where="[execute] repositories", value=folder)
        mirrors = str(folder)
    return Sources(Path(workspace.private) / "repositories", mirrors, offline=offline)


def limits(settings: Settings) -> Limits:
    """What one command may use."""
    chosen = settings.execute
    return Limits(seconds=chosen.timeout_s, memory_mb=chosen.memory_mb, processes=chosen.pids)


def rules(settings: Settings) -> Rules:
    """What counts as evidence."""
    chosen = settings.execute
    return Rules(chosen.min_faithful, chosen.output_chars, chosen.replay)


def workers(settings: Settings) -> int:
    """Turns executed at a time."""
    return settings.execute.workers or 2 * (os.cpu_count() or 1)
