"""Licenses: whether a pull request's SPDX expression is allowed by the settings."""

import re
from functools import cache
from typing import Any

from duel.settings import Settings

# Names that carry no license at all; they never satisfy an allow-list and can be refused by the name "unknown".
_UNKNOWN = frozenset({"", "noassertion", "none", "other", "unknown", "null"})


def refused(license: str, settings: Settings) -> str:
    """Why a turn under `license` is left out, or "" where it may stay.

    `license` is an SPDX id or expression (SPDX 2.3, annex D). One allowed alternative of an `OR` is enough, every part
    of an `AND` must be allowed. Ids are compared without case, `GPL-2.0` stands for `GPL-2.0-only` and
    `GPL-2.0-or-later` as well, and an exception (`WITH`) changes nothing.
    """
    allow = {_plain(name) for name in settings.audit.licenses.get("allow", [])}
    refuse = {_plain(name) for name in settings.audit.licenses.get("refuse", [])}
    if not allow and not refuse:
        return ""

    def holds(node: Any) -> bool:
        if isinstance(node, str):
            return node not in refuse and (not allow or node in allow)
        operator, parts = node
        return any(map(holds, parts)) if operator == "OR" else all(map(holds, parts))

    if holds(_tree(license)):
        return ""
    shown = license.strip() or "unknown"
    return f"license {shown} is not among the allowed ones" if allow else f"license {shown} is refused"


@cache
def _tree(license: str) -> Any:
    """An expression as nested (operator, parts) with plain ids as leaves. What is no expression needs all its words."""
    from license_expression import ExpressionError, Licensing

    licensing = Licensing()

    def branch(node: Any) -> Any:
        if isinstance(node, licensing.OR | licensing.AND):
            return ("OR" if isinstance(node, licensing.OR) else "AND", [branch(part) for part in node.args])
        return _plain(getattr(node, "license_symbol", node).key)

    try:
        parsed = licensing.parse(license.replace("/", " OR "), simple=True)
        return "unknown" if parsed is None else branch(parsed)
    except (ExpressionError, AttributeError, TypeError, ValueError, RecursionError):
        return ("AND", [_plain(license), *map(_plain, re.findall(r"[\w.+-]+", license))])


def _plain(name: str) -> str:
    """An id without case, without `-only`, `-or-later` and `+`; every way to say "none" is `unknown`."""
    plain = re.sub(r"(-only|-or-later|\+)$", "", name.strip().lower())
    return "unknown" if plain in _UNKNOWN else plain
