"""The stand-in endpoint and the bundled sample: the whole pipeline without a key and without a network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from duel.registry import OFFLINE

SAMPLE = Path(__file__).parent / "data"
# How git was set in the checkouts in which the rollouts were recorded.
GIT_SETTINGS = ("core.abbrev=7", "core.autocrlf=false", "core.pager=cat", "diff.algorithm=histogram", "gc.auto=0")
# Rollouts recorded for each pull request; all of them are drawn, so that the demo judges well over 100 turns.
ROLLOUTS = 3
PROMPTS = 132


def bundle(repository: str) -> Path:
    """The git bundle of one of the sample's repositories; a file that is not there for any other."""
    return SAMPLE / f"{repository.replace('/', '__')}.bundle"


def overrides(active: bool) -> tuple[dict[tuple[str, str], Any], dict[str, dict[str, Any]]]:
    """What `--offline` sets, as `settings.load` takes it; both empty where it is not given.

    Flags hold whatever chain.toml and the environment say: no paid model, no Hub. A chain.toml overrides the defaults.
    """
    if not active:
        return {}, {}
    flags: dict[tuple[str, str], Any] = {
        ("sample", "dataset"): str(SAMPLE / "trajectories.parquet"),
        ("sample", "pulls"): str(SAMPLE / "pulls.parquet"),
        ("generate", "model"): f"{OFFLINE}king",
        ("generate", "king_model"): f"{OFFLINE}king",
        ("generate", "challenger_model"): f"{OFFLINE}challenger",
        ("guide", "agent_model"): f"{OFFLINE}agent-30",
        ("guide", "overseer_model"): f"{OFFLINE}overseer",
        ("judge", "models"): [f"{OFFLINE}judge-{letter}" for letter in "abc"],
        ("judge", "thinking_models"): [],
    }
    defaults: dict[str, dict[str, Any]] = {
        "sample": {"n": PROMPTS, "per_instance": ROLLOUTS, "files": 1},
        # The bundled pull requests are in no benchmark, and the lists are a download.
        "audit": {"decontaminate": [], "auditor": f"{OFFLINE}auditor"},
        "execute": {"backend": "bubblewrap"},  # where it is not to be had, the other stages go on without
    }
    return flags, defaults


@contextmanager
def endpoint_url(active: bool) -> Iterator[str]:
    """The base URL of a stand-in endpoint while the body runs; "" where `--offline` is not given."""
    if not active:
        yield ""
        return
    from duel.local_server import serving
    from duel.offline.loopback import Server

    with serving(Server().application()) as port:
        yield f"http://127.0.0.1:{port}/v1"
