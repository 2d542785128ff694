"""Who compares and who checks: three judges with their own strictness, noise and lean, and the auditor of a turn."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from duel import turn
from duel.offline.rules.conversation import ShownConversation, fence_of, fraction, paths_in
from duel.records import DIMENSIONS

_FENCED = fence_of("REPLY 1", "OBSERVED 1", "REPLY 2", "OBSERVED 2")
_ASKED = re.compile(r'"([a-z]+)": 1\|2\|0')
_AUDITED = fence_of("CONVERSATION", "TURN")
_FORBIDDEN = re.compile(
    r"(?:^|[|&;]\s*)(?:cd|python3?|pytest|pip|node|npm|npx|cargo|go|make|gcc|java|mvn|ruby|perl|bash|sh|eval|source)\b",
    re.MULTILINE,
)
# Prints more than anyone wants to read.
_BROAD = re.compile(r"ls -R|grep -r\w* \"(?:return|import|error|main|TODO)\"|cat \S+ \S+|git log")
_CONCLUDES = re.compile(
    r"(?i)\b(?:because|since|cause|culprit|(?:problem|issue|bug|reason|fix|error) (?:is|lies)|should|must|needs?"
    r"|instead of|rather than|never|missing|lacks?|fails?|forgets?|ignores?|wrongly|without)\b"
)
# A step that looks for something states nothing.
_LOOKS = re.compile(
    r"(?i)\b(?:let me|i(?:'ll| will| want| need| would|'d)|maybe|probably|may|might|could|where|whether)\b"
)
SHARED = 0.5  # of a conclusion's words a line must hold to count as its ground
REMARKS = {
    "correctness": "the {worse} reply's command is less likely to do what it says",
    "grounding": "the {worse} reply relies on what was not observed",
    "progress": "the {better} reply does more for the issue",
    "protocol": "the {worse} reply departs from the required form",
    "efficiency": "the {better} reply gets there with less",
}


class Temper(NamedTuple):
    noise: float  # how far a comparison is off at most, in quality (0 to 1), anew in each order
    lean: float  # how much the reply that is shown first is favored
    band: float  # differences below this are draws


# By the last letter of the model's name; set so that a fifth to a third of near-equal pairs flip, as with real judges.
TEMPERS = {
    "a": Temper(noise=0.22, lean=0.04, band=0.08),
    "b": Temper(noise=0.32, lean=0.07, band=0.06),
    "c": Temper(noise=0.26, lean=-0.05, band=0.10),
}


def reply(messages: Sequence[Mapping[str, Any]], model: str) -> str:
    """The verdict as one JSON object; a remark that it is rule-made stands in its reason."""
    shown, told = replies(str(messages[-1]["content"]))
    if not {"REPLY 1", "REPLY 2"} <= told.keys():
        return "I cannot find the two replies."
    first, second = told["REPLY 1"], told["REPLY 2"]
    conversation, seed = ShownConversation(shown), "\0".join([model, shown, first, second])
    one, two = (assess(told[f"REPLY {n}"], conversation, told.get(f"OBSERVED {n}", "")) for n in (1, 2))
    temper = TEMPERS.get(model[-1:], TEMPERS["a"])
    gaps = {name: one[name] - two[name] for name in DIMENSIONS}
    gaps |= dict.fromkeys(set(_ASKED.findall(str(messages[0]["content"]))) - gaps.keys(), 0.0)  # nothing known of these
    widest = max(gaps, key=lambda name: abs(gaps[name]))
    better, worse = ("first", "second") if gaps[widest] > 0 else ("second", "first")
    remark = REMARKS[widest].format(better=better, worse=worse)
    if abs(gaps[widest]) < 0.05:
        remark = "the two replies are about equally good"
    verdict: dict[str, Any] = {"reason": f"Rule-made: {remark}."}
    for name, gap in gaps.items():
        off = temper.noise * (2 * fraction(seed, name) - 1) + temper.lean
        verdict[name] = 0 if abs(gap + off) < temper.band else (1 if gap + off > 0 else 2)
    return json.dumps(verdict, ensure_ascii=False)


def replies(asked: str) -> tuple[str, dict[str, str]]:
    """What stands before the last fenced replies of a judge's prompt, and their texts by label."""
    found = list(_FENCED.finditer(asked))
    found = [fenced for fenced in found if fenced[2] == found[-1][2]]
    shown = asked[: found[0].start()].replace(found[0][2], "") if found else ""
    return shown, {fenced[1]: fenced[3] for fenced in found}


