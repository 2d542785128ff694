"""LLM-judged duel curation of coding-agent turns.

    import duel

    workspace = duel.Workspace("run")
    settings = duel.load_settings(workspace.root)
    duel.stages.king.run(workspace, settings)                   every stage is a function; `duel.stages` lists them
    scores = duel.judge(pairs, {"shorter": shorter})            pairs in memory, judges in plain Python
    verdict = duel.verdict(scores)
    duel.statistics                                             the bootstrap and the bounds behind it

What this page names is the interface; everything else may change. Names are imported when they are first used.
"""

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duel import errors, records, stages
    from duel.judging import statistics
    from duel.judging.panel import judge, verdict
    from duel.settings import Settings
    from duel.settings import load as load_settings
    from duel.workspace import Workspace

__version__ = "0.1.0"
__all__ = [
    "Settings", "Workspace", "errors", "judge", "load_settings", "records", "stages", "statistics", "verdict",
]  # fmt: skip
# Where each name lives that is no module right here.
_HOMES = {
    "Settings": "duel.settings:Settings",
    "Workspace": "duel.workspace:Workspace",
    "judge": "duel.judging.panel:judge",
    "load_settings": "duel.settings:load",
    "statistics": "duel.judging.statistics",
    "verdict": "duel.judging.panel:verdict",
}


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return resolve_name(_HOMES.get(name, f"duel.{name}"))
