"""The sections of chain.toml: every key with its type, its default and one line that says what it does.

The line below a key is its documentation: `docs/settings.md` is made from it.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat

from duel.records import DIMENSIONS, RULE


def distinct(models: list[str]) -> list[str]:
    """`models` as they are. Raises ValueError where one is empty or there twice."""
    if len(set(models)) != len(models) or not all(models):
        raise ValueError("must be distinct, non-empty model ids")
    return models


def _known_metrics(keys: list[str]) -> list[str]:
    if not set(keys) <= {*DIMENSIONS} or len(set(keys)) != len(keys):
        raise ValueError(f"must be distinct names out of {', '.join(DIMENSIONS)}")
    return keys


def _not_the_question(fields: dict[str, Any]) -> dict[str, Any]:
    own = {"model", "messages", "stream", "stream_options", "max_tokens", "temperature", "response_format"}
    if taken := own & fields.keys():
        raise ValueError(f"cannot set {', '.join(sorted(taken))}")
    return fields


def _allow_or_refuse(value: dict[str, list[str]]) -> dict[str, list[str]]:
    if set(value) - {"allow", "refuse"}:
        raise ValueError("takes `allow` and `refuse`, each a list of SPDX ids")
    return value


def _list_means_allow(value: Any) -> Any:
    return {"allow": value} if isinstance(value, list) else value


Models = Annotated[list[str], AfterValidator(distinct)]
Licenses = Annotated[dict[str, list[str]], AfterValidator(_allow_or_refuse), BeforeValidator(_list_means_allow)]


class FrozenSection(BaseModel):
    """A section of chain.toml: frozen, no unknown keys."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", allow_inf_nan=False)


class SampleSection(FrozenSection):
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
    per_rollout: int = Field(1, ge=1)
    """Turns drawn from one rollout."""
    per_repo: int = Field(0, ge=0)
    """Prompts from one repository at most; 0: no cap."""
    exit_status: str = ""
    """Keep only rollouts that ended so ("Submitted", "incomplete"); empty: all."""
    max_history_tokens: int = Field(0, ge=0)
    """Leave out turns whose history is longer (estimated tokens); 0: no limit."""
    skip_loops: bool = False
    """Leave out turns whose history goes in circles: half of its commands repeat, or four in a row are the same."""
    phase: Literal["", "before", "at", "after"] = ""
    """Draw only turns "before" the first edit of their run, "at" it or "after" it; empty: all."""
    weights: dict[Literal["before", "at", "after", "failed", "first-read"], PositiveFloat] = Field(default_factory=dict)
    """How much likelier turns of a kind are drawn of their rollout: { at = 4, failed = 2 }; what is not named is 1."""


class Fallback(FrozenSection):
    """A second provider that takes over when the first has no capacity."""

    enabled: bool = False
    """Use it."""
    base_url: str = ""
    """Its base URL."""
    api_key_env: str = ""
    """Environment variable that holds its key."""
    model_map: dict[str, str] = Field(default_factory=dict)
    """First provider's model id -> the second's."""


class EndpointSection(FrozenSection):
    """How a model is reached; `[judge]` overrides what it names itself."""

    base_url_env: str = "CHUTES_BASE_URL"
    """Environment variable that holds the base URL, with or without `/v1`."""
    api_key_env: str = "CHUTES_API_KEY"
    """Environment variable that holds the key; empty: none is needed. Nor is one on loopback."""
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
    outage_s: float = Field(300.0, gt=0)
    """Seconds that a model which has answered may be out (5xx, resets, silence, …) before it is given up."""
    stream: bool = False
    """Ask for server-sent events; a stall is then noticed early."""
    stall_timeout_s: float = Field(60.0, gt=0)
    """Seconds without a byte after which a stream counts as stalled."""
    budget_usd: float | None = Field(None, ge=0)
    """Stop cleanly once this much is spent in this workspace."""
    neighbors: bool = True
    """Share the level with this user's other processes on the same endpoint; a set `concurrency` is taken as it is."""
    share: str = ""
    """A JSON file { calls, dollars } that somebody keeps: calls at a time and dollars left. `--share` names it."""
    extra_headers: dict[str, str] = Field(default_factory=dict)
    """Headers that go with every call. Not the place for a key."""
    fallback: Fallback = Field(default_factory=Fallback)
    """A second provider: { enabled, base_url, api_key_env, model_map }."""


