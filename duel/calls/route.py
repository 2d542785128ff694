"""Where a stage's calls go: the provider, its stand-in when it has no capacity, and the limits that hold."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from duel.environment import environment, secret
from duel.errors import SettingsError
from duel.settings import Settings
from duel.workspace import Workspace

Role = Literal["writer", "judge", "guide"]
OFFLINE_NAME = "offline stand-in"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# Where the key of a well-known provider belongs, unless an address is given.
ADDRESSES = {("CHUTES_BASE_URL", "CHUTES_API_KEY"): "https://llm.chutes.ai/v1"}
# A query that holds a key would stand in every record.
_SECRET_NAME = re.compile(r"(?i)key|token|secret|password|sig\b|signature")


@dataclass(frozen=True)
class Provider:
    """One OpenAI-compatible endpoint. The key is in no representation of it."""

    base_url: str
    """As `base_url` returns it: ends in the version, no slash behind; a query (Azure's `api-version`) may follow."""
    api_key: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    offline: bool = False  # the stand-in endpoint: its replies cost nothing

    @property
    def name(self) -> str:
        """What records call it: the address, or that it was the stand-in (whose port changes with every run)."""
        return OFFLINE_NAME if self.offline else self.base_url.partition("?")[0]

    def url(self, path: str) -> str:
        """The address of a route, such as `/chat/completions`, with the query behind it."""
        base, mark, query = self.base_url.partition("?")
        return f"{base}{path}{mark}{query}"


@dataclass(frozen=True)
class Limit:
    max_concurrency: int = 0  # calls in flight at most; 0: find the level
    min_interval_s: float = 0.0  # between the starts of two calls


@dataclass(frozen=True)
class Route:
    """Where a stage's calls go and under which limits."""

    provider: Provider
    fallback: Provider | None = None
    model_map: Mapping[str, str] = field(default_factory=dict)  # the provider's model id -> the fallback's
    concurrency: int = 0  # 0: find the level; N: start at N and never exceed it, for each model
    default_limit: Limit = Limit()
    limits: Mapping[str, Limit] = field(default_factory=dict)  # of single models, in place of `default_limit`
    timeout_s: float = 300.0
    connect_timeout_s: float = 20.0
    stall_timeout_s: float = 60.0
    stream: bool = False
    retry_max: int = 3
    retry_initial_backoff_s: float = 1.5
    max_429_retries: int = 8
    max_429_wait_s: float = 60.0
    outage_s: float = 300.0  # how long a model that has answered may be out before it is given up
    hung_s: float = 15.0  # a call is never given up sooner than this, however fast its neighbors were
    max_tokens_cap: int = 32768  # a reply that was cut is asked again with twice the budget, up to this many tokens
    models: Sequence[str] = ()  # the models of the run, where it can do without some of them; (): those that are asked
    needed: int = 1  # so many models must be left for the run to go on
    elsewhere: Mapping[str, Provider] = field(default_factory=dict)  # models of another endpoint; they have no fallback


def base_url(address: str, where: str) -> str:
    """`address` (of setting `where`): https://host, …/v1/ and …/v1/chat/completions are one. Raises SettingsError."""
    url, mark, query = address.strip().partition("?")
    url = url.rstrip("/").removesuffix("/chat/completions")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        hint = "write it as https://host/v1"
        raise SettingsError("not the address of an endpoint", where=where, value=address, hint=hint)
    in_query = any(_SECRET_NAME.search(name) for name, _ in parse_qsl(query, keep_blank_values=True))
    if parts.username or parts.password or in_query:
        raise SettingsError("the address of an endpoint must not hold a key", where=where, hint="keys belong in .env")
    if "#" in address:
        raise SettingsError("the address of an endpoint has no #", where=where, value=address)
    return (f"{url}/v1" if not parts.path else url) + mark + query


def route_for(settings: Settings, workspace: Workspace, role: Role, offline_url: str = "") -> Route:
    """The route of king and challenger ("writer"), of the panel ("judge"), of agent and overseer ("guide").

    With `offline_url` the stand-in answers and neither the environment nor a key is looked at. Raises SettingsError
    where there is no base URL or no key.
    """
    endpoint, judge, guide = settings.endpoint, settings.judge if role == "judge" else None, settings.guide

    def chosen(key: str, own: str = "") -> float:
        """`[judge]` where it names the key itself, else `[endpoint]`."""
        override = getattr(judge, own or key) if judge else None
        return float(getattr(endpoint, key) if override is None else override)

    def named(url_name: str, key_name: str) -> Provider:
        address = environment(url_name, workspace.root) or ADDRESSES.get((url_name, key_name), "")
        if not address:
            hint = f"put {url_name}=https://… into .env in the workspace, or try --offline"
            raise SettingsError("no endpoint to call", where=url_name, hint=hint)
        url = base_url(address, url_name)
        return Provider(url, _key(key_name, url, workspace), endpoint.extra_headers)

    second, fallback, elsewhere = None, (judge and judge.fallback) or endpoint.fallback, {}
    if offline_url:
        provider = Provider(base_url(offline_url, "--offline"), "offline", offline=True)
    else:
        key_name = endpoint.api_key_env if judge is None or judge.api_key_env is None else judge.api_key_env
        provider = named((judge and judge.base_url_env) or endpoint.base_url_env, key_name)
        if fallback is not None and fallback.enabled:
            address = base_url(fallback.base_url, "fallback.base_url")
            key = _key(fallback.api_key_env or endpoint.api_key_env, address, workspace)
            second = Provider(address, key, endpoint.extra_headers)
        if role == "guide" and guide.agent_base_url_env:
            elsewhere = {settings.agent_model: named(guide.agent_base_url_env, guide.agent_api_key_env)}
    limits = judge.rate_limits if judge else {}
    both = [*dict.fromkeys((settings.agent_model, settings.overseer_model))] if role == "guide" else []
    return Route(
        provider=provider,
        elsewhere=elsewhere,
        fallback=second,
        model_map=fallback.model_map if second and fallback else {},
        concurrency=endpoint.concurrency,
        default_limit=Limit(judge.max_concurrency_per_model, judge.min_interval_s_per_model) if judge else Limit(),
        limits={model: Limit(limit.max_concurrency, limit.min_interval_s) for model, limit in limits.items()},
        timeout_s=chosen("timeout_s", "call_timeout_s"),
        connect_timeout_s=endpoint.connect_timeout_s,
        stall_timeout_s=endpoint.stall_timeout_s,
        stream=endpoint.stream,
        retry_max=int(chosen("retry_max")),
        retry_initial_backoff_s=chosen("retry_initial_backoff_s"),
        max_429_retries=int(chosen("max_429_retries")),
        max_429_wait_s=chosen("max_429_wait_s"),
        outage_s=endpoint.outage_s,
        models=judge.asked_models if judge else both,
        needed=settings.quorum if judge else max(1, len(both)),
        max_tokens_cap=settings.generate.max_model_len,
    )


def _key(name: str, url: str, workspace: Workspace) -> str:
    """The key in variable `name`, fit to stand in a header; no message shows it. "": none is needed at `url`."""
    key = secret(name, workspace.root) if name else ""
    if not key and (not name or urlsplit(url).hostname in LOOPBACK):
        return ""
    if not key:
        raise SettingsError("no key for the endpoint", where=name, hint=f"put {name}=… into .env, or try --offline")
    if not key.isascii() or not key.isprintable():
        raise SettingsError("the key has characters that no header can carry", where=name, hint="was it copied whole?")
    return key
