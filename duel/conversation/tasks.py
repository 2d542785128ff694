"""What a reply has to be: its form, the rubric that judges it, and what only the challenger may know.

A conversation names its task; the bash block is the one of this project's datasets. A further task is one `add`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from duel import turn
from duel.registry import Registry


@dataclass(frozen=True)
class ReplyTask:
    trajectory_format: str  # how rows of a trajectory file name it
    problem: Callable[[str], str]  # why a text is no well-formed reply, as a slug; "" where it is one
    rubric: str  # the prompt file that judges are asked with; "" where nobody judges it
    hidden: str  # the record that the challenger sees and the king does not: "commit", or "" for none


TASKS: Registry[ReplyTask] = Registry("reply_task")
BASH_BLOCK = TASKS.add("bash-block", ReplyTask("mini-swe-agent-1", turn.format_problem, "rubric", "commit"))
CHAT = TASKS.add("chat", ReplyTask("chat", lambda text: "" if text.strip() else "empty", "", ""))


def of_format(trajectory_format: str) -> ReplyTask:
    """The task of rows of this trajectory format; one that nobody knows has bash blocks, as the datasets do."""
    return next((task for task in TASKS.values() if task.trajectory_format == trajectory_format), BASH_BLOCK)
