"""The stand-in endpoint and the bundled sample: the whole pipeline without a key and without a network."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from duel.offline.sample import defaults, forced

__all__ = ["defaults", "endpoint_url", "forced", "overrides"]


def overrides(active: bool) -> tuple[dict[tuple[str, str], Any], dict[str, dict[str, Any]]]:
    """What `--offline` sets: flags and defaults, as `settings.load` takes them; both empty where it is not given."""
    return (forced(), defaults()) if active else ({}, {})


@contextmanager
def endpoint_url(active: bool) -> Iterator[str]:
    """The base URL of a stand-in endpoint while the body runs; "" where `--offline` is not given."""
    if not active:
        yield ""
        return
    from duel.offline.loopback import Server, serving

    with serving(Server()) as port:
        yield f"http://127.0.0.1:{port}/v1"
