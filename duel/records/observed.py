"""The record of what one candidate's command did, as it stands in `observed` of the candidate."""

from pydantic import Field

from duel.records.record import Part


class Observed(Part):
    """What one candidate's command did, or why that is not known.

    All of `printed` and `changed` is untrusted text.
    """

    ran: bool = False
    why_not: str = ""  # A reason and its detail ("unfaithful: 2 of 7 observations came back"); "" where it ran
    exit: int | None = None
    ended_by: str = ""  # The limit that ended it: "time", "memory", "output"; "" where it ended by itself
    printed: str = ""  # The next message as the dataset's harness would show it, cut by its rule
    changed: str = ""  # A diff of what the command changed, cut in the middle
    submits: bool = False  # True if the command ends the task; `changed` is then what the whole turn's history changed
    faithful: float | None = None
    """Share of the replayed observations that equal the recorded ones; null where nothing was to be replayed."""
    replayed: int = 0  # Commands of the history that were run first
    differs: list[int] = Field(default_factory=list)  # Which of them (from 0) printed something else than recorded
    executor: str = ""
    base: str = ""  # The commit that the checkout started at
    plan: str = ""
    """Fingerprint of what was run: the candidate's text, the history, the start, the back end and its limits."""

    @property
    def reason(self) -> str:
        """The reason of `why_not` without its detail, for counting."""
        return self.why_not.partition(":")[0]


def same(first: Observed, second: Observed) -> bool:
    """True if both ran and printed, changed and ended the same: on correctness they cannot differ."""
    return first.ran and second.ran and _told(first) == _told(second)


def _told(one: Observed) -> tuple[int | None, str, str, str]:
    return one.exit, one.ended_by, one.printed, one.changed


def cut(text: str, characters: int) -> str:
    """`text` cut in the middle to `characters`, with how many were left out."""
    if len(text) <= characters:
        return text
    half = characters // 2
    return f"{text[:half]}\n... ({len(text) - 2 * half} characters left out) ...\n{text[-half:]}"
