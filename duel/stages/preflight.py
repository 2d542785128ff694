"""What is checked before anything is downloaded or paid: keys, addresses, models.

A key or an address that is missing is told by the route itself. The endpoint is asked once for the models it lists. A
model that it does not list is asked for one token, because some answer under further names; with `--check-models` each
model is. A model that refuses ends the run, with those that the endpoint has.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Literal

from duel.calls import Request
from duel.errors import EndpointError
from duel.records import RULE
from duel.settings import Settings
from duel.synchronous import synchronous
from duel.workspace import Workspace

if TYPE_CHECKING:
    from duel.calls import Route
    from duel.calls.transport import HttpTransport

# An endpoint that answers at all does so within seconds; a thinking model may take longer for its first token.
ANSWER_S = 60.0
# Key, money, right, model: every further call would be refused as well.
REFUSALS = {401, 402, 403, 404}
ASK_DOCTOR = "`duel doctor` tells what works here"


def wanted(settings: Settings) -> dict[Literal["writer", "judge"], list[str]]:
    """The models of each role."""
    writers = dict.fromkeys([*settings.writers("king"), *settings.writers("challenger"), settings.audit.auditor])
    choosers = [model for model in settings.choosers if not model.startswith(RULE)]
    judges = dict.fromkeys([*settings.judge.asked_models, *choosers])
    return {"writer": [model for model in writers if model], "judge": list(judges)}


async def check_async(workspace: Workspace, settings: Settings, *, ask_models: bool = False) -> dict[str, str]:
    """What was found of each model: "listed", "not listed" or "answers".

    Raises SettingsError for a missing key or address, EndpointError for a model that the endpoint does not have.
    """
    from duel.calls import route_for
    from duel.calls.transport import HttpTransport

    found: dict[str, str] = {}
    routes = {role: route_for(settings, workspace, role) for role in wanted(settings)}
    async with HttpTransport(ANSWER_S, settings.endpoint.connect_timeout_s, ANSWER_S) as transport:
        for role, models in wanted(settings).items():
            listed = await transport.models(routes[role].provider)
            for model in models:
                found[model] = "listed" if model in listed else "not listed"
                if ask_models or (model not in listed and not any("*" in name for name in listed)):
                    found[model] = await _answer(model, listed, routes[role], transport)
    return found


check = synchronous(check_async)


async def _answer(model: str, listed: list[str], route: Route, transport: HttpTransport) -> str:
    """Ask for one token."""
    from duel.calls.failures import Failure
    from duel.calls.wire import encode

    request = Request("check", model, model, [{"role": "user", "content": "Say ok."}], max_tokens=1)
    outcome = await transport.send(route.provider, encode(request, model, 1), stream=False)
    if isinstance(outcome, Failure) and (outcome.unsent or outcome.no_model or outcome.status in REFUSALS):
        near = difflib.get_close_matches(model, listed, n=3, cutoff=0.4) or sorted(listed)[:5]
        raise EndpointError(
            "a model does not answer",
            where=route.provider.name,
            value=f"{model}: {outcome.told}",
            hint=f"the endpoint lists, for example, {', '.join(near)}" if near else ASK_DOCTOR,
        )
    return "answers"
