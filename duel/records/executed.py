"""What commands did in a sandbox: a candidate's, and an agent's under an overseer in every round of its task."""

from typing import Literal

from pydantic import Field

from duel.records.record import Message, Part, Record


class Observed(Part):
    """What one candidate's command did, or why that is not known. `printed` and `changed` are untrusted text."""

    ran: bool = False
    why_not: str = ""  # A reason and its detail ("unfaithful: 2 of 7 observations came back"); "" where it ran
    exit: int | None = None
    ended_by: str = ""  # The limit that ended it: "time", "memory", "output", "disk"; "" where it ended by itself
    printed: str = ""  # The next message as the dataset's harness would show it, cut by its rule
    changed: str = ""  # A diff of what the command changed, cut in the middle
    submits: bool = False  # True if the command ends the task; `changed` is then what the whole turn's history changed
    faithful: float | None = None  # Share of the replayed observations that came back; null where nothing was replayed
    replayed: int = 0  # Commands of the history that were run first
    differs: list[int] = Field(default_factory=list)  # Which of them (from 0) printed something else than recorded
    executor: str = ""
    base: str = ""  # The commit that the checkout started at
    plan: str = ""  # Fingerprint of what was run: the text, the history, the start, the back end and its limits

    @property
    def reason(self) -> str:
        """The reason of `why_not` without its detail, for counting."""
        return self.why_not.partition(":")[0]


def same(first: Observed, second: Observed) -> bool:
    """True if both ran and printed, changed and ended the same: on correctness they cannot differ."""
    did = [(one.exit, one.ended_by, one.printed, one.changed) for one in (first, second)]
    return first.ran and second.ran and did[0] == did[1]


def cut(text: str, characters: int) -> str:
    """`text` cut in the middle to `characters`, with how many were left out."""
    if len(text) <= characters:
        return text
    half = characters // 2
    return f"{text[:half]}\n... ({len(text) - 2 * half} characters left out) ...\n{text[-half:]}"


class Ran(Part):
    """What an action did. `shown` is untrusted text."""

    exit: int | None = None  # Null where the harness found no command to run
    ended_by: str = ""  # The limit that ended it: "time", "memory", "output", "disk"; "" where it ended by itself
    shown: str = ""  # The message that the agent was shown
    submits: bool = False


class GuidedStep(Part):
    """One proposal and its ruling; of the proposals before one action, all but the last are rejected."""

    proposal: str = ""  # The agent's turn; "" where the overseer had to write after its rejections
    ruling: Literal["approve", "reject", "replace"] = "approve"
    kind: str = ""  # Of `duel.guiding.supervised_loop.KINDS`; "" where the proposal was approved
    reason: str = ""
    suggestion: str = ""  # What the overseer said before the proposal because the agent was stuck
    by: Literal["overseer", "rule", "nobody"] = "overseer"  # "rule": it is no well-formed turn; "nobody": alone
    action: str = ""  # The turn that ran; "" where the proposal was rejected
    outcome: Ran | None = None


class GuidedRun(Part):
    """One round of one task."""

    round: int = 1
    series: str = ""  # Fingerprint of overseer, prompts, thresholds and draw: rounds of two series cannot be compared
    agent_model: str = ""
    overseer_model: str = ""
    steps: list[GuidedStep] = Field(default_factory=list)
    outcome: str = ""  # "submitted", "max-steps" or "max-interventions"; "" while the run is not at its end
    resolved: bool | None = None  # Whether the issue's own tests pass; null where that is not known
    solo_steps: list[GuidedStep] = Field(default_factory=list)  # By the agent alone, if held out; so the next two
    solo_outcome: str = ""
    solo_resolved: bool | None = None


class Guided(GuidedRun, Record):
    """One task under an overseer: the newest round, and in `rounds` those before it."""

    format: str = "duel-guided/1"
    task: str = Field(min_length=1)  # The instance id of the pull request whose issue is the task
    repo: str = ""
    base_commit: str = ""
    license: str = ""
    held_out: bool = False  # True: the task measures rounds, and no training row is made of it
    opening: list[Message] = Field(default_factory=list)  # Instructions and issue, as at inference
    rounds: list[GuidedRun] = Field(default_factory=list)

    def every_round(self) -> list[GuidedRun]:
        """The rounds that are at their end, the newest last."""
        newest = {name: getattr(self, name) for name in GuidedRun.model_fields}
        return [*self.rounds, GuidedRun(**newest)] if self.is_done else self.rounds

    @property
    def is_done(self) -> bool:
        ran = any(step.outcome is not None for step in self.steps)
        return bool(ran and self.outcome and (self.solo_outcome or not self.held_out))
