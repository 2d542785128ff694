"""Turns worth judging: the phase of a turn, what decides a run, and a draw that prefers some and tells each one's odds.

An edit, a read and a search are what `duel.shell` takes them for; the observation behind a turn shows a failure.
"""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from itertools import accumulate, chain, groupby

from duel import shell, turn
from duel.conversation import shown_output
from duel.records import Message


def phases(messages: Sequence[Message]) -> dict[int, str]:
    """The phase of each reply, by its place: "before" the first edit, "at" it, "after" it."""
    found: dict[int, str] = {}
    phase = "before"
    for place, message in enumerate(messages):
        if message.role == "assistant":
            if phase != "before":
                phase = "after"
            elif shell.style(turn.command(message.content)) == "edit":
                phase = "at"
            found[place] = phase
    return found


def kinds(messages: Sequence[Message], changed: Collection[str]) -> dict[int, set[str]]:
    """By place, what `[sample] weights` may name of a reply: its phase, "failed", "first-read".

    `changed` are the paths that the pull request changes; the first turn that reads or searches one of them by name is
    the "first-read".
    """
    found: dict[int, set[str]] = {place: {phase} for place, phase in phases(messages).items()}
    unread = bool(changed)
    for place, names in found.items():
        command = turn.command(messages[place].content)
        behind = messages[place + 1] if place + 1 < len(messages) else None
        if behind is not None and behind.role == "user" and shown_output.shown(behind.content, command).failed:
            names.add("failed")
        script = shell.parse(command)
        if unread and shell.script_style(script) in {"read", "search"}:
            words = {word.removeprefix("./") for one in script.commands for word in one.words[1:]}
            if any(word == path or word.endswith(f"/{path}") for word in words for path in changed):
                names.add("first-read")
                unread = False
    return found


def without_loops(turns: Sequence[tuple[int, int]], messages: Sequence[Message]) -> list[tuple[int, int]]:
    """The turns whose history does not go in circles: judges gave such turns 0.58 where others had 0.67."""
    commands = [turn.blocks(message.content) if message.role == "assistant" else [] for message in messages]
    return [(number, index) for number, index in turns if not loops([*chain.from_iterable(commands[:index])])]


def loops(commands: Sequence[str]) -> bool:
    same_in_a_row = max((len([*run]) for _, run in groupby(commands)), default=0)
    return same_in_a_row >= 4 or (len(commands) >= 4 and 2 * len({*commands}) <= len(commands))


def odds(weights: Sequence[float], wanted: int) -> list[float]:
    """The chance of each to be among `wanted`, in proportion to its weight (positive); they add up to `wanted`.

    Whatever would be above 1 is drawn for certain, and the others share what is left.
    """
    certain: set[int] = set()
    while True:
        total = sum(weight for place, weight in enumerate(weights) if place not in certain)
        share = (wanted - len(certain)) / total if total else 0.0
        sure = {place for place, weight in enumerate(weights) if place not in certain and weight * share >= 1}
        if not sure:
            return [1.0 if place in certain else weight * share for place, weight in enumerate(weights)]
        certain |= sure


def systematic(chances: Sequence[float], at: float) -> list[int]:
    """The places drawn: at `at` (in [0, 1)) and every 1 behind it on the sums of `chances` (Madow 1949).

    Each place is drawn with exactly its chance, none twice, and as many as the chances add up to.
    """
    sums = list(accumulate(chances))
    return [min(bisect_right(sums, at + step), len(sums) - 1) for step in range(round(sums[-1]))]