def assess(text: str, conversation: ShownConversation, observed: str = "") -> dict[str, float]:
    """The quality of one reply in each dimension, from 0 to 1; one that was run is as correct as its exit code."""
    command = turn.command(text)
    named = paths_in(command)
    unseen = [path for path in named if path not in conversation.paths]
    repeated = " ".join(command.split()) in {" ".join(before.split()) for before in conversation.commands}
    forbidden = bool(_FORBIDDEN.search(command))
    well_formed = turn.format_ok(text)
    # How much a command has to do with the issue, from 0 to 1: by the words it searches and the files it reads.
    searched = 0.7 * any(word in command for word in [*conversation.code_words, *conversation.words[:12]])
    fresh = [path for path in named if path in conversation.paths and path not in conversation.read]
    best = max((conversation.relevance(path) for path in conversation.paths), default=1.0)
    read = max((conversation.relevance(path) for path in fresh), default=0.0) / max(best, 1.0)
    changes = 0.9 * bool(re.search(r"\bsed -i|<<|COMPLETE_TASK", command) and conversation.read)
    telling = min(1.0, max(searched, read, changes, 0.5 * (not conversation.paths)))
    grounded = 1.0 - 0.7 * len(unseen) / max(1, len(named)) if named else 0.75
    qualities = {
        "correctness": 0.35 * well_formed + 0.35 * (not unseen) + 0.3 * telling - 0.4 * forbidden,
        "grounding": grounded - 0.15 * repeated + 0.1 * telling - 0.3 * forbidden,
        "progress": 0.15 + 0.75 * telling - 0.5 * repeated - 0.2 * bool(unseen),
        "protocol": 0.6 * well_formed + 0.3 * (not forbidden) + 0.1 * text.lstrip().startswith("THOUGHT:"),
        "efficiency": (0.9 - 0.5 * repeated - 0.25 * bool(_BROAD.search(command)) - len(text) / 2500 + 0.2 * telling),
    }
    if observed:
        qualities["correctness"] = 0.8 if re.search(r"\Aran: yes\nexit code: 0\n", observed) else 0.3
    return {name: min(1.0, max(0.0, value)) for name, value in qualities.items()}


def claims(messages: Sequence[Mapping[str, Any]]) -> str:
    """The auditor: each conclusion of a turn with the line that shares most words with it, as one JSON object."""
    found = {label: text for label, _, text in _AUDITED.findall(str(messages[-1]["content"]))}
    lines = [(line.strip(), _stems(line)) for line in found.get("CONVERSATION", "").splitlines() if line.strip()]
    told = []
    for sentence in re.findall(r"[^.!?\n]{12,400}", turn.thought(found.get("TURN", ""))):
        said = sentence.strip()
        if _CONCLUDES.search(said) and not _LOOKS.search(said):
            wanted = _stems(said)
            line, words = max(lines, key=lambda line: len(wanted & line[1]), default=("", frozenset()))
            grounded = wanted and len(wanted & words) >= SHARED * len(wanted)
            told.append({"said": said, "quote": line if grounded else ""})
    return json.dumps({"claims": told})


def _stems(text: str) -> frozenset[str]:
    return frozenset(re.sub(r"(?:ing|ed|es|s)$", "", word) for word in re.findall(r"[a-z]{4,}", text.casefold()))
