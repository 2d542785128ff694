"""The keys of [generate]: who writes the candidates of a turn, how, and how one of several is chosen."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from duel.sections import Models, Sampling

SELECTION_STEPS = ("audit", "execution", "majority", "judge")


def _known_steps(steps: str) -> str:
    if {step.strip() for step in steps.split(",")} - {*SELECTION_STEPS, ""}:
        raise ValueError(f"must be steps out of {', '.join(SELECTION_STEPS)}, with commas between them")
    return steps


def _one_or_more(models: Any) -> Any:
    return [models] if isinstance(models, str) and models else models or []


class GenerateSection(Sampling):
    """How king and challenger are written."""

    model: str = "moonshotai/Kimi-K2.6-TEE"
    """The model that writes king and challenger."""
    king_model: str = ""
    """Model of the king; empty: `model`."""
    challenger_model: str = ""
    """Model of the challenger; empty: `model`."""
    kings: int = Field(1, ge=1, le=32)
    """Candidates for the king of a turn that each of its models writes; the best one is judged."""
    challengers: int = Field(1, ge=1, le=32)
    """The same for the challenger. Four of them win most of what there is to win, at three duels a turn."""
    king_models: Models = Field(default_factory=list)
    """Several models of the king, in place of `king_model`."""
    challenger_models: Models = Field(default_factory=list)
    """Several models of the challenger, in place of `challenger_model`."""
    select: Annotated[str, AfterValidator(_known_steps)] = "audit, execution, judge"
    """How one of several candidates is chosen, step by step; "majority" before "judge": the kings' commonest deed."""
    select_model: Annotated[Models, BeforeValidator(_one_or_more)] = Field(default_factory=list)
    """The model, or models, of the step "judge"; empty: the first of `[judge] models`. They do not judge the duel,
    unless no other judge is left."""
    temperature: float = Field(1.0, ge=0, le=2)
    """Sampling temperature of both."""
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

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps of `select`."""
        return tuple(step.strip() for step in self.select.split(",") if step.strip())
