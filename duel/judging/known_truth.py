"""Pairs of turns whose better side is known without asking anyone: the pairs of a benchmark of judges.

By construction: the good side is the recorded turn of a run where its own observation bears it out; the other side is
the same turn with one flaw. By execution: both commands ran from one state, and one failed, edited nothing or flooded.
Controls have no better side: a judge must call them draws.
"""

import hashlib
import re
from collections import Counter, defaultdict
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
_CERTAIN = re.compile(r"No such file|(?:unrecognized|unknown|invalid) option|command not found|syntax error|EOF")
_NO_FLAGS = {
    "grep": "--recursive-dirs",
    "sed": "--print-lines",
    "ls": "--long-list",
    "cat": "--line-numbers",
    "head": "--rows=20",
}


@dataclass(frozen=True, slots=True)
class KnownPair:
    """Two turns of one history. Of controls, neither is better."""

    id: str
    kind: str
    instance_id: str
    messages: Sequence[Message]
    better: str
    worse: str
    evidence: tuple[Observed, Observed] | None = None  # of `better` and `worse`, where both were run from one state

    @property
    def control(self) -> bool:
        return self.kind.startswith("control")


@dataclass(slots=True)
class Context:
    """What a flaw may look at: the commands so far with whether files changed since, and the texts of the whole run."""

    before: list[tuple[str, bool]] = field(default_factory=list)
    seen: str = ""
    everything: str = ""
    edited: bool = False
    edits_later: bool = False


def redundant(command: str, about: Context) -> str | None:
    """A command whose very output stands in the history, no file changed since."""
    for old, changed in about.before:
        if not changed and old != command and len(old) < 300 and shell.style(old) in ("read", "search"):
            return old
    return None


def ghost_file(command: str, about: Context) -> str | None:
    """A file that is in no listing, no search and no diff of this run."""
    if shell.style(command) not in ("read", "search"):
        return None
    for path in _PATH.findall(command):
        stem, _, ending = path.rpartition(".")
        for ghost in (f"{stem}_utils.{ending}", f"{stem}_helper.{ending}"):
            if path in about.seen and ghost not in about.everything:
                return command.replace(path, ghost)
    return None


def wrong_flag(command: str, _about: Context) -> str | None:
    """An option that the command does not have."""
    name = command.split(" ", 1)[0]
    return command.replace(name, f"{name} {_NO_FLAGS[name]}", 1) if name in _NO_FLAGS and "\n" not in command else None


def edits_nothing(command: str, _about: Context) -> str | None:
    """A substitution of a text by itself."""
    match = _SUBSTITUTION.search(command)
    if not match or match[2] == match[3] or re.search(r"[\\.*\[\]^$]", match[2]):
        return None
    return command[: match.start(3)] + match[2] + command[match.end(3) :]


def broken_quote(command: str, _about: Context) -> str | None:
    """An unterminated quote: a syntax error."""
    start, quote, end = command.rpartition("'")
    fits = command.count(quote or "'") == 2 and '"' not in command and not shell.parse(start + end).valid
    return start + end if fits else None


def early_submit(_command: str, about: Context) -> str | None:
    """The end of the task, where nothing is changed yet."""
    return f"echo {shell.SENTINELS[0]}" if not about.edited and about.edits_later else None


FLAWS: dict[str, Callable[[str, Context], str | None]] = {
    "repeats": redundant,
    "no-such-file": ghost_file,
    "wrong-flag": wrong_flag,
    "edits-nothing": edits_nothing,
    "broken-quote": broken_quote,
    "early-submit": early_submit,
}


