"""How one model wants to be asked: which parameters it refuses and which it knows under another name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Refused under the first name, asked under the second.
RENAMED = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
# Never left out: without them the question is another one.
_NEEDED = frozenset({"model", "messages", "stream"})
# Words with which endpoints refuse a parameter as such. "must be below 1" is not among them: the user's value is wrong.
_REFUSES = re.compile(
    r"(?i)\b(?:un|not )support|does(?:n't| not) support|not (?:allowed|permitted|available|accepted|recognized)|"
    r"(?:unknown|unrecogni[sz]ed|unexpected|extra|extraneous|deprecated|additional) |only .{0,40}(?:allowed|supported)|"
    r"\bunknown\b|\bextra_forbidden\b|\bdeprecated\b|cannot be (?:set|used|combined)"
)
_WORD = re.compile(r"[a-z_][a-z0-9_]*")
# Left out wherever a refusal names them: they change how the reply comes, not what is asked.
_OPTIONAL = frozenset({"response_format", "chat_template_kwargs", "stream_options"})
# What stands inside an optional parameter.
_INSIDE = {
    "enable_thinking": "chat_template_kwargs",
    "json_schema": "response_format",
    "include_usage": "stream_options",
}


@dataclass
class Dialect:
    """What was learnt of one model."""

    without: set[str] = field(default_factory=set)
    """Parameters that are left out."""
    renamed: dict[str, str] = field(default_factory=dict)

    @property
    def changes(self) -> int:
        return len(self.without) + len(self.renamed)

    def apply(self, body: dict[str, Any]) -> None:
        for name in self.without:
            body.pop(name, None)
        for name, other in self.renamed.items():
            if name in body:
                body[other] = body.pop(name)

    def learn(self, words: str, body: Mapping[str, Any]) -> str:
        """What to do about a refusal that says `words` of `body`, as the user is told; "" if it is not about a name."""
        said = [_INSIDE.get(word, word) for word in _WORD.findall(words.lower())]
        refused = _REFUSES.search(words) is not None
        named = [name for name in body if name in said and (name in _OPTIONAL or (refused and name not in _NEEDED))]
        # The first one named is the one refused: "'max_tokens' is not supported … use 'max_completion_tokens'".
        name = min(named, key=said.index, default="")
        if name in RENAMED and name not in self.renamed.values():
            self.renamed[name] = RENAMED[name]
            return f"{name} is sent as {RENAMED[name]}"
        if not name or name in RENAMED:
            return ""
        self.without.add(name)
        return f"{name} is left out"
