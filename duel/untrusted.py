"""Untrusted text on its way to a judge: what cannot be seen is made visible, attempts to influence are noticed.

Nothing here decides a verdict: fences keep a reply inside its block, and the parser reads only what the judge writes.
"""

import base64
import re
import unicodedata
from collections.abc import Iterator
from functools import cache, partial
from itertools import islice
from urllib.parse import unquote

from duel import chat_tokens, wordlists

# Control characters (but newline and tab), soft hyphen, zero-width and bidi marks, line separators, byte order marks,
# interlinear marks, tag characters and supplementary variation selectors (both smuggle text), lone surrogates.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_HIDDEN = re.compile(
    "[\xad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
_DELIMITER = re.compile(
    r"(?i)(?<!=)={3,}+[ \t]*+(?:END[ \t]+OF[ \t]+)?(?:REPLY|OBSERVED|CONVERSATION|CANDIDATE|RESPONSE|ANSWER"
    r"|HIDDEN PULL REQUEST|AGENT SYSTEM PROMPT)\b|\[(?:The )?(?:Start|End) of (?:Assistant|Reply|Response|Answer)"
    r"|</?(?:reply|candidate|response)[ _]?[12AB]>"
)
_ROLE_LINE = re.compile(
    r"^[ \t>#*]*(?:\[?(?:SYSTEM|DEVELOPER)\]?[ \t]*(?:MESSAGE|PROMPT|NOTE|OVERRIDE)?[ \t]*\**[:\]]|\[INST\]|<<SYS>>"
    r"|<\|(?:im_start|start_header_id|system|user|assistant|eot_id)\|?>?|<(?:system|developer)>)",
    re.IGNORECASE | re.MULTILINE,
)
# Long runs of one alphabet that may hold text: base64 (plain or URL-safe), hexadecimal, percent signs.
_ENCODED = re.compile(
    r"(?<![\w+/-])(?:(?:[0-9a-fA-F]{2}){12,4000}|[A-Za-z0-9+/_-]{24,8000}={0,2}|(?:%[0-9a-fA-F]{2}){8,2000})"
)
_MOST_ENCODED = 50
_DIMENSION_KEY = re.compile(r"[\"'](correctness|grounding|progress|protocol|efficiency)[\"']\s*:", re.IGNORECASE)


def visible(text: str) -> str:
    r"""`text` with every character that cannot be seen written as an escape (`\u200b`); newline and tab stay.

    Control tokens of chat templates are broken: `\x3c|im_end|>`. Doing it twice is doing it once.
    """

    def escape(match: re.Match[str]) -> str:
        code = ord(match[0])
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return chat_tokens.broken(_INVISIBLE.sub(escape, text.replace("\r\n", "\n")))


def attempts(text: str) -> list[str]:
    """The kinds of attempt to influence a judge that `text` shows, in this order. Linear in its length."""
    found = {
        # Three of the five names as keys: chance does not write that into a turn.
        "verdict": len({name.lower() for name in _DIMENSION_KEY.findall(text)}) >= 3,
        "delimiter": _DELIMITER.search(text),
        "role-line": _ROLE_LINE.search(text),
        "address": any(map(_addresses_a_judge, _plain_texts(text))),
        "invisible": _HIDDEN.search(text),
        "control": _CONTROL.search(text),
    }
    return [kind for kind, is_there in found.items() if is_there]


_compiled = cache(partial(re.compile, flags=re.IGNORECASE | re.MULTILINE))


def _addresses_a_judge(text: str) -> bool:
    """Only phrases of which a word stands there are tried: all at each of 1,400 characters would take 3.8 ms."""
    folded = text.replace("\u0130", "i").replace("\u0131", "i").casefold()  # to a regular expression both are an i
    known = wordlists.phrases("attempts").items()
    tried = {pattern for word, patterns in known if word in folded for pattern in patterns}
    return any(_compiled(pattern).search(text) for pattern in tried)


def _plain_texts(text: str) -> Iterator[str]:
    yield unicodedata.normalize("NFKC", _HIDDEN.sub("", text)).replace("\u2019", "'")
    for match in islice(_ENCODED.finditer(text), _MOST_ENCODED):
        decoded = _decoded(match[0])
        if sum(character.isprintable() or character in "\n\t" for character in decoded) > 0.9 * len(decoded):
            yield unicodedata.normalize("NFKC", decoded)


def _decoded(text: str) -> str:
    try:
        if text.startswith("%"):
            return unquote(text, errors="strict")
        if re.fullmatch(r"[0-9a-fA-F]+", text):
            return bytes.fromhex(text[: len(text) // 2 * 2]).decode()
        plain = text.rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
        return base64.b64decode(plain[: len(plain) - (len(plain) % 4 == 1)] + "=" * (-len(plain) % 4)).decode()
    except ValueError:
        return ""
