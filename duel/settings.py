"""chain.toml, the environment and the flags become one frozen `Settings` object.

Precedence: flag, environment (`.env` included), chain.toml, default. `chain.toml` is optional and every key has a
default. An unknown key in a known section is an error that names the nearest known one; sections that only other tools
read are left alone. Keys (API tokens) are never part of the object: it knows the names of the variables
that hold them, and `duel.environment.secret` looks one up at the moment it is used.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from duel.environment import environment
from duel.errors import SettingsError
from duel.records import DIMENSIONS

SETTINGS_FILE = "chain.toml"
# Sections that the field's other tools keep in the same file; nothing here reads them.
FOREIGN_SECTIONS = frozenset({"chain", "arch", "seed", "preeval"})
# (section, key) that the field's files use -> the (section, key) of this project that means the same.
SYNONYMS = {
    ("dataset", "repo"): ("sample", "dataset"),
    ("dataset", "shard_glob"): ("sample", "shard_glob"),
    ("duel", "n_samples"): ("sample", "n"),
    ("duel", "max_turns_per_sample"): ("sample", "max_turn"),
    ("duel", "gen_temperature"): ("generate", "temperature"),
    ("duel", "gen_max_tokens"): ("generate", "max_tokens"),
    ("duel", "gen_max_model_len"): ("generate", "max_model_len"),
}


class Section(BaseModel):
    """A section of chain.toml: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Sample(Section):
    """Which turns are drawn, and from where."""

    dataset: str = "AlienKevin/SWE-ZERO-12M-trajectories"
    """Hub id of the trajectories, or a local parquet file, folder or glob in the same columns."""
    pulls: str = "nebius/SWE-rebench-V2-PRs"
    """Hub id of the pull requests, or a local parquet file, folder or glob."""
    revision: str = ""
    """Commit sha, tag or branch of the trajectories; empty: the newest commit, resolved once and recorded."""
    pulls_revision: str = ""
    """The same for the pull requests."""
    shard_glob: str = "data/*.parquet"
    """Which files of the dataset hold rows."""
    n: int = Field(2000, ge=1)
    """Prompts asked for."""
    files: int = Field(20, ge=1)
    """Parquet files drawn from the dataset, weighted by rows."""
    seed: int = 0
    """Seed of every draw."""
    max_turn: int = Field(10, ge=1)
    """The latest assistant turn (1-based) that may be drawn."""
    min_turn: int = Field(1, ge=1)
    """The earliest assistant turn that may be drawn."""
    per_instance: int = Field(1, ge=1)
    """Rollouts drawn from one pull request."""
    per_repo: int = Field(0, ge=0)
    """Prompts from one repository at most; 0: no cap."""
    exit_status: str = ""
    """Keep only rollouts that ended so ("Submitted", "incomplete"); empty: all."""
    max_history_tokens: int = Field(0, ge=0)
    """Leave out turns whose history is longer (estimated tokens); 0: no limit."""


class Fallback(Section):
    """A second provider that takes over when the first has no capacity."""

    enabled: bool = False
    base_url: str = ""
    api_key_env: str = ""
    model_map: dict[str, str] = Field(default_factory=dict)
    """First provider's model id -> the second's."""


class Endpoint(Section):
    """How a model is reached; `[judge]` overrides what it names itself."""

    base_url_env: str = "CHUTES_BASE_URL"
    """Environment variable that holds the base URL, with or without `/v1`."""
    api_key_env: str = "CHUTES_API_KEY"
    """Environment variable that holds the key."""
    timeout_s: float = Field(300.0, gt=0)
    """Seconds one call may take."""
    connect_timeout_s: float = Field(20.0, gt=0)
    """Seconds a connection may take."""
    concurrency: int = Field(0, ge=0)
    """0: find the level; N: start at N and never exceed it."""
    max_429_wait_s: float = Field(60.0, gt=0)
    """Longest wait that one 429 may ask for, in seconds."""
    max_429_retries: int = Field(8, ge=0)
    """Refusals (429, 503) that one call may meet before it counts as failed."""
    retry_max: int = Field(3, ge=0)
    """Other retries of one call."""
    retry_initial_backoff_s: float = Field(1.5, gt=0)
    """First wait between retries, in seconds; doubled each time, with jitter."""
    stream: bool = False
    """Ask for server-sent events; a stall is then noticed early."""
    stall_timeout_s: float = Field(60.0, gt=0)
    """Seconds without a byte after which a stream counts as stalled."""
    budget_usd: float | None = Field(None, ge=0)
    """Stop cleanly once this much is spent in this workspace."""
    extra_headers: dict[str, str] = Field(default_factory=dict)
    """Headers that go with every call. Not the place for a key."""
    fallback: Fallback = Field(default_factory=Fallback)


