"""How each dataset's harness took an agent's reply and showed what came of it: what is run, and how it reads.

The rules are read in the generators' sources: SWE-ZERO-12M (marin, experiments/swe_zero/{scaffold,safe_exec}.py) and
mini-swe-agent 1.x. A reply that the harness refused must not be run, or the replayed state is another one.
"""

import itertools
import re
from collections.abc import Sequence
from typing import TypeAlias

from duel import turn
from duel.execution.executor import PLACE, ExecutionError, Outcome
from duel.records import Message
from duel.shell import SENTINELS

# The checkout's path on the machines of SWE-ZERO: owner, name, 12 digits of the commit, 8 of chance.
_WORKTREE = re.compile(r"/tmp/swe_zero_worktrees/[A-Za-z0-9][\w.-]*__[0-9a-f]{12}__[0-9a-f]{8}(?![\w.-])")  # noqa: S108

_BUNDLED = "You repair software. You work at a shell, one step at a time"


class SweZero:
    """SWE-ZERO-12M: the first of several blocks is run; standard error follows standard output; no exit code.

    `merged`: standard error went into standard output as it came. Outputs are cut in the middle to twice `half`
    characters.
    """

    merged = False

    def __init__(self, characters: int = 8000) -> None:
        self.half = characters // 2

    def command(self, reply: str) -> str:
        """What the harness runs of a reply. Raises ExecutionError (`no-command`, `several-blocks`)."""
        found = turn.command(reply).strip()
        if not found:
            raise ExecutionError("no-command", "the reply holds no command")
        return found

    def observed(self, message: str) -> bool:
        """True if `message` shows what a command printed; False if it refuses a reply."""
        return message.startswith("Observation:")

    def show(self, outcome: Outcome) -> str:
        text, half = outcome.printed, self.half
        total = outcome.stdout.total + outcome.stderr.total + bool(outcome.stdout.total and outcome.stderr.total)
        if total > 2 * half:
            text = f"{text[:half]}\n\n... (output truncated, {total - 2 * half} chars elided) ...\n\n{text[-half:]}"
        if outcome.ended_by == "time":
            text = f"{text}\n\n[command timed out]".strip()
        return f"Observation: {text}"


class BundledSample(SweZero):
    """The sample that ships with this package: streams merged, its own mark where it cuts, a shell called bash."""

    merged = True

    def show(self, outcome: Outcome) -> str:
        printed, half = outcome.stdout, self.half
        text = printed.text.replace("/bin/bash: ", "bash: ")
        if len(text) > 2 * half:
            left_out = printed.total - len(printed.text) + len(text) - 2 * half
            text = f"{text[:half]}\n[{left_out} characters in the middle are not shown]\n{text[-half:]}"
        return f"Observation: {text}"


class MiniSweAgent(SweZero):
    """mini-swe-agent 1.x: exactly one block is run, else the reply is refused; exit code and merged output."""

    merged = True
    _WARNING = (
        "The output of your last command was too long.\n"
        "Please try a different command that produces less output.\n"
        "If you're looking at a file you can try use head, tail or sed to view a smaller number of lines selectively.\n"
        "If you're using grep or find and it produced too much output, you can use a more selective search pattern.\n"
        "If you really need to see something from the full command's output, you can redirect output to a file and"
        " then search in that file.\n"
    )

    def __init__(self) -> None:
        super().__init__(characters=10_000)

    def command(self, reply: str) -> str:
        if len(found := turn.blocks(reply)) > 1:
            raise ExecutionError("several-blocks", f"the reply holds {len(found)} blocks, and the harness runs none")
        return super().command(reply)

    def observed(self, message: str) -> bool:
        return "<returncode>" in message[:200]

    def show(self, outcome: Outcome) -> str:
        text, total, half = outcome.stdout.text, outcome.stdout.total, self.half
        code = f"<returncode>{outcome.exit}</returncode>\n"
        if total < 2 * half:
            return f"{code}<output>\n{text}</output>"
        return (
            f"{code}<warning>\n{self._WARNING}</warning><output_head>\n{text[:half]}\n</output_head>\n"
            f"<elided_chars>\n{total - 2 * half} characters elided\n</elided_chars>\n"
            f"<output_tail>\n{text[-half:]}\n</output_tail>"
        )


Harness: TypeAlias = SweZero


def of(messages: Sequence[Message], characters: int = 8000) -> Harness:
    """The harness that a history was recorded with, told by how it shows outputs, else by how it puts its task."""
    if any(message.role == "system" and message.content.startswith(_BUNDLED) for message in messages[:1]):
        return BundledSample()
    first = [message.content for message in messages if message.role in ("user", "tool")]
    shows = (text[:200] for text in first[1:])
    mini = any("<returncode>" in text for text in shows) or any("<pr_description>" in text for text in first[:1])
    return MiniSweAgent() if mini else SweZero(characters)


def steps(messages: Sequence[Message], harness: Harness) -> list[tuple[str, str]]:
    """What the harness ran in a history: (command, what it showed). Replies that it refused are left out."""
    found = []
    for reply, answer in itertools.pairwise(messages):
        if reply.role == "assistant" and answer.role != "assistant" and harness.observed(answer.content):
            try:
                found.append((harness.command(reply.content), answer.content))
            except ExecutionError:
                found.append(("", answer.content))  # an observation of nothing: it will not come back
    return found


def place(messages: Sequence[Message], harness: Harness) -> str:
    if isinstance(harness, MiniSweAgent):
        return "/testbed"
    found = filter(None, (_WORKTREE.search(message.content) for message in messages))
    return next((match[0] for match in found), PLACE)


def submits(outcome: Outcome) -> bool:
    return (outcome.stdout.text.lstrip().splitlines() or [""])[0].strip() in SENTINELS
