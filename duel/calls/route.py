"""Where a stage's calls go: the provider, its stand-in when it has no capacity, and the limits that hold."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from duel.environment import environment, secret
from duel.errors import SettingsError
from duel.sections import EndpointSection, RateLimit
from duel.settings import Settings
from duel.workspace import Workspace

ModelRole = Literal["writer", "judge", "guide"]
OFFLINE_NAME = "offline stand-in"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# Where the key of a well-known provider belongs, unless an address is given.
ADDRESSES = {("CHUTES_BASE_URL", "CHUTES_API_KEY"): "https://llm.chutes.ai/v1"}
# What `[judge]` overrides where it names it itself.
_OF_JUDGE = ("retry_max", "retry_initial_backoff_s", "max_429_retries", "max_429_wait_s")
# A query that holds a key would stand in every record.
_SECRET_NAME = re.compile(r"(?i)key|token|secret|password|sig\b|signature")


@dataclass(frozen=True)
class Provider:
    """One OpenAI-compatible endpoint. The key is in no representation of it."""

    base_url: str  # as `base_url` returns it; a query (Azure's `api-version`) may follow
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
class Route:
    """Where a stage's calls go and under which limits."""

    provider: Provider
    fallback: Provider | None = None
    model_map: Mapping[str, str] = field(default_factory=dict)  # the provider's model id -> the fallback's
    endpoint: EndpointSection = field(default_factory=EndpointSection)
    """The limits on calls, times and retries; `concurrency` N: start at N and never exceed it, for each model."""
    default_limit: RateLimit = field(default_factory=RateLimit)
    limits: Mapping[str, RateLimit] = field(default_factory=dict)  # of single models, in place of `default_limit`
    hung_s: float = 15.0  # a call is never given up sooner than this, however fast its neighbors were
    max_tokens_cap: int = 32768  # a reply that was cut is asked again with twice the budget, up to this many tokens
    models: Sequence[str] = ()  # the models of the run, where it can do without some of them; (): those that are asked
    needed: int = 1  # so many models must be left for the run to go on
    elsewhere: Mapping[str, Provider] = field(default_factory=dict)  # models of another endpoint; they have no fallback


def base_url(address: str, where: str) -> str:
    """`address` (of setting `where`): https://host, …/v1/ and …/v1/chat/completions are one. Raises SettingsError."""
    url, mark, query = address.strip().partition("?")
    url = url.rstrip("/").removesuffix("/chat/completions")
    try:
        parts = urlsplit(url)
    except ValueError:  # half of an IPv6 address
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        hint = "write it as https://host/v1"
        raise SettingsError("not the address of an endpoint", where=where, value=address, hint=hint)
    in_query = any(_SECRET_NAME.search(name) for name, _ in parse_qsl(query, keep_blank_values=True))
    if parts.username or parts.password or in_query:
        raise SettingsError("the address of an endpoint must not hold a key", where=where, hint="keys belong in .env")
    if "#" in address:
        raise SettingsError("the address of an endpoint has no #", where=where, value=address)
    return (f"{url}/v1" if not parts.path else url) + mark + query


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for `url`. Loopback never goes through one."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK or proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def route_for(settings: Settings, workspace: Workspace, role: ModelRole, offline_url: str = "") -> Route:
    """The route of king and challenger ("writer"), of the panel ("judge"), of agent and overseer ("guide").

    With `offline_url` the stand-in answers and neither the environment nor a key is looked at. Raises SettingsError
    where there is no base URL or no key.
    """
    endpoint, judge, guide = settings.endpoint, settings.judge if role == "judge" else None, settings.guide

    def reached(address: str, where: str, key_name: str) -> Provider:
        """With the key in variable `key_name`, which no message shows; loopback and "" need none."""
        url = base_url(address, where)
        key = secret(key_name, workspace.root) if key_name else ""
        if key_name and not key and urlsplit(url).hostname not in LOOPBACK:
            hint = f"put {key_name}=… into .env, or try --offline"
            raise SettingsError("no key for the endpoint", where=key_name, hint=hint)
        if not key.isascii() or not key.isprintable():
            what, hint = "the key has characters that no header can carry", "was it copied whole?"
            raise SettingsError(what, where=key_name, hint=hint)
        return Provider(url, key, endpoint.extra_headers)

    def named(url_name: str, key_name: str) -> Provider:
        address = environment(url_name, workspace.root) or ADDRESSES.get((url_name, key_name), "")
        if not address:
            hint = f"put {url_name}=https://… into .env in the workspace, or try --offline"
            raise SettingsError("no endpoint to call", where=url_name, hint=hint)
        return reached(address, url_name, key_name)

    second, fallback, elsewhere = None, (judge and judge.fallback) or endpoint.fallback, {}
    if offline_url:
        provider = Provider(base_url(offline_url, "--offline"), "offline", offline=True)
    else:
        key_name = endpoint.api_key_env if judge is None or judge.api_key_env is None else judge.api_key_env
        provider = named((judge and judge.base_url_env) or endpoint.base_url_env, key_name)
        if fallback.enabled:
            key_name = fallback.api_key_env or endpoint.api_key_env
            second = reached(fallback.base_url, "fallback.base_url", key_name)
        if role == "guide" and guide.agent_base_url_env:
            elsewhere = {settings.agent_model: named(guide.agent_base_url_env, guide.agent_api_key_env)}
    window, model_map = settings.generate.max_model_len, fallback.model_map if second else {}
    route = Route(provider, second, model_map, endpoint, max_tokens_cap=window, elsewhere=elsewhere)
    if role == "guide":
        models = tuple(dict.fromkeys((settings.agent_model, settings.overseer_model)))
        return replace(route, models=models, needed=len(models))
    if judge is None:
        return route
    most, apart_s = judge.max_concurrency_per_model, judge.min_interval_s_per_model
    limit, limits = RateLimit(max_concurrency=most, min_interval_s=apart_s), judge.rate_limits
    own = {name: getattr(judge, name) for name in _OF_JUDGE} | {"timeout_s": judge.call_timeout_s}
    endpoint = endpoint.model_copy(update={name: value for name, value in own.items() if value is not None})
    asked, needed = judge.asked_models, settings.quorum
    return replace(route, endpoint=endpoint, default_limit=limit, limits=limits, models=asked, needed=needed)