class Generate(Section):
    """How king and challenger are written."""

    model: str = "moonshotai/Kimi-K2.6-TEE"
    king_model: str = ""
    """Model of the king; empty: `model`."""
    challenger_model: str = ""
    """Model of the challenger; empty: `model`."""
    temperature: float = Field(1.0, ge=0, le=2)
    max_tokens: int = Field(1024, ge=1)
    """Tokens of one reply."""
    thinking: bool | None = None
    """Switch a model's thinking on or off; unset: the model's default."""
    max_model_len: int = Field(32768, ge=512)
    """Context window in tokens; a longer history loses its oldest turns behind a visible marker."""
    exclude_ids: list[str] = Field(default_factory=list)
    """Instance ids that every stage skips."""
    format_retries: int = Field(2, ge=0)
    """Times a reply without exactly one bash block is asked again."""


class RateLimit(Section):
    """A cap for one judge model."""

    max_concurrency: int = Field(0, ge=0)
    min_interval_s: float = Field(0.0, ge=0)


class Judge(Section):
    """The panel."""

    models: list[str] = Field(
        default_factory=lambda: [
            "deepseek-ai/DeepSeek-V3.2-TEE",
            "Qwen/Qwen3-235B-A22B-Thinking-2507-TEE",
            "moonshotai/Kimi-K2.6-TEE",
        ],
        min_length=1,
    )
    thinking_models: list[str] = Field(
        default_factory=lambda: ["Qwen/Qwen3-235B-A22B-Thinking-2507-TEE", "moonshotai/Kimi-K2.6-TEE"]
    )
    """Judges that think first: they get `thinking_max_tokens`."""
    base_url_env: str = ""
    """Empty: as `[endpoint]`."""
    api_key_env: str = ""
    """Empty: as `[endpoint]`."""
    temperature: float = Field(0.0, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=1)
    """Budget of a plain judge where `score_max_tokens` is not set."""
    score_max_tokens: int | None = Field(None, ge=1)
    """Budget of a plain judge's verdict; default 768."""
    thinking_max_tokens: int = Field(4096, ge=1)
    """Budget of a thinking judge, reasoning included."""
    metric_keys: list[str] = Field(default_factory=lambda: list(DIMENSIONS), min_length=1)
    """Dimensions that count towards the score."""
    orders: Literal["both", "king_first", "alternate"] = "both"
    """Which orders a judge sees the two replies in."""
    quorum: int = Field(2, ge=1)
    """Judges that must count for a turn to be parsed; never more than there are judges."""
    strategy: Literal["full", "adaptive"] = "full"
    """"adaptive" stops asking once a turn's bucket can no longer change."""
    tie_band: float = Field(0.0, ge=0, le=0.5)
    """A turn whose |delta| is at most this counts as a tie in win rates."""
    structured_output: bool = True
    """Ask for JSON through `response_format` where the endpoint takes it."""
    retry_max: int | None = Field(None, ge=0)
    """This and the next keys override `[endpoint]` for judges; unset: as there."""
    retry_initial_backoff_s: float | None = Field(None, gt=0)
    call_timeout_s: float | None = Field(None, gt=0)
    max_429_wait_s: float | None = Field(None, gt=0)
    max_429_retries: int | None = Field(None, ge=0)
    max_concurrency_per_model: int = Field(0, ge=0)
    """Calls in flight per judge; 0: find the level."""
    min_interval_s_per_model: float = Field(0.0, ge=0)
    """Seconds between the starts of two calls to one judge."""
    rate_limits: dict[str, RateLimit] = Field(default_factory=dict)
    fallback: Fallback | None = None
    """Unset: as `[endpoint]`."""

    @field_validator("metric_keys")
    @classmethod
    def _known_metrics(cls, keys: list[str]) -> list[str]:
        unknown = [key for key in keys if key not in DIMENSIONS]
        if unknown or len(set(keys)) != len(keys):
            raise ValueError(f"must be distinct names out of {', '.join(DIMENSIONS)}")
        return keys

    @field_validator("models")
    @classmethod
    def _distinct_models(cls, models: list[str]) -> list[str]:
        if len(set(models)) != len(models) or not all(models):
            raise ValueError("must be distinct, non-empty model ids")
        return models


