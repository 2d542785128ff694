"""Pairs of turns whose better side is known without asking anyone: the pairs of a benchmark of judges.

By construction: the good side is the recorded turn of a run where its own observation bears it out; the other side is
the same turn with one flaw. By execution: both commands ran from one state, and one failed, edited nothing or flooded.
Controls have no better side: a judge must call them draws.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from duel import shell, turn
from duel.records import Answer, Message, Observed

_FAILED = re.compile(
    r"^(?:Observation: )?(?:Traceback|bash:|grep: .*No such|ls: cannot|cat: .*No such|error:)", re.MULTILINE
)
_CODE = re.compile(r"<returncode>(-?\d+)</returncode>")
_PATH = re.compile(r"(?<![\w/.-])(?:[\w.-]+/)+[\w-]+\.\w{1,4}\b")
_SUBSTITUTION = re.compile(r"sed -i[^\n]*?s([/|#])(.+?)\1(.*?)\1")
_FLAGS = {
    "grep": "--recursive-dirs",
    "sed": "--print-lines",
    "ls": "--long-list",
    "cat": "--line-numbers",
    "head": "--rows=20",
}
_CERTAIN = re.compile(r"No such file|(?:unrecognized|unknown|invalid) option|command not found|syntax error|EOF")
_SUBMIT = f"echo {shell.SENTINELS[0]}"


@dataclass(frozen=True, slots=True)
class KnownPair:
    """Two turns of one history; `why` says how it is known that `better` is better. Of controls, neither is."""

    id: str
    kind: str
    dimension: str
    instance_id: str
    messages: Sequence[Message]
    better: str
    worse: str
    why: str = ""
    evidence: tuple[Observed, Observed] | None = None  # of `better` and `worse`, where both were run from one state

    @property
    def control(self) -> bool:
        """True if neither side is better."""
        return self.kind.startswith("control")


@dataclass(slots=True)
class Context:
    """What a flaw may look at: the commands so far with whether files changed since, and the texts of the whole run."""

    before: list[tuple[str, bool]] = field(default_factory=list)
    seen: str = ""
    everything: str = ""
    edited: bool = False
    edits_later: bool = False


Flaw = Callable[[str, Context], tuple[str, str] | None]


def redundant(command: str, about: Context) -> tuple[str, str] | None:
    for old, changed in about.before:
        if not changed and old != command and len(old) < 300 and shell.style(old) in ("read", "search"):
            return old, "the output of this very command stands in the history, and no file changed since"
    return None


def ghost_file(command: str, about: Context) -> tuple[str, str] | None:
    if shell.style(command) not in ("read", "search"):
        return None
    for path in _PATH.findall(command):
        stem, _, ending = path.rpartition(".")
        for ghost in (f"{stem}_utils.{ending}", f"{stem}_helper.{ending}"):
            if path in about.seen and ghost not in about.everything:
                return command.replace(path, ghost), f"{ghost} is in no listing, no search and no diff of this run"
    return None


def wrong_flag(command: str, _about: Context) -> tuple[str, str] | None:
    name = command.split(" ", 1)[0]
    if name not in _FLAGS or "\n" in command:
        return None
    return command.replace(name, f"{name} {_FLAGS[name]}", 1), f"`{name}` has no option `{_FLAGS[name]}`"


def edits_nothing(command: str, _about: Context) -> tuple[str, str] | None:
    match = _SUBSTITUTION.search(command)
    if not match or match[2] == match[3] or re.search(r"[\\.*\[\]^$]", match[2]):
        return None
    return command[: match.start(3)] + match[2] + command[match.end(3) :], "the text is replaced by itself"


def broken_quote(command: str, _about: Context) -> tuple[str, str] | None:
    if command.count("'") != 2 or '"' in command:
        return None
    at = command.rfind("'")
    broken = command[:at] + command[at + 1 :]
    return None if shell.parse(broken).valid else (broken, "an unterminated quote: a syntax error")


def early_submit(_command: str, about: Context) -> tuple[str, str] | None:
    return (_SUBMIT, "nothing is changed yet") if not about.edited and about.edits_later else None


FLAWS: dict[str, tuple[Flaw, str]] = {
    "repeats": (redundant, "progress"),
    "no-such-file": (ghost_file, "grounding"),
    "wrong-flag": (wrong_flag, "correctness"),
    "edits-nothing": (edits_nothing, "progress"),
    "broken-quote": (broken_quote, "correctness"),
    "early-submit": (early_submit, "progress"),
}


def by_construction(instance_id: str, messages: Sequence[Message], row: str = "") -> Iterator[KnownPair]:
    """The pairs that one run yields: each sound turn with each flaw that fits it, and its controls."""
    replies = [
        at
        for at, message in enumerate(messages[:-1])
        if message.role == "assistant" and len(turn.blocks(message.content)) == 1
    ]
    commands = {at: turn.command(messages[at].content).strip() for at in replies}
    styles = {at: shell.style(command) for at, command in commands.items()}
    about = Context(everything="\n".join(message.content for message in messages))
    for at in replies:
        text, command = messages[at].content, commands[at]
        about.seen = "\n".join(message.content for message in messages[:at])
        about.edits_later = any(styles[later] == "edit" for later in replies if later > at)
        if _sound(command, messages[at + 1].content, about):
            key, history = f"{instance_id}{row}#{at}", messages[:at]
            for kind, (flaw, dimension) in FLAWS.items():
                if (found := flaw(command, about)) and found[0] != command:
                    # In its block alone: the thought may hold the same words.
                    start, end = turn.BLOCK.search(text).span(1)  # type: ignore[union-attr]
                    worse = text[:start] + text[start:end].replace(command, found[0], 1) + text[end:]
                    yield KnownPair(f"{key}#{kind}", kind, dimension, instance_id, history, text, worse, found[1])
            for kind, dimension, other, why in (
                ("two-blocks", "protocol", f"{text}\n\n```bash\nls\n```", "two blocks"),
                ("control-same", "", text, ""),
                ("control-blanks", "", f"{text}\n", ""),
            ):
                yield KnownPair(f"{key}#{kind}", kind, dimension, instance_id, history, text, other, why)
        if styles[at] in ("edit", "version control", "run"):
            about.before = [(old, True) for old, _ in about.before]
            about.edited = about.edited or styles[at] == "edit"
        about.before.append((command, False))


def _sound(command: str, observation: str, about: Context) -> bool:
    """True if the turn's own observation bears it out."""
    code = _CODE.search(observation)
    body = re.sub(r"</?(?:returncode|output)>[^\n]*", "", observation.removeprefix("Observation:")).strip()
    style = shell.style(command)
    return (
        (code is None or code[1] == "0")
        and style != "submit"
        and command not in (old for old, _ in about.before)
        and bool(body or style == "edit")
        and not _FAILED.search(observation)
        and shell.parse(command).valid
    )


