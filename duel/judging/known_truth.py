"""A benchmark of judges: pairs whose better side is known without asking anyone, and what judges make of them.

By construction: the good side is the recorded turn of a run where its own observation bears it out; the other side is
the same turn with one flaw. By execution: both commands ran from one state, and one failed, edited nothing or flooded.
Controls have no better side: a judge must call them draws.
"""

import csv
import gzip
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import numpy as np

from duel import shell, turn
from duel.errors import SourceError
from duel.judging.statistics import effective_votes, mean_correlation, pair_correlations
from duel.records import Answer, Message, Observed
from duel.records.record import plain

_FAILED = re.compile(
    r"^(?:Observation: )?(?:Traceback|bash:|grep: .*No such|ls: cannot|cat: .*No such|error:)", re.MULTILINE
)
_CODE = re.compile(r"<returncode>(-?\d+)</returncode>")
_PATH = re.compile(r"(?<![\w/.-])(?:[\w.-]+/)+[\w-]+\.\w{1,4}\b")
_SUBSTITUTION = re.compile(r"sed -i[^\n]*?s([/|#])(.+?)\1(.*?)\1")
_CERTAIN = re.compile(r"No such file|(?:unrecognized|unknown|invalid) option|command not found|syntax error|EOF")
_NO_FLAGS = {"grep": "--recursive-dirs", "sed": "--print-lines", "ls": "--long-list"}
_NO_FLAGS |= {"cat": "--line-numbers", "head": "--rows=20"}


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
    told = match and match[2] != match[3] and not re.search(r"[\\.*\[\]^$]", match[2])
    return command[: match.start(3)] + match[2] + command[match.end(3) :] if match and told else None


def broken_quote(command: str, _about: Context) -> str | None:
    """An unterminated quote: a syntax error."""
    start, quote, end = command.rpartition("'")
    fits = command.count(quote or "'") == 2 and '"' not in command and not shell.parse(start + end).valid
    return start + end if fits else None


def early_submit(_command: str, about: Context) -> str | None:
    """The end of the task, where nothing is changed yet."""
    return f"echo {shell.SENTINELS[0]}" if not about.edited and about.edits_later else None


FLAWS: dict[str, Callable[[str, Context], str | None]] = {"repeats": redundant, "no-such-file": ghost_file}
FLAWS |= {"wrong-flag": wrong_flag, "edits-nothing": edits_nothing, "broken-quote": broken_quote}
FLAWS |= {"early-submit": early_submit}


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
    both = [one for one in (answer.chosen("king"), answer.chosen("challenger")) if one is not None]
    sides = [(answer.text_of(one), one.observed) for one in both if one.observed is not None]
    for (text, good), (other, bad) in (sides, sides[::-1]) if len(sides) == 2 else ():
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
        rank: dict[str, int] = {}
        for pair in found:
            rank[pair.id] = met[pair.instance_id]
            met[pair.instance_id] += 1
        chosen += sorted(found, key=lambda pair: rank[pair.id])[:each]
    return chosen


def better_is_challenger(pair: KnownPair) -> bool:
    """Which side the better turn is asked as: half of the pairs, drawn by their name."""
    return hashlib.sha256(pair.id.encode()).digest()[0] % 2 == 0


ALL = "all"
# (judge, pair's id) -> what each order said: 1.0 for the better side, 0.5 drawn, 0.0 for the worse, None unparsed.
Says = Mapping[tuple[str, str], Sequence[float | None]]