class Duel(Section):
    """The acceptance gate."""

    mode: Literal[1, 2] = 2
    """2: challenger against king; 1: challenger against the dataset's own turn."""
    win_margin: float = 2.0
    """challenger_score - king_score must reach this, in points."""
    alpha: float = Field(0.001, gt=0, lt=0.5)
    """Level of the strict bound that is reported beside the gate's."""
    gate_alpha: float = Field(0.05, gt=0, lt=0.5)
    """Level of the one-sided bound that the gate asks for."""
    bootstrap_resamples: int = Field(10_000, ge=100, le=1_000_000)
    min_valid_turn_frac: float = Field(0.5, ge=0, le=1)
    """Share of turns that must be parsed."""
    min_clusters: int = Field(30, ge=2)
    """Fewer: undecided, never accepted."""
    cluster_by: Literal["instance_id", "repo", "file"] = "instance_id"
    seed: int = 0
    rescore_passes: int = Field(2, ge=0)
    """Times that missing votes are asked again in one run."""
    looks: int = Field(1, ge=1)
    """Planned looks over which alpha is spent."""


class Report(Section):
    """Thresholds of the buckets, in points."""

    final_min: float = Field(80.0, ge=0, le=100)
    defeat_min: float = Field(66.0, ge=0, le=100)


