"""Errors of a model that is given up: the endpoint's own words, and what the user can do about it."""

import difflib
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from duel.calls.failures import Failure, Meaning
from duel.calls.route import Provider
from duel.errors import EndpointError, printable

LISTED_MODELS = 5
# Not a failure of any call: replies that never reach their answer.
THOUGHT_ALONE = Failure("cut", Meaning.RUN, "the budget ends before the answer begins, also after it was raised")
_HINTS = {
    401: "is the key in .env the right one for this endpoint?",
    402: "the account has no money left: pay in, then run the same command again",
    403: "the key is not allowed to do this: look at the account's permissions",
    405: "is the base URL the address of an OpenAI-compatible endpoint, such as https://host/v1?",
    429: "the account's quota is used up: raise it, then run the same command again",
}


def down_error(failure: Failure, provider: Provider, model: str, listed: Sequence[str] = ()) -> EndpointError:
    """Why no call to `model` is worth making. `listed` are the model ids that the endpoint names."""
    name = printable(model)
    if failure is THOUGHT_ALONE:
        what = f"{name} thinks until every reply is cut"
    elif failure.meaning is Meaning.RUN and failure.status:
        what = f"the endpoint refuses every call to {name}"
    elif failure.meaning is Meaning.RUN:
        what = f"the endpoint cannot be called for {name}"
    else:
        what = f"no call to {name} is answered"
    return EndpointError(what, where=provider.name, value=failure.told, hint=_hint(failure, provider, model, listed))


def _hint(failure: Failure, provider: Provider, model: str, listed: Sequence[str]) -> str:
    if failure is THOUGHT_ALONE or failure.kind == "empty":
        return (
            "raise [generate] max_tokens (for a judge: name it in thinking_models and raise thinking_max_tokens), "
            "or set [generate] thinking = false"
        )
    if failure.no_model:
        return _model_hint(model, listed)
    if failure.spent and failure.retry_after_s:
        until = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + failure.retry_after_s))
        return f"it can go on at {until}: run the same command again then, what was paid for is kept"
    if 300 <= failure.status < 400:
        return "the key is never sent on to another address: put the final address into the base URL"
    if failure.kind == "tls":
        return "certificates are always verified: is the address right, and is this machine's clock?"
    if failure.unsent:
        return _unreached(provider)
    if failure.status in (400, 422):
        return "the request itself is refused: look at the model and its parameters in chain.toml"
    if failure.meaning is Meaning.RUN:
        return _HINTS.get(failure.status, "is the base URL right?")
    return "is the model up? Run the same command again later: what was paid for is kept"


def _model_hint(model: str, listed: Sequence[str]) -> str:
    if not listed:
        return "the endpoint lists no models: is the base URL right, such as https://host/v1, and the model's id?"
    if model in listed:
        return "the endpoint lists this model and yet does not find it: is the base URL right?"
    near = difflib.get_close_matches(model, listed, n=LISTED_MODELS, cutoff=0.3) or list(listed)
    names = ", ".join(printable(name, 100) for name in near[:LISTED_MODELS])
    return f"the endpoint lists {len(listed):,} models; nearest: {names}"


def _unreached(provider: Provider) -> str:
    """The address may be wrong, or the proxy that the environment names, whose own key stays out of sight."""
    from duel.calls.transport import proxy_for

    proxy = proxy_for(provider.base_url)
    if not proxy:
        return "is the base URL right, and is the network there?"
    address = urlsplit(proxy)
    host = address.hostname or "?"
    shown = f"{address.scheme}://{host}:{address.port}" if address.port else f"{address.scheme}://{host}"
    return (
        f"the environment names the proxy {printable(shown)} (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY): is it there, and is "
        "the base URL right? NO_PROXY names hosts that need none"
    )
