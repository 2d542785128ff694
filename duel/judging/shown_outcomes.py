"""What judges are shown of the commands that were run: exit code, output and change of each side, cut alike for both.

Untrusted like everything else in the prompt: `duel.judging.rubric` fences it and makes it visible.
"""

from duel.records import Observed
from duel.records.observed import cut

# Characters of what a command printed, and of its diff. Two sides of both are at most 2,400 tokens a question.
PRINTED = 1500
CHANGED = 3000
# Facts about a reply. For any other reason (no repository, a broken sandbox) a side would look worse than it is.
OWN_FAULT = frozenset({"no-command", "several-blocks", "not-a-command"})


def fair(opponent: Observed, challenger: Observed) -> bool:
    """True if both sides can be shown: one ran at least, and the other too or by its own fault not."""
    sides = (opponent, challenger)
    return any(one.ran for one in sides) and all(one.ran or one.reason in OWN_FAULT for one in sides)


def told(one: Observed) -> str:
    """One side in words. Nothing here says which side it is."""
    if not one.ran:
        return f"ran: no ({one.reason})"
    ended = f" (stopped: {one.ended_by})" if one.ended_by else ""
    whole = "changed, with all earlier commands, because this one ends the task" if one.submits else "changed"
    return "\n".join(
        [
            f"ran: yes\nexit code: {one.exit}{ended}",
            f"printed:\n{cut(one.printed.removeprefix('Observation: ').rstrip(), PRINTED) or '(nothing)'}",
            f"{whole}:\n{cut(one.changed.rstrip(), CHANGED) or '(nothing)'}",
        ]
    )


def why_not(opponent: Observed, challenger: Observed) -> str:
    """The reason why a turn has no evidence; that of a broken sandbox before that of a broken reply."""
    reasons = [one.reason for one in (opponent, challenger) if not one.ran]
    return min(reasons, key=lambda reason: reason in OWN_FAULT, default="")
