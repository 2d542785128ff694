"""What coaches said of a turn, as its writer may read it: from its own side, with nothing of the other reply."""

import re
from collections.abc import Iterator, Sequence

from duel import turn
from duel.records import DIMENSIONS, Message, Vote
from duel.untrusted import visible

OWN, OTHER = "your turn", "the other turn"
# A reason may be 2,000 characters long; a writer needs the point, and its window is full of the conversation.
CHARACTERS = 1_200
RUN = 4  # so many words in a row that stand in the other reply and nowhere else are a quotation
_NOUN = r"(?:reply|response|answer|candidate|turn|option|submission|agent|assistant|solution|output)"
_VERB = r"(?:is|was|has|does|would|will|may|can|only|also|just|wins|fails|[a-z]{3,}s)"
_BOTH = re.compile(r"(?i)\b(?:replies|responses|answers|candidates|turns)\s+(?:1|A)\s*(?:and|&|,|/)\s*(?:2|B)\b")
_NAMED = re.compile(rf"(?i)\b(?:the\s+)?{_NOUN}[\s#_]*(?P<place>1|2|A|B|one|two)\b")
_ORDINAL = re.compile(
    rf"(?i)\b(?:the\s+)?(?P<place>first|second|1st|2nd)(?:[- ]shown)?\s+(?:{_NOUN}|one)\b"
    rf"|\bthe\s+(?P<bare>first|second|former|latter)(?='s\b|\s+{_VERB}\b|\s*[.,;:)]|$)"
)
_FIRST = {"1", "a", "one", "first", "1st", "former"}
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_QUOTED = re.compile(r"`([^`\n]+)`|\"([^\"\n]+)\"|“([^”\n]+)”|'([^'\n]{2,})'")
_WORD = re.compile(r"[^\W_]+")
_CODE = re.compile(r"\w*(?:_|\d|[a-z][A-Z])\w*")


def for_writer(votes: Sequence[Vote], own: str, other: str, history: Sequence[Message]) -> str:
    """One paragraph a vote: who was better at what, then the sentences that may be told. "" without any vote."""
    private = PrivateWords(other, "\n".join([own, *(message.content for message in history)]))
    numbers = {judge: number for number, judge in enumerate(dict.fromkeys(vote.judge for vote in votes), start=1)}
    words, told = {1.0: OWN, 0.0: OTHER}, []
    for vote in (vote for vote in votes if vote.parsed):
        better = ", ".join(f"{name}: {words.get(getattr(vote, name), 'neither')}" for name in DIMENSIONS)
        reason = visible(from_own_side(vote, private))
        told.append(f"Reviewer {numbers[vote.judge]}. Better in {better}.\n{reason}".strip())
    return "\n\n".join(dict.fromkeys(told))


def from_own_side(vote: Vote, private: "PrivateWords") -> str:
    """The reason of `vote` in the writer's words, without the sentences that quote the other reply."""
    names = (OTHER, OWN) if vote.order == "king_first" else (OWN, OTHER)

    def name(match: re.Match[str]) -> str:
        place = (match["place"] or match.groupdict().get("bare") or "").lower()
        return names[0 if place in _FIRST else 1]

    sentences = [sentence for sentence in _SENTENCE.split(vote.reason) if not private.quoted_in(sentence)]
    text = _NAMED.sub(name, _BOTH.sub("both turns", " ".join(sentences)))
    return _ORDINAL.sub(name, text)[:CHARACTERS].strip()


class PrivateWords:
    """What stands in the other reply and in nothing that the writer has seen."""

    def __init__(self, other: str, seen: str) -> None:
        self._other, self._seen = " ".join(other.split()), " ".join(seen.split())
        named = " ".join([turn.command(other), *_CODE.findall(other)]).lower()
        self.words = {word for word in _WORD.findall(named) if len(word) > 2} - set(_WORD.findall(seen.lower()))
        self.runs = set(_runs(other)) - set(_runs(seen))

    def quoted_in(self, sentence: str) -> bool:
        """True where a sentence tells words, a run of words or a quotation of the other reply."""
        if self.words & set(_WORD.findall(sentence.lower())) or self.runs & set(_runs(sentence)):
            return True
        spans = (" ".join("".join(groups).split()) for groups in _QUOTED.findall(sentence))
        return any(span in self._other and span not in self._seen for span in spans)


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return zip(*(words[start:] for start in range(RUN)), strict=False)
