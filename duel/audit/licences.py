"""Licences: whether a pull request's SPDX expression is allowed by the settings."""

from __future__ import annotations

import re

from duel.settings import Settings

_OPERATORS = re.compile(r"[()]|\s+(?:AND|OR|WITH)\s+", re.IGNORECASE)
# Names that carry no licence at all; they never satisfy an allow-list and can be refused by the name "unknown".
_UNKNOWN = frozenset({"", "noassertion", "none", "other", "unknown", "null"})


def refused(license: str, settings: Settings) -> str:
    """Why a turn under `license` is left out, or "" where it may stay.

    `license` is an SPDX id or expression (`MIT OR Apache-2.0`). With an allow-list, one allowed alternative is enough
    and every part of an `AND` must be allowed; a refused id counts wherever no other alternative stands. Ids are
    compared without case, and `GPL-2.0` stands for `GPL-2.0-only` and `GPL-2.0-or-later` as well.
    """
    allow = {_plain(name) for name in settings.audit.licenses.get("allow", [])}
    refuse = {_plain(name) for name in settings.audit.licenses.get("refuse", [])}
    if not allow and not refuse:
        return ""
    shown = license.strip() or "unknown"
    for alternative in re.split(r"\s+OR\s+|/", license, flags=re.IGNORECASE):
        ids = {_plain(part) for part in _OPERATORS.split(alternative) if part.strip()} or {"unknown"}
        if not ids & refuse and (not allow or ids <= allow):
            return ""
    return f"licence {shown} is refused" if not allow else f"licence {shown} is not among the allowed ones"


def _plain(name: str) -> str:
    """An id without case, without `-only`, `-or-later` and `+`; every way to say "none" is `unknown`."""
    plain = re.sub(r"(-only|-or-later|\+)$", "", name.strip().lower())
    return "unknown" if plain in _UNKNOWN else plain