class Audit(Section):
    """The checks that keep the data honest."""

    enforce: bool = True
    """A leaking turn cannot enter `final/`."""
    leak_max: float = Field(1.0, ge=0)
    """A challenger whose leak score exceeds this leaks."""
    near_duplicate: float = Field(0.85, gt=0, le=1)
    """Jaccard similarity from which two turns count as near-duplicates."""
    decontaminate: list[str] = Field(
        default_factory=lambda: ["swe-bench", "lite", "verified", "multilingual", "multimodal", "pro"]
    )
    """Benchmarks (names, or files of ids one per line) whose instances never reach `prompt/`; [] switches it off."""
    decontaminate_by: Literal["id", "repo"] = "id"
    """"repo" is the strict mode: every pull request of a benchmark's repository is refused."""
    licenses: dict[str, list[str]] = Field(default_factory=dict)
    """{ allow = [...] } or { refuse = [...] } of SPDX ids; empty: every licence passes."""
    scrub_secrets: bool = True
    """Replace secrets and personal data in whatever leaves the workspace."""

    @field_validator("licenses", mode="before")
    @classmethod
    def _list_means_allow(cls, value: Any) -> Any:
        return {"allow": value} if isinstance(value, list) else value

    @field_validator("licenses")
    @classmethod
    def _allow_or_refuse(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        if set(value) - {"allow", "refuse"}:
            raise ValueError("takes `allow` and `refuse`, each a list of SPDX ids")
        return value


class Store(Section):
    """How records lie on disk."""

    answers_per_dir: int = Field(5000, ge=1)


class Price(Section):
    """Dollars a million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(None, ge=0)
    """Prompt tokens that the endpoint served from its cache; unset: as `input`."""


class Settings(Section):
    """Everything a run depends on, but for the keys."""

    sample: Sample = Field(default_factory=Sample)
    endpoint: Endpoint = Field(default_factory=Endpoint)
    generate: Generate = Field(default_factory=Generate)
    judge: Judge = Field(default_factory=Judge)
    duel: Duel = Field(default_factory=Duel)
    report: Report = Field(default_factory=Report)
    audit: Audit = Field(default_factory=Audit)
    store: Store = Field(default_factory=Store)
    prices: dict[str, Price] = Field(default_factory=dict)

    @property
    def king_model(self) -> str:
        """The model that writes kings."""
        return self.generate.king_model or self.generate.model

    @property
    def challenger_model(self) -> str:
        """The model that writes challengers."""
        return self.generate.challenger_model or self.generate.model

    @property
    def quorum(self) -> int:
        """Judges that must count for a turn; never more than there are judges."""
        return min(self.judge.quorum, len(self.judge.models))


def load(
    workspace: Path,
    flags: Mapping[tuple[str, str], Any] | None = None,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """The settings of `workspace`.

    `flags` holds what the command line set, keyed by (section, key); None values are left out. `defaults` are tables
    that chain.toml overrides. Raises SettingsError.
    """
    file = workspace / SETTINGS_FILE
    tables = {section: dict(table) for section, table in (defaults or {}).items()}
    for section, table in _from_file(file).items():
        tables.setdefault(section, {}).update(table)
    mode = environment("DUEL_MODE", workspace)
    if mode:
        if mode not in {"1", "2"}:
            raise SettingsError("DUEL_MODE must be 1 or 2", where="DUEL_MODE", value=mode)
        tables.setdefault("duel", {})["mode"] = int(mode)
    for (section, key), value in (flags or {}).items():
        if value is not None:
            tables.setdefault(section, {})[key] = value
    try:
        settings = Settings.model_validate(tables)
    except ValidationError as error:
        raise _explain(error, file) from None
    if settings.report.defeat_min > settings.report.final_min:
        raise SettingsError(
            "`defeat_min` is above `final_min`",
            where=f"{file.name} [report]",
            value=f"{settings.report.defeat_min:g} > {settings.report.final_min:g}",
            hint="a turn is final from `final_min`, refined from `defeat_min`, defeat below",
        )
    return settings


def _from_file(file: Path) -> dict[str, dict[str, Any]]:
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError("cannot read the settings", where=file, value=error.strerror) from None
    try:
        tables = tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise SettingsError("the settings are not UTF-8", where=file, value=f"byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            "the settings are not valid TOML",
            where=file,
            value=error,
            hint="strings need quotes, tables need [brackets]",
        ) from None
    return _known_sections(tables, file)


def _known_sections(tables: dict[str, Any], file: Path) -> dict[str, dict[str, Any]]:
    """Only this project's sections, the field's names for the same keys moved to where they belong here."""
    known: dict[str, dict[str, Any]] = {}
    moved: dict[tuple[str, str], Any] = {}
    for section, table in tables.items():
        if section in FOREIGN_SECTIONS:
            continue
        if section != "dataset" and section not in Settings.model_fields:
            raise _unknown("section", section, [*Settings.model_fields, "dataset"], file.name)
        if not isinstance(table, dict):
            raise SettingsError(
                f"`{section}` must be a table", where=file, value=table, hint=f"write it as a section: [{section}]"
            )
        known[section] = {}
        for key, value in table.items():
            if (section, key) in SYNONYMS:
                moved[SYNONYMS[section, key]] = value
            elif section != "dataset":  # other keys of [dataset] belong to other tools
                known[section][key] = value
    known.pop("dataset", None)
    for (section, key), value in moved.items():
        known.setdefault(section, {}).setdefault(key, value)
    return known


def _explain(error: ValidationError, file: Path) -> SettingsError:
    """The first thing pydantic minds, in the words of chain.toml."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    where = f"{file.name} [{'.'.join(path[:-1]) or path[0]}]"
    if first["type"] == "extra_forbidden":
        return _unknown("key", path[-1], _keys_at(path[:-1]), where)
    message = first["msg"].removeprefix("Value error, ")
    return SettingsError(f"`{path[-1]}`: {message[:1].lower()}{message[1:]}", where=where, value=first["input"])


def _keys_at(path: list[str]) -> list[str]:
    """The names that stand at `path` of the settings, for the nearest-name hint."""
    model: Any = Settings
    for part in path:
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, Section) else None
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, Section)), model)
    names = list(model.model_fields)
    return names + [key for section, key in SYNONYMS if path and section == path[0]]


def _unknown(kind: str, name: str, known: list[str], where: str) -> SettingsError:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(sorted(known))}"
    return SettingsError(f"unknown {kind}", where=where, value=name, hint=hint)