def by_execution(item: str, answer: Answer) -> KnownPair | None:
    """The pair that an executed answer is, where what its two commands did leaves no doubt; else None."""
    king, challenger = answer.chosen("king"), answer.chosen("challenger")
    if not king or not challenger or not king.observed or not challenger.observed:
        return None
    sides = [(answer.king, king.observed), (answer.challenger, challenger.observed)]
    for (text, good), (other, bad) in (sides, sides[::-1]):
        if found := _difference(text, good, other, bad):
            kind, dimension, why = found
            key, about = f"{item}#{kind}", answer.instance_id
            return KnownPair(key, kind, dimension, about, answer.messages, text, other, why, (good, bad))
    return None


def _difference(text: str, good: Observed, other: str, bad: Observed) -> tuple[str, str, str] | None:
    if not good.ran or not bad.ran or good.exit != 0 or good.ended_by:
        return None
    styles = [shell.style(turn.command(one)) for one in (text, other)]
    if bad.exit and _CERTAIN.search(bad.printed) and (good.changed or len(good.printed) > len("Observation: ")):
        return "executed-fails", "correctness", f"it ended with {bad.exit}"
    if styles == ["edit", "edit"] and good.changed and not bad.changed:
        return "executed-edits-nothing", "progress", "no file changed"
    if bad.ended_by or ("chars elided" in bad.printed and len(good.printed) < 4000 and styles[0] == styles[1]):
        return "executed-floods", "efficiency", "its output was cut"
    return None


def draw(pairs: Iterable[KnownPair], each: int, seed: int = 0) -> list[KnownPair]:
    """At most `each` pairs of a kind, one of a pull request before a second of any."""
    kinds: defaultdict[str, list[KnownPair]] = defaultdict(list)
    for pair in pairs:
        kinds[pair.kind].append(pair)
    chosen = []
    for kind, found in sorted(kinds.items()):
        Random(f"{seed}/{kind}").shuffle(found)
        rank: defaultdict[str, int] = defaultdict(int)
        order: list[tuple[int, int, KnownPair]] = []
        for pair in found:
            order.append((rank[pair.instance_id], len(order), pair))
            rank[pair.instance_id] += 1
        chosen += [pair for *_, pair in sorted(order, key=lambda row: row[:2])[:each]]
    return chosen


def better_is_challenger(pair: KnownPair) -> bool:
    """Which side the better turn is asked as: half of the pairs, drawn by their name."""
    return hashlib.sha256(pair.id.encode()).digest()[0] % 2 == 0
