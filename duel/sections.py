"""The sections of chain.toml: every key with its type, its bounds and its default.

What each section is about and each key does stands in `wordlists/settings.toml`: `docs/settings.md` and the file of
`duel init` are made from it.
"""

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat

from duel import dimensions
from duel.records import DIMENSIONS, RULE

THINKING = ("Qwen/Qwen3-235B-A22B-Thinking-2507-TEE", "moonshotai/Kimi-K2.6-TEE")
SELECTION_STEPS = ("audit", "execution", "majority", "judge")


def distinct(models: list[str]) -> list[str]:
    """`models` as they are. Raises ValueError where one is empty or there twice."""
    if len(set(models)) != len(models) or not all(models):
        raise ValueError("must be distinct, non-empty model ids")
    return models


def _known_steps(steps: str) -> str:
    if {step.strip() for step in steps.split(",")} - {*SELECTION_STEPS, ""}:
        raise ValueError(f"must be steps out of {', '.join(SELECTION_STEPS)}, with commas between them")
    return steps


def _not_the_question(fields: dict[str, Any]) -> dict[str, Any]:
    own = {"model", "messages", "stream", "stream_options", "max_tokens", "temperature", "response_format"}
    if taken := own & fields.keys():
        raise ValueError(f"cannot set {', '.join(sorted(taken))}")
    return fields


Models = Annotated[list[str], AfterValidator(distinct)]
OneOrMore = BeforeValidator(lambda models: [models] if isinstance(models, str) and models else models or [])
ListMeansAllow = BeforeValidator(lambda ids: {"allow": ids} if isinstance(ids, list) else ids)


class FrozenSection(BaseModel):
    """A section of chain.toml: frozen, no unknown keys."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", allow_inf_nan=False)


class SampleSection(FrozenSection):
    dataset: str = "AlienKevin/SWE-ZERO-12M-trajectories"
    pulls: str = "nebius/SWE-rebench-V2-PRs"
    revision: str = ""
    pulls_revision: str = ""
    shard_glob: str = "data/*.parquet"
    n: int = Field(2000, ge=1)
    files: int = Field(20, ge=1)
    seed: int = 0
    max_turn: int = Field(10, ge=1)
    min_turn: int = Field(1, ge=1)
    per_instance: int = Field(1, ge=1)
    per_rollout: int = Field(1, ge=1)
    per_repo: int = Field(0, ge=0)
    exit_status: str = ""
    max_history_tokens: int = Field(0, ge=0)
    skip_loops: bool = False
    phase: Literal["", "before", "at", "after"] = ""
    weights: dict[Literal["before", "at", "after", "failed", "first-read"], PositiveFloat] = {}


class Fallback(FrozenSection):
    """A provider for when the first has no capacity; `model_map` turns the first one's model ids into its own."""

    enabled: bool = False
    base_url: str = ""
    api_key_env: str = ""
    model_map: dict[str, str] = {}


class EndpointSection(FrozenSection):
    base_url_env: str = "CHUTES_BASE_URL"
    api_key_env: str = "CHUTES_API_KEY"
    timeout_s: float = Field(300.0, gt=0)
    connect_timeout_s: float = Field(20.0, gt=0)
    concurrency: int = Field(0, ge=0)
    max_429_wait_s: float = Field(60.0, gt=0)
    max_429_retries: int = Field(8, ge=0)
    retry_max: int = Field(3, ge=0)
    retry_initial_backoff_s: float = Field(1.5, gt=0)
    outage_s: float = Field(300.0, gt=0)
    stream: bool = False
    stall_timeout_s: float = Field(60.0, gt=0)
    budget_usd: float | None = Field(None, ge=0)
    neighbors: bool = True
    share: str = ""
    extra_headers: dict[str, str] = {}
    fallback: Fallback = Fallback()


class Sampling(FrozenSection):
    """Sampling parameters beside temperature and tokens; what is unset is left to the model."""

    top_p: float | None = Field(None, gt=0, le=1)
    reasoning_effort: str | None = None
    extra_body: Annotated[dict[str, Any], AfterValidator(_not_the_question)] = {}

    @property
    def parameters(self) -> dict[str, Any]:
        """What goes into every request, by its name on the wire."""
        chosen = {"top_p": self.top_p, "reasoning_effort": self.reasoning_effort}
        return {**self.extra_body, **{name: value for name, value in chosen.items() if value is not None}}


