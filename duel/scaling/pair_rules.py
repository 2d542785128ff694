"""Why a comment and its code are no pair to learn from; each rule is a reason that is counted.

After CodeSearchNet (Husain et al. 2019, arXiv 1909.09436, section 2), The Vault (Nguyen et al. 2023, arXiv 2305.06156,
section 3) and the docstring filters of StarCoder2's self-instruct.
"""

import re
from functools import cache

from duel.scaling import table

LONGEST_CODE = 200, 12_000
"""Lines and characters."""
_FILLER = frozenset("the a an of and to for this".split())


@cache
def pattern(name: str) -> re.Pattern[str]:
    """One of the patterns of `pair_rules.toml`."""
    return re.compile(table("pair_rules")[name])


def refusal(doc: str, code: str, name: str, kind: str) -> str:
    """Why this is no pair; "" where it is one. `kind` is function, class, interface, constructor or error handler."""
    first = pattern("paragraph").split(doc, maxsplit=1)[0]
    words = re.findall(r"[A-Za-z][A-Za-z'-]+", first)
    if len(words) < (3 if kind == "error handler" else 5):
        return "comment too short"
    if len(doc.split()) > 500:
        return "comment too long"
    if sum(not c.isascii() for c in doc) > 0.1 * len(doc):
        return "comment not in English letters"
    for known in table("pair_rules")["in_comments"]:
        if re.search(known["words"], doc[: known["within"]]):
            return str(known["reason"])
    if len(words) < 8 and "://" in first:
        return "a link, no description"
    if len(pattern("code_like").findall(doc)) > max(1, 0.4 * doc.count("\n")):
        return "commented-out code"
    if any(not re.search(rf"\b{parameter}\b", code) for parameter in pattern("parameter").findall(doc)):
        return "a parameter that is not there"
    told = {word.lower() for word in words} - _FILLER
    if told <= {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}:
        return "the name again"
    return _of_code(code, name, kind)


def _of_code(code: str, name: str, kind: str) -> str:
    lines = sum(bool(line.strip()) for line in code.splitlines())
    if lines < 3:
        return "code under 3 lines"
    if lines > LONGEST_CODE[0] or len(code) > LONGEST_CODE[1]:
        return "code too long"
    if kind == "constructor" or re.fullmatch(r"__\w+__|toString|hashCode|equals|String|Error|constructor|new", name):
        return "a method that every class has"
    if kind == "function" and lines <= 3 and re.fullmatch(r"(?:get|set|is)(?:[A-Z_]\w*)", name):
        return "getter or setter"
    return "a stub" if lines <= 5 and pattern("stub").search(code) else ""
