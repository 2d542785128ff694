"""The draws: chance that depends on nothing but its inputs, files by their rows, turns by what they tell of a run.

An edit, a read and a search are what `duel.shell` takes them for; the observation behind a turn shows a failure.
"""

import hashlib
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate, chain, groupby

from duel import shell, turn
from duel.conversation import shown_output
from duel.records import Message


def chance(*parts: object) -> float:
    """A number in [0, 1) made of `parts` alone: the same on every machine and in whatever order the work is done."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return (int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 11) / 2**53


def shuffled(seed: int, what: str, names: Collection[str]) -> list[str]:
    """`names` in a random order of their own: a name keeps its place among the others when more are added."""
    return sorted(names, key=lambda name: (chance(seed, what, name), name))


def draw_files(
    names: Collection[str], wanted: int, seed: int, rows: Callable[[str], int], reading: Callable[[str], None]
) -> list[str]:
    """Draw `wanted` files without replacement, each draw in proportion to the rows of the files that are left.

    `rows(name)` may cost a download, so it is asked of few files only: candidates come in a random order, and one is
    accepted with probability rows / most rows seen, else it goes back to the end. Where nearly all files are equally
    long, as in the dataset, that looks at little more than `wanted` files and is exactly the draw by rows; the first
    `wanted` candidates are looked at before any is decided on, so that a short one does not pass for a long one.
    Files without rows are never drawn. `reading(name)` is told of each draw.
    """
    queue = deque(shuffled(seed, "file", names))
    most = max((rows(name) for name in list(queue)[:wanted]), default=0) if len(queue) > wanted else 0
    drawn: list[str] = []
    attempt = 0
    while queue and len(drawn) < wanted:
        attempt += 1
        name = queue.popleft()
        count = rows(name)
        most = max(most, count)
        if not count:
            continue
        if len(queue) + len(drawn) < wanted or chance(seed, "accept", name, attempt) * most < count:
            drawn.append(name)
            reading(name)
        else:
            queue.append(name)
    return drawn


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
        if unread and shell.style(script) in {"read", "search"}:
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