def judge_table(pairs: Sequence[KnownPair], said: Says, costs: Mapping[tuple[str, str], float]) -> list[dict[str, Any]]:
    """A row for each judge and kind, and one over all kinds but controls. `costs`: (judge, pair's id) -> dollars.

    A preference that turns with the order is a draw, and a flip. Of controls, a draw is right and any preference wrong.
    Accuracy counts a draw half, over the parsed pairs; its interval is over pull requests, not over pairs.
    """
    known = {pair.id: pair for pair in pairs}
    # (judge, kind) -> (outcome, pull request, flipped, dollars)
    found: defaultdict[tuple[str, str], list[tuple[str, str, bool, float]]] = defaultdict(list)
    for (judge, item), orders in said.items():
        if (pair := known.get(item)) is None:
            continue
        values = [value for value in orders if value is not None]
        outcome, flipped = "unparsed", False
        if values and len(values) == len(orders):
            lean = sum(values) / len(values) - 0.5
            drawn, won = ("right", "wrong") if pair.control else ("drawn", "right")
            outcome = drawn if lean == 0 else won if lean > 0 else "wrong"
            flipped = min(values) < 0.5 < max(values)
        for kind in (pair.kind, *(() if pair.control else (ALL,))):
            found[judge, kind].append((outcome, pair.instance_id, flipped, costs.get((judge, item), 0.0)))
    judges, rows = list(dict.fromkeys(judge for judge, _ in found)), []
    for judge, kind in sorted(found, key=lambda one: (judges.index(one[0]), one[1] == ALL)):
        outcomes = found[judge, kind]
        count = Counter(outcome for outcome, *_ in outcomes)
        clusters = {pull for outcome, pull, *_ in outcomes if outcome != "unparsed"}
        right, parsed = count["right"] + count["drawn"] / 2, len(outcomes) - count["unparsed"]
        accuracy, cost = right / parsed if parsed else None, sum(cost for *_, cost in outcomes)
        row: dict[str, Any] = {"judge": judge, "kind": kind, "pairs": len(outcomes), "pull_requests": len(clusters)}
        row |= {"accuracy": accuracy, "interval": None if accuracy is None else wilson(accuracy, len(clusters))}
        row |= {name: count[name] for name in ("right", "drawn", "wrong")}
        row |= {"flips": sum(flipped for _, _, flipped, _ in outcomes), "unparsed": count["unparsed"]}
        row |= {"abstention": (count["drawn"] + count["unparsed"]) / len(outcomes), "cost": cost}
        rows.append(row | {"known_a_dollar": right / cost if cost and parsed else None})
    return rows


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `count` independent ones."""
    square = 1.96**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = 1.96 * sqrt(share * (1 - share) / count + square / (4 * count**2)) / (1 + square / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def panel_figures(pairs: Sequence[KnownPair], said: Says) -> list[dict[str, Any]]:
    """The whole panel, and the panel without each judge: accuracy of its mean vote, and how many votes it is worth.

    On pairs with a better side that all judges parsed. The errors of a judge are 1 less its mean vote.
    """
    judges, means = list(dict.fromkeys(judge for judge, _ in said)), []
    for pair in pairs:
        votes = [said.get((judge, pair.id), ()) for judge in judges]
        if not pair.control and all(vote and None not in vote for vote in votes):
            means.append([fmean(value for value in vote if value is not None) for vote in votes])
    if not means or len(judges) < 2:
        return []
    rows = []
    for without in ("", *(judges if len(judges) > 2 else ())):
        votes_left = np.array(means)[:, [judge != without for judge in judges]]
        size, panel = votes_left.shape[1], votes_left.mean(1)
        worth = effective_votes(size, mean_correlation(pair_correlations(votes_left, 1.0)))
        accuracy = (panel > 0.5 + 1e-9).mean() + (abs(panel - 0.5) <= 1e-9).mean() / 2
        found = {"without": without, "judges": size, "pairs": len(means), "accuracy": accuracy}
        rows.append(plain(found | {"effective_votes": worth}))
    return rows


# Published verdicts: choices are 1, 2 or 0 (tie) by the item's own numbering.
# A reply without a choice ("garbage") counts as a tie: the accuracies then come out as they are quoted for this set.
_CHOICES = {"1": 1, "2": 2, "0": 0, "tie": 0, "garbage": 0}
_ORDERS = ("winner_unswapped", "winner_swapped")
_PEOPLE = "annotator"
_ABOUT = frozenset({"", "idx", "motivation_app", "cmp_key", "len_1", "len_2"})


def read_labels(path: Path) -> tuple[list[KnownPair], dict[tuple[str, str], tuple[float, ...]]]:
    """(pairs, what each judge said of each). Raises SourceError for a file in neither shape.

    LLMBar's table has a row for each judge, prompt and item with its choice in both orders; PandaLM's a row for each
    item with three people's labels, of which most must agree, and a column for each judge.
    """
    pairs, said = dict[str, KnownPair](), dict[tuple[str, str], tuple[float, ...]]()
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            columns = [str(column) for column in table.fieldnames or ()]
            people = [name for name in columns if name.startswith(_PEOPLE)]
            llmbar = {"judge", "item", "label", *_ORDERS} <= {*columns}
            if not llmbar and f"{_PEOPLE}1" not in people:
                hint = f"columns judge, item, label, {', '.join(_ORDERS)}; or annotator1 … and a column a judge"
                raise SourceError("the labels are in no known shape", where=path, hint=hint)
            for number, row in enumerate(table):
                if llmbar:
                    kind, label = row.get("subset") or "labels", row["label"]
                    name = f"{kind}/{row['item']}"
                    cast = {" ".join(filter(None, (row["judge"], row.get("strategy")))): [row[one] for one in _ORDERS]}
                else:
                    kind, name = "labels", str(number)
                    label, votes = Counter(row[one] for one in people).most_common(1)[0]
                    label = label if 2 * votes > len(people) else ""
                    cast = {one: [row[one]] for one in columns if one not in _ABOUT and one not in people}
                if (truth := _choice(label)) is None:
                    continue
                # An item whose label is a tie has no better side: a control.
                pairs[name] = KnownPair(name, kind if truth else f"control: {kind}", name, (), "", "")
                # 1 for the label, 0.5 for a tie, else 0: published figures count an empty choice as wrong.
                values: dict[int | None, float] = {0: 0.5, truth: 1.0 if truth else 0.5}
                for judge, choices in cast.items():
                    said[judge, name] = tuple(values.get(_choice(choice), 0.0) for choice in choices)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError("the labels cannot be read", where=path, value=str(error)) from None
    return list(pairs.values()), said


def _choice(text: str | None) -> int | None:
    return _CHOICES.get(str(text).strip().lower())
