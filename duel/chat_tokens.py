"""Control tokens of chat templates in plain text: what a tokenizer takes for a switch of role, found and broken."""

import re
from functools import cache

from duel import wordlists

FAMILIES = wordlists.table("chat_tokens")
"""Pattern by family of models; `any` holds what every family's tokens look like."""
CHOICES = ("all", "none", *FAMILIES)  # what `duel export --chat-tokens` takes


def tokens(text: str, family: str = "all") -> list[str]:
    """The control tokens in `text`, each once, of `family` or of all. Raises KeyError for an unknown family."""
    return list(dict.fromkeys(match[1] for start in _starts(family) for match in start.finditer(text)))


def broken(text: str, family: str = "all") -> str:
    r"""`text` with the first character of each control token written as an escape: `\x3c|im_end|>`.

    A tokenizer sees plain characters then, and so does a reader. Of one `family` only its tokens are broken, which is
    what a training set for one model needs. Raises KeyError for an unknown family.
    """
    for start in _starts(family):
        text = start.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
    return text


@cache
def _starts(family: str) -> list[re.Pattern[str]]:
    """`<` or `[` where a token starts, which is their group: `re` finds one character eight times as fast as either."""
    known = "|".join(FAMILIES.values()) if family == "all" else FAMILIES[family]
    return [re.compile(rf"\{first}(?<=(?=({known})).)") for first in "<["]