class Sampling(FrozenSection):
    """Sampling parameters beside temperature and tokens; what is unset is left to the model."""

    top_p: float | None = Field(None, gt=0, le=1)
    """Nucleus sampling; unset: the model's default."""
    reasoning_effort: str | None = None
    """How long a model thinks ("low", "medium", "high"), where it takes this parameter."""
    extra_body: Annotated[dict[str, Any], AfterValidator(_not_the_question)] = Field(default_factory=dict)
    """Further fields of every request, as the endpoint spells them: { seed = 1, provider = { … } }."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What goes into every request, by its name on the wire."""
        chosen = {"top_p": self.top_p, "reasoning_effort": self.reasoning_effort}
        return {**self.extra_body, **{name: value for name, value in chosen.items() if value is not None}}


class RateLimit(FrozenSection):
    """A cap for one judge model."""

    max_concurrency: int = Field(0, ge=0)
    """Calls in flight at most; 0: find the level."""
    min_interval_s: float = Field(0.0, ge=0)
    """Seconds between the starts of two calls."""


class JudgeSection(Sampling):
    """The panel."""

    models: Models = Field(
        default_factory=lambda: [
            "deepseek-ai/DeepSeek-V3.2-TEE",
            "Qwen/Qwen3-235B-A22B-Thinking-2507-TEE",
            "moonshotai/Kimi-K2.6-TEE",
        ],
        min_length=1,
    )
    """The judges; `rule:<name>` is a function that a package brings (CONTRIBUTING.md)."""
    thinking_models: list[str] = Field(
        default_factory=lambda: ["Qwen/Qwen3-235B-A22B-Thinking-2507-TEE", "moonshotai/Kimi-K2.6-TEE"]
    )
    """Judges that think first: they get `thinking_max_tokens`."""
    base_url_env: str = ""
    """Empty: as `[endpoint]`."""
    api_key_env: str | None = None
    """Unset: as `[endpoint]`; empty: none is needed."""
    temperature: float = Field(0.0, ge=0, le=2)
    """Sampling temperature of the judges."""
    max_tokens: int | None = Field(None, ge=1)
    """Budget of a plain judge where `score_max_tokens` is not set."""
    score_max_tokens: int | None = Field(None, ge=1)
    """Budget of a plain judge's verdict; default 768."""
    thinking_max_tokens: int = Field(4096, ge=1)
    """Budget of a thinking judge, reasoning included."""
    metric_keys: Annotated[list[str], AfterValidator(_known_metrics)] = Field(
        default_factory=lambda: list(DIMENSIONS), min_length=1
    )
    """Dimensions that count towards the score."""
    orders: Literal["both", "king_first", "alternate"] = "both"
    """Which orders a judge sees the two replies in."""
    quorum: int = Field(2, ge=1)
    """Judges that must count for a turn to be parsed; never more than there are judges."""
    strategy: Literal["full", "screen"] = "full"
    """"screen" asks one vote a turn, decides the gate on these, and asks the rest only where a turn may be kept."""
    confirm_models: list[str] = Field(default_factory=list)
    """Judges of `validate.py --confirm`; empty: the same panel on fresh replies."""
    ineligible: bool = False
    """Judge also the turns that cannot be kept (leaks, broken rules, contamination); the gate never counts them."""
    observed: bool = True
    """Show judges what the commands of both sides printed and changed, where `[execute]` has run them."""
    tie_band: float = Field(0.0, ge=0, le=0.5)
    """A turn whose |delta| is at most this counts as a tie in win rates."""
    structured_output: bool = True
    """Ask for JSON through `response_format` where the endpoint takes it."""
    retry_max: int | None = Field(None, ge=0)
    """As `[endpoint]`, for judges; unset: as there. So the next four."""
    retry_initial_backoff_s: float | None = Field(None, gt=0)
    """As `[endpoint]`, for judges."""
    call_timeout_s: float | None = Field(None, gt=0)
    """As `[endpoint] timeout_s`, for judges."""
    max_429_wait_s: float | None = Field(None, gt=0)
    """As `[endpoint]`, for judges."""
    max_429_retries: int | None = Field(None, ge=0)
    """As `[endpoint]`, for judges."""
    max_concurrency_per_model: int = Field(0, ge=0)
    """Calls in flight per judge; 0: find the level."""
    min_interval_s_per_model: float = Field(0.0, ge=0)
    """Seconds between the starts of two calls to one judge."""
    rate_limits: dict[str, RateLimit] = Field(default_factory=dict)
    """Caps of single judges: "model" = { max_concurrency = 2, min_interval_s = 1.5 }."""
    fallback: Fallback | None = None
    """The judges' second provider; unset: as `[endpoint]`."""

    @property
    def asked_models(self) -> list[str]:
        """The judges behind an endpoint."""
        return [model for model in self.models if not model.startswith(RULE)]


