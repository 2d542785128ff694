"""A shell for the recorded agents: real commands in a real checkout, and only the tools that they are allowed."""

import os
import shutil
import subprocess
from pathlib import Path

from tools.recording.sample_repositories import GIT_ENVIRONMENT

TOOLS = (
    "cat head tail nl wc ls find stat file grep sed awk cut sort uniq diff tr tee echo printf cp mv rm mkdir git "
    "basename dirname true false test"
).split()
# What the trajectories' harness shows of a long output: its first and last 4,000 characters.
OBSERVATION_CHARACTERS = 8000


class Shell:
    """Runs one command at a time at the root of a checkout."""

    def __init__(self, checkout: Path, tools: Path) -> None:
        self._checkout = checkout
        # Nothing of the machine reaches an output: no names, no times of its own, no other program.
        self._environment = {**GIT_ENVIRONMENT, "PATH": str(tools), "HOME": "/nonexistent", "GIT_OPTIONAL_LOCKS": "0"}
        self._bash = shutil.which("bash") or "/bin/bash"

    def observe(self, command: str) -> str:
        """What the agent reads after `command`: standard output and standard error, cut in the middle when long."""
        done = subprocess.run(  # noqa: S603 - commands of this package's own agents, in a temporary folder
            [self._bash, "--norc", "--noprofile", "-c", command],
            cwd=self._checkout,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=False,
        )
        output = done.stdout.decode("utf-8", "replace").replace(f"{self._bash}: ", "bash: ")
        return f"Observation: {_cut(output)}"


def tools(folder: Path) -> Path:
    """A folder that holds the allowed tools and nothing else."""
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(os.path.realpath(found) if name != "git" else found)
    return folder


def _cut(output: str) -> str:
    if len(output) <= OBSERVATION_CHARACTERS:
        return output
    half = OBSERVATION_CHARACTERS // 2
    left_out = len(output) - 2 * half
    return f"{output[:half]}\n[{left_out} characters in the middle are not shown]\n{output[-half:]}"
