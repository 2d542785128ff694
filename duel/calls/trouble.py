"""Failures that end the run: the endpoint's own words, and what the user can do about it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from duel.calls.failures import Failure
from duel.calls.route import Provider
from duel.errors import EndpointError, printable

LISTED_MODELS = 5
_HINTS = {
    401: "is the key in .env the right one for this endpoint?",
    402: "the account has no money left: pay in, then run the same command again",
    403: "the key is not allowed to do this: look at the account's permissions",
    405: "is the base URL the address of an OpenAI-compatible endpoint, such as https://host/v1?",
    429: "the account's quota is used up: raise it, then run the same command again",
}


def endpoint_error(failure: Failure, provider: Provider, model: str, listed: Sequence[str] = ()) -> EndpointError:
    """The error that ends the run. `listed` are the model ids that the endpoint names."""
    what = "the endpoint refuses every call" if failure.status else "the endpoint cannot be called"
    words = f"{failure.kind}: {failure.words}" if failure.words else failure.kind
    hint = _hint(failure, model, listed)
    return EndpointError(f"{what} to {printable(model)}", where=provider.name, value=words, hint=hint)


def silent_error(failure: Failure, provider: Provider, model: str) -> EndpointError:
    """The error for an endpoint that answers no call at all."""
    if failure.unsent:
        hint = "is the base URL right, and is the network there?"
    elif failure.status in (400, 422):
        hint = "the request itself is refused: look at the model and its parameters in chain.toml"
    else:
        hint = "is the model up? Run the same command again later: what was paid for is kept"
    words = f"{failure.kind}: {failure.words}" if failure.words else failure.kind
    return EndpointError(f"no call to {printable(model)} is answered", where=provider.name, value=words, hint=hint)


def _hint(failure: Failure, model: str, listed: Sequence[str]) -> str:
    if failure.status == 404 and listed:
        near = difflib.get_close_matches(model, listed, n=LISTED_MODELS, cutoff=0.3) or list(listed)
        names = ", ".join(printable(name, 100) for name in near[:LISTED_MODELS])
        if model in listed:
            return "the endpoint lists this model and yet does not find it: is the base URL right?"
        return f"the endpoint lists {len(listed):,} models; nearest: {names}"
    if failure.status == 404:
        return "the endpoint lists no models: is the base URL right, such as https://host/v1?"
    if 300 <= failure.status < 400:
        return "the key is never sent on to another address: put the final address into the base URL"
    if failure.kind == "tls":
        return "certificates are always verified: is the address right, and is this machine's clock?"
    return _HINTS.get(failure.status, "is the base URL right?")