class DuelSection(FrozenSection):
    """The acceptance gate."""

    mode: Literal[1, 2] = 2
    """2: challenger against king; 1: challenger against the dataset's own turn."""
    win_margin: float = 2.0
    """challenger_score - king_score must reach this, in points."""
    margin_bound: bool = False
    """The lower bound itself must reach `win_margin`, not only the margin that is seen."""
    max_leak_frac: float = Field(0.2, ge=0, le=1)
    """Share of turns whose challenger may leak the pull request or speak to the judges."""
    length_control: bool = True
    """Do not accept a win that is gone at equal length."""
    alpha: float = Field(0.001, gt=0, lt=0.5)
    """Level of the strict bound that is reported beside the gate's."""
    gate_alpha: float = Field(0.05, gt=0, lt=0.5)
    """Level of the one-sided bound that the gate asks for."""
    bootstrap_resamples: int = Field(10_000, ge=100, le=1_000_000)
    """Resamples of the bootstrap."""
    min_valid_turn_frac: float = Field(0.5, ge=0, le=1)
    """Share of turns that must be parsed."""
    min_clusters: int = Field(30, ge=2)
    """Fewer: undecided, never accepted."""
    cluster_by: Literal["auto", "repo", "instance_id", "file"] = "auto"
    """What counts as one independent unit; "auto": the repository where there are `min_clusters` of them, else the
    pull request."""
    seed: int = 0
    """Seed of the bootstrap."""
    rescore_passes: int = Field(2, ge=0)
    """Times that missing votes are asked again in one run."""
    looks: int = Field(1, ge=1)
    """Planned looks over which alpha is spent."""


class ReportSection(FrozenSection):
    """Thresholds of the buckets, in points."""

    final_min: float = Field(80.0, ge=0, le=100)
    """Score from which a turn is final."""
    defeat_min: float = Field(66.0, ge=0, le=100)
    """Score below which a turn is a defeat; between the two it is refined."""


class AuditSection(FrozenSection):
    """The checks that keep the data honest."""

    enforce: bool = True
    """A challenger that leaks, tries to sway a judge or breaks the protocol goes into no bucket."""
    leak_max: float = Field(1.0, ge=0)
    """A challenger whose leak score exceeds this leaks."""
    auditor: str = ""
    """A model that is shown the most suspicious fifth of the turns and must quote what each claim follows from."""
    near_duplicate: float = Field(0.85, gt=0, le=1)
    """Share of words that two turns have in common from which they count as near-duplicates."""
    decontaminate: list[str] = Field(
        default_factory=lambda: ["swe-bench", "lite", "verified", "multilingual", "multimodal", "pro"]
    )
    """Benchmarks (names, or files of ids one per line) whose instances never reach `prompt/`; [] switches it off."""
    decontaminate_by: Literal["id", "repo"] = "id"
    """"repo" is the strict mode: every pull request of a benchmark's repository is refused."""
    licenses: Licenses = Field(default_factory=dict)
    """{ allow = [...] } or { refuse = [...] } of SPDX ids; empty: every license passes."""
    scrub_secrets: bool = True
    """Replace secrets and personal data in whatever leaves the workspace."""


