"""When two observations say the same: what no replay can repeat is left out, and the order of lines is free."""

import re

_MODE = r"[bcdlps-][rwxsStT-]{9}[.+@]?"
_LS_DATE = re.compile(
    rf"^((?:Observation: )?(?:\s*\d+ +)?)({_MODE})\s+(\d+)\s+(\S+)\s+(\S+)\s+(\d+(?:,\s*\d+)?[KMG]?)\s+"
    r"(?:[A-Z][a-z]{2}\s+\d{1,2}\s+(?:\d{2}:\d{2}|\d{4})|\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d\.\d+ [+-]\d{4})?)\s",
    re.MULTILINE,
)
_TOTAL = re.compile(r"^((?:Observation: )?)total \d+\S*$", re.MULTILINE)
_STAMP = re.compile(
    r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?: ?[+-]\d{4}|Z)?\b"  # dates
    r"|\b[A-Z][a-z]{2} [A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d (?:[A-Z]+ )?\d{4}\b"
    r"|\b\d+\.\d+ ?s(?:ec(?:onds?)?)?\b"  # durations
    r"|\b0x[0-9a-f]{6,}\b"  # addresses
)
_CHECKOUT = re.compile(r"/tmp/swe_zero_worktrees/[\w.-]+|(?<![\w.-])/(?:repo|testbed)(?![\w.-])")  # noqa: S108
_SHELL = re.compile(r"^((?:Observation: )?)(?:/usr)?/bin/bash: ", re.MULTILINE)


def normal(text: str) -> str:
    """`text` without what no replay repeats: dates, sizes of folders, block counts, durations, addresses, places."""
    text = _LS_DATE.sub(lambda m: f"{m[1]}{m[2]} {'' if m[2][0] == 'd' else m[6]} <date> ", text)
    text = _STAMP.sub("<time>", _TOTAL.sub(r"\1total <n>", text))
    return _SHELL.sub(r"\1bash: ", _CHECKOUT.sub("<checkout>", text)).rstrip()


def alike(ours: str, recorded: str) -> str:
    """How alike two observations are: "exact", "normal" (dates and the like apart), "order" (of lines), or ""."""
    if ours == recorded:
        return "exact"
    mine, theirs = normal(ours), normal(recorded)
    if mine == theirs:
        return "normal"
    mine, theirs = (text.removeprefix("Observation:").strip() for text in (mine, theirs))
    return "order" if sorted(mine.splitlines()) == sorted(theirs.splitlines()) else ""
