"""Control tokens of chat templates in plain text: what a tokenizer takes for a switch of role, found and broken."""

import re
from functools import cache

from duel import wordlists

FAMILIES = wordlists.table("chat_tokens")
"""Pattern by family of models; `any` holds what every family's tokens look like."""
CHOICES = ("all", "none", *FAMILIES)  # what `duel export --chat-tokens` takes


def tokens(text: str, family: str = "") -> list[str]:
    """The control tokens in `text`, each once, of `family` or of all. Raises KeyError for an unknown family."""
    return list(dict.fromkeys(match[0] for match in _pattern(family).finditer(text)))


def broken(text: str, family: str = "") -> str:
    r"""`text` with the first character of each control token written as an escape: `\x3c|im_end|>`.

    A tokenizer sees plain characters then, and so does a reader. With a `family`, only its tokens are broken, which is
    what a training set for one model needs. Raises KeyError for an unknown family.
    """
    return _pattern(family).sub(lambda match: f"\\x{ord(match[0][0]):02x}{match[0][1:]}", text)


@cache
def _pattern(family: str) -> re.Pattern[str]:
    return re.compile(FAMILIES[family] if family else "|".join(FAMILIES.values()))
