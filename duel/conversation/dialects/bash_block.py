"""The project's own protocol, which is mini-swe-agent's: prose and one bash block. Such a reply stays verbatim."""

from duel import turn
from duel.conversation.model import AgentCall, AgentReply


def find(content: str, number: int) -> AgentReply | None:
    """A reply with one bash block has its call; one with several was refused by its harness and has none."""
    found = turn.blocks(content)
    if not found:
        return None
    calls = [AgentCall(f"call_{number}", "bash", {"command": found[0]})] if len(found) == 1 else []
    return AgentReply(turn.thought(content), calls, verbatim=content)