class GenerateSection(Sampling):
    model: str = "moonshotai/Kimi-K2.6-TEE"
    king_model: str = ""
    challenger_model: str = ""
    kings: int = Field(1, ge=1, le=32)
    challengers: int = Field(1, ge=1, le=32)
    king_models: Models = []
    challenger_models: Models = []
    select: Annotated[str, AfterValidator(_known_steps)] = "audit, execution, judge"
    select_model: Annotated[Models, OneOrMore] = []
    temperature: float = Field(1.0, ge=0, le=2)
    max_tokens: int = Field(1024, ge=1)
    thinking: bool | None = None
    max_model_len: int = Field(32768, ge=512)
    exclude_ids: list[str] = []
    format_retries: int = Field(2, ge=0)

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps of `select`."""
        return tuple(step.strip() for step in self.select.split(",") if step.strip())


class RateLimit(FrozenSection):
    """A cap for one judge model: calls in flight (0: find the level), and seconds between the starts of two calls."""

    max_concurrency: int = Field(0, ge=0)
    min_interval_s: float = Field(0.0, ge=0)


class JudgeSection(Sampling):
    models: Models = Field(["deepseek-ai/DeepSeek-V3.2-TEE", *THINKING], min_length=1)
    thinking_models: list[str] = [*THINKING]
    base_url_env: str = ""
    api_key_env: str | None = None
    temperature: float = Field(0.0, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=1)
    score_max_tokens: int | None = Field(None, ge=1)
    thinking_max_tokens: int = Field(4096, ge=1)
    metric_keys: Annotated[list[str], AfterValidator(dimensions.countable)] = Field([*DIMENSIONS], min_length=1)
    orders: Literal["both", "king_first", "alternate"] = "both"
    quorum: int = Field(2, ge=1)
    strategy: Literal["full", "screen"] = "full"
    confirm_models: list[str] = []
    ineligible: bool = False
    observed: bool = True
    tie_band: float = Field(0.0, ge=0, le=0.5)
    structured_output: bool = True
    retry_max: int | None = Field(None, ge=0)
    retry_initial_backoff_s: float | None = Field(None, gt=0)
    call_timeout_s: float | None = Field(None, gt=0)
    max_429_wait_s: float | None = Field(None, gt=0)
    max_429_retries: int | None = Field(None, ge=0)
    max_concurrency_per_model: int = Field(0, ge=0)
    min_interval_s_per_model: float = Field(0.0, ge=0)
    rate_limits: dict[str, RateLimit] = {}
    fallback: Fallback | None = None

    @cached_property
    def dimensions(self) -> tuple[str, ...]:
        """What judges are asked: the five, whether they count or not, and what else counts."""
        return (*DIMENSIONS, *(name for name in self.metric_keys if name not in DIMENSIONS))

    @property
    def asked_models(self) -> list[str]:
        """The judges behind an endpoint."""
        return [model for model in self.models if not model.startswith(RULE)]


class DuelSection(FrozenSection):
    mode: Literal[1, 2] = 2
    win_margin: float = 2.0
    margin_bound: bool = False
    max_leak_frac: float = Field(0.2, ge=0, le=1)
    length_control: bool = True
    alpha: float = Field(0.001, gt=0, lt=0.5)
    gate_alpha: float = Field(0.05, gt=0, lt=0.5)
    bootstrap_resamples: int = Field(10_000, ge=100, le=1_000_000)
    min_valid_turn_frac: float = Field(0.5, ge=0, le=1)
    min_clusters: int = Field(30, ge=2)
    cluster_by: Literal["auto", "repo", "instance_id", "file"] = "auto"
    seed: int = 0
    rescore_passes: int = Field(2, ge=0)
    looks: int = Field(1, ge=1)


class ReportSection(FrozenSection):
    final_min: float = Field(80.0, ge=0, le=100)
    defeat_min: float = Field(66.0, ge=0, le=100)


class AuditSection(FrozenSection):
    enforce: bool = True
    leak_max: float = Field(1.0, ge=0)
    auditor: str = ""
    near_duplicate: float = Field(0.85, gt=0, le=1)
    decontaminate: list[str] = ["swe-bench", "lite", "verified", "multilingual", "multimodal", "pro"]
    decontaminate_by: Literal["id", "repo"] = "id"
    licenses: Annotated[dict[Literal["allow", "refuse"], list[str]], ListMeansAllow] = {}
    scrub_secrets: bool = True


class ExecuteSection(FrozenSection):
    backend: str = "off"
    repositories: str = ""
    image: str = ""
    timeout_s: float = Field(30.0, gt=0)
    memory_mb: int = Field(1024, ge=64)
    pids: int = Field(64, ge=4)
    output_chars: int = Field(8000, ge=200)
    workers: int = Field(0, ge=0)
    replay: bool = True
    min_faithful: float = Field(0.8, ge=0, le=1)


class RefineSection(FrozenSection):
    rounds: int = Field(1, ge=1)
    from_: float = Field(66.0, ge=0, le=100, alias="from")
    judges: list[str] = []
    held_out: list[str] = []
    control: int = Field(50, ge=0)


class GuideSection(FrozenSection):
    agent_model: str = ""
    agent_base_url_env: str = ""
    agent_api_key_env: str = ""
    overseer_model: str = ""
    tasks: int = Field(0, ge=0)
    held_out: float = Field(0.25, ge=0, le=1)
    max_steps: int = Field(15, ge=1)
    max_interventions: int = Field(10, ge=1)
    verify: bool = True


class ReviewSection(FrozenSection):
    labels_min: int = Field(30, ge=3)
    weight: Literal["report", "require", "none"] = "report"


class StoreSection(FrozenSection):
    answers_per_dir: int = Field(5000, ge=1)
    shards: int = Field(4, ge=1, le=9999)


class BatchSection(FrozenSection):
    provider: str = "off"
    max_requests: int = Field(0, ge=0)
    max_bytes: int = Field(0, ge=0)
    poll_s: float = Field(30.0, gt=0)
    deadline_h: float = Field(24.0, gt=0)
    out: str = ""
    absorb: str = ""


class Price(FrozenSection):
    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(None, ge=0)
    batch: float = Field(0.5, ge=0, le=1)