class ExecuteSection(FrozenSection):
    """Where the candidates' commands are run, and what counts as evidence."""

    backend: str = "off"
    """"off", "bubblewrap", "docker", "podman", or one that an installed package registers."""
    repositories: str = ""
    """A folder of mirrors (`owner/name`), or an address with {repo}; empty: one commit each, fetched from GitHub."""
    image: str = ""
    """Image for docker and podman, {instance} and {repo} filled in; empty: as the pull request's record names it."""
    timeout_s: float = Field(30.0, gt=0)
    """Seconds one command may take."""
    memory_mb: int = Field(1024, ge=64)
    """Memory of one command, with all that it starts."""
    pids: int = Field(64, ge=4)
    """Processes of one command."""
    output_chars: int = Field(8000, ge=200)
    """Characters of an output or a change that are kept: the first and the last half."""
    workers: int = Field(0, ge=0)
    """Turns executed at a time; 0: two for each core."""
    replay: bool = True
    """Run the history's commands first; false: only turns without a history have evidence."""
    min_faithful: float = Field(0.8, ge=0, le=1)
    """Share of the replayed observations that must equal the recorded ones; below it a turn has no evidence."""


class RefineSection(FrozenSection):
    """Borderline challengers, written once more with judges' reasons and judged by others (`duel refine`)."""

    rounds: int = Field(1, ge=1)
    """Rewrites of one turn at most; each needs a run of `duel refine` and one of `validate.py`."""
    from_: float = Field(66.0, ge=0, le=100, alias="from")
    """The lowest score of a turn that is written once more; under `defeat_min` near misses count as well."""
    judges: list[str] = Field(default_factory=list)
    """Coaches: judges of the panel whose reasons the writer is given; empty: all that are not held out."""
    held_out: list[str] = Field(default_factory=list)
    """Judges that decide on rewrites and give no reason away; empty: the panel's last. Named here, `run.py` refines."""
    control: int = Field(50, ge=0)
    """Turns of each round that the held-out judges judge again unchanged: the share that asking again promotes."""


class GuideSection(FrozenSection):
    """An agent's runs under an overseer that approves, rejects or writes each action before it runs."""

    agent_model: str = ""
    """The agent; empty: `[generate] model`. Its sampling is `[generate]`'s."""
    agent_base_url_env: str = ""
    """Environment variable that holds the agent's own base URL; empty: as `[endpoint]`."""
    agent_api_key_env: str = ""
    """Environment variable that holds the key to it; empty: none is needed."""
    overseer_model: str = ""
    """The overseer; empty: the first of `[judge] models`."""
    tasks: int = Field(0, ge=0)
    """Tasks drawn from `commit/`, the same in every round; 0: all."""
    held_out: float = Field(0.25, ge=0, le=1)
    """Share of the tasks, by a hash of their ids, that measure rounds: the agent also runs alone, no row is made."""
    max_steps: int = Field(15, ge=1)
    """Actions of one run."""
    max_interventions: int = Field(10, ge=1)
    """Actions with an intervention after which a run ends."""
    verify: bool = True
    """Run the issue's own tests on what was submitted, where this machine or its containers can."""


class ReviewSection(FrozenSection):
    """People's votes beside the panel's."""

    labels_min: int = Field(30, ge=3)
    """Labeled pull requests under which people's figures decide nothing."""
    weight: Literal["report", "require", "none"] = "report"
    """"report": the margin by people stands beside the verdict; "require": its bound is the gate's; "none": off."""


class StoreSection(FrozenSection):
    """How records lie on disk."""

    answers_per_dir: int = Field(5000, ge=1)
    """Files in one folder (answers, scores, pull requests, kept turns); more lie in `answer_1/`, `score/1/`, …"""
    shards: int = Field(4, ge=1, le=9999)
    """Shards that `duel shard split` makes where none are named."""