def by_construction(instance_id: str, messages: Sequence[Message], row: str = "") -> Iterator[KnownPair]:
    """The pairs that one run yields: each sound turn with each flaw that fits it, and its controls."""
    commands = {
        at: turn.command(message.content).strip()
        for at, message in enumerate(messages[:-1])
        if message.role == "assistant" and len(turn.blocks(message.content)) == 1
    }
    styles = {at: shell.style(command) for at, command in commands.items()}
    about = Context(everything="\n".join(message.content for message in messages))
    for at, command in commands.items():
        text, style = messages[at].content, styles[at]
        about.seen = "\n".join(message.content for message in messages[:at])
        about.edits_later = any(style == "edit" for later, style in styles.items() if later > at)
        again = any(command == old for old, _ in about.before)
        if style != "submit" and not again and _sound(command, style, messages[at + 1].content):
            others = {}
            for kind, flaw in FLAWS.items():
                if (found := flaw(command, about)) and found != command:
                    # In its block alone: the thought may hold the same words.
                    start, end = turn.BLOCK.search(text).span(1)  # type: ignore[union-attr]
                    others[kind] = text[:start] + text[start:end].replace(command, found, 1) + text[end:]
            others |= {"two-blocks": f"{text}\n\n```bash\nls\n```", "control-same": text, "control-blanks": f"{text}\n"}
            for kind, other in others.items():
                yield KnownPair(f"{instance_id}{row}#{at}#{kind}", kind, instance_id, messages[:at], text, other)
        if style in ("edit", "version control", "run"):
            about.before = [(old, True) for old, _ in about.before]
            about.edited = about.edited or style == "edit"
        about.before.append((command, False))


def _sound(command: str, style: str, observation: str) -> bool:
    """True if a command's own observation bears it out."""
    code = _CODE.search(observation)
    body = re.sub(r"</?(?:returncode|output)>[^\n]*", "", observation.removeprefix("Observation:")).strip()
    succeeded = (code is None or code[1] == "0") and not _FAILED.search(observation)
    return bool(succeeded and (body or style == "edit")) and shell.parse(command).valid


def by_execution(item: str, answer: Answer) -> KnownPair | None:
    """The pair that an executed answer is, where what its two commands did leaves no doubt; else None."""
    sides = [
        (answer.text_of(chosen), chosen.observed)
        for chosen in (answer.chosen("king"), answer.chosen("challenger"))
        if chosen is not None and chosen.observed is not None
    ]
    if len(sides) < 2:
        return None
    for (text, good), (other, bad) in (sides, sides[::-1]):
        if not good.ran or not bad.ran or good.exit != 0 or good.ended_by:
            continue
        styles = [shell.style(turn.command(one)) for one in (text, other)]
        flooded = "chars elided" in bad.printed and len(good.printed) < 4000 and styles[0] == styles[1]
        if bad.exit and _CERTAIN.search(bad.printed) and (good.changed or len(good.printed) > len("Observation: ")):
            kind = "executed-fails"
        elif styles == ["edit", "edit"] and good.changed and not bad.changed:
            kind = "executed-edits-nothing"
        elif bad.ended_by or flooded:
            kind = "executed-floods"
        else:
            continue
        return KnownPair(f"{item}#{kind}", kind, answer.instance_id, answer.messages, text, other, (good, bad))
    return None


def draw(pairs: Iterable[KnownPair], each: int, seed: int = 0) -> list[KnownPair]:
    """At most `each` pairs of a kind, one of a pull request before a second of any."""
    kinds: defaultdict[str, list[KnownPair]] = defaultdict(list)
    for pair in pairs:
        kinds[pair.kind].append(pair)
    chosen = []
    for kind, found in sorted(kinds.items()):
        Random(f"{seed}/{kind}").shuffle(found)
        met: Counter[str] = Counter()
        ranked = []
        for pair in found:
            ranked.append((met[pair.instance_id], pair))
            met[pair.instance_id] += 1
        chosen += [pair for _, pair in sorted(ranked, key=lambda row: row[0])[:each]]
    return chosen


def better_is_challenger(pair: KnownPair) -> bool:
    """Which side the better turn is asked as: half of the pairs, drawn by their name."""
    return hashlib.sha256(pair.id.encode()).digest()[0] % 2 == 0
