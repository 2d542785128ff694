"""One way to call a model: client, limits, retries, the ledger of paid replies, the runner that drives many.

`Request` and `Reply` are what is asked and what came back. A stage makes `Job`s, says by which `Route` they go, and
hands both to `drive`, which answers each `Ask` from the ledger or from the endpoint. `plan` tells beforehand what that
will cost.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from duel.calls.request import Occurrences, Reply, Request

if TYPE_CHECKING:
    from duel.calls.route import Provider, Route, route_for
    from duel.calls.run_summary import Plan, Summary
    from duel.calls.runner import Ask, Job, OpenTurn, drive, plan, readable

__all__ = [
    "Ask", "Job", "Occurrences", "OpenTurn", "Plan", "Provider", "Reply", "Request", "Route", "Summary", "drive",
    "plan", "readable", "route_for",
]  # fmt: skip

# Where the names live that are imported when they are first used: the HTTP client alone takes 170 ms.
_HOMES = {
    **dict.fromkeys(("Plan", "Summary"), "run_summary"),
    **dict.fromkeys(("Provider", "Route", "route_for"), "route"),
    **dict.fromkeys(("Ask", "Job", "OpenTurn", "drive", "plan", "readable"), "runner"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
