"""Licenses: whether a pull request's SPDX expression is allowed by the settings."""

import contextlib
import re
from functools import cache
from typing import Any

from duel.settings import Settings

# Names that carry no license at all; they never satisfy an allow-list and can be refused by the name "unknown".
_UNKNOWN = frozenset({"", "noassertion", "none", "other", "unknown", "null"})


def refused(license: str, settings: Settings) -> str:
    """Why a turn under `license` is left out, or "" where it may stay.

    `license` is an SPDX id or expression (SPDX 2.3, annex D). One allowed alternative of an `OR` is enough, every part
    of an `AND` must be allowed; what is no expression needs all its words. Ids are compared without case, `GPL-2.0`
    stands for `GPL-2.0-only` and `GPL-2.0-or-later` as well, and an exception (`WITH`) changes nothing.
    """
    allow = {_plain(name) for name in settings.audit.licenses.get("allow", [])}
    refuse = {_plain(name) for name in settings.audit.licenses.get("refuse", [])}

    def holds(node: Any) -> bool:
        if operator := getattr(node, "operator", "").strip():
            return any(map(holds, node.args)) if operator == "OR" else all(map(holds, node.args))
        plain = _plain(node if isinstance(node, str) else getattr(node, "license_symbol", node).key)
        return plain not in refuse and (not allow or plain in allow)

    shown = license.strip() or "unknown"
    with contextlib.suppress(RecursionError):  # nobody means an expression that is nested so deep
        if not (allow or refuse) or all(map(holds, _parsed(license))):
            return ""
    return f"license {shown} is not among the allowed ones" if allow else f"license {shown} is refused"


@cache
def _parsed(license: str) -> list[Any]:
    from license_expression import ExpressionError, Licensing

    try:
        parsed = Licensing().parse(license.replace("/", " OR "), simple=True)
    except (ExpressionError, AttributeError, TypeError, ValueError, RecursionError):
        return [license, *re.findall(r"[\w.+-]+", license)]
    return ["unknown" if parsed is None else parsed]


def _plain(name: str) -> str:
    """An id without case, without `-only`, `-or-later` and `+`; every way to say "none" is `unknown`."""
    plain = re.sub(r"(-only|-or-later|\+)$", "", name.strip().lower())
    return "unknown" if plain in _UNKNOWN else plain
