"""The stand-in endpoint and the bundled sample: the whole pipeline without a key and without a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from duel.offline.sample import defaults, forced

if TYPE_CHECKING:
    from duel.offline.loopback import StandIn

__all__ = ["defaults", "endpoint", "endpoint_url", "forced", "overrides"]


def overrides(active: bool) -> tuple[dict[tuple[str, str], Any], dict[str, dict[str, Any]]]:
    """What `--offline` sets: flags and defaults, as `settings.load` takes them; both empty where it is not given."""
    return (forced(), defaults()) if active else ({}, {})


@contextmanager
def endpoint_url(active: bool) -> Iterator[str]:
    """The base URL of a stand-in endpoint while the body runs; "" where `--offline` is not given."""
    if not active:
        yield ""
        return
    with endpoint() as stand_in:
        yield stand_in.base_url


def endpoint(port: int = 0, **options: Any) -> AbstractContextManager[StandIn]:
    """A stand-in endpoint while the body runs; `options` are those of `duel.offline.loopback`."""
    from duel.offline.loopback import Options, Server, serving

    return serving(Server(Options(**options)), port)
