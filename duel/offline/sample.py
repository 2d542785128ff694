"""The bundled sample: where it lies, and the settings that a run without a key and a network takes."""

from pathlib import Path
from typing import Any

from duel.registry import OFFLINE

# How git was set in the checkouts in which the rollouts were recorded.
GIT_SETTINGS = ("core.abbrev=7", "core.autocrlf=false", "core.pager=cat", "diff.algorithm=histogram", "gc.auto=0")
# Rollouts recorded for each pull request; all of them are drawn, so that the demo judges well over 100 turns.
ROLLOUTS = 3
PROMPTS = 132


def folder() -> Path:
    return Path(__file__).parent / "data"


def bundle(repository: str) -> Path:
    """The git bundle of one of the sample's repositories; a file that is not there for any other."""
    return folder() / f"{repository.replace('/', '__')}.bundle"


def defaults() -> dict[str, dict[str, Any]]:
    """Tables for settings.load under `--offline`; a chain.toml overrides them."""
    return {
        "sample": {"n": PROMPTS, "per_instance": ROLLOUTS, "files": 1},
        # The bundled pull requests are in no benchmark, and the lists are a download.
        "audit": {"decontaminate": [], "auditor": f"{OFFLINE}auditor"},
        "execute": {"backend": "bubblewrap"},  # where it is not to be had, the other stages go on without
    }


def forced() -> dict[tuple[str, str], Any]:
    """What `--offline` always sets, whatever chain.toml and the environment say: no paid model, no Hub."""
    return {
        ("sample", "dataset"): str(folder() / "trajectories.parquet"),
        ("sample", "pulls"): str(folder() / "pulls.parquet"),
        ("generate", "model"): f"{OFFLINE}king",
        ("generate", "king_model"): f"{OFFLINE}king",
        ("generate", "challenger_model"): f"{OFFLINE}challenger",
        ("guide", "agent_model"): f"{OFFLINE}agent-30",
        ("guide", "overseer_model"): f"{OFFLINE}overseer",
        ("judge", "models"): [f"{OFFLINE}judge-{letter}" for letter in "abc"],
        ("judge", "thinking_models"): [],
    }
