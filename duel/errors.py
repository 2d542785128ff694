"""The error tree: what went wrong, where, the value, and what to do about it.

DuelError
├── UserError       exit code 2: SettingsError, SourceError, WorkspaceError, EndpointError
├── BudgetSpent     exit code 3
├── NotAccepted     exit code 4
└── ItemError       recorded with its reason; the run goes on
"""

EXIT_FINISHED = 0
EXIT_OPEN = 1
EXIT_USER = 2
EXIT_BUDGET = 3
EXIT_NOT_ACCEPTED = 4
EXIT_CRASHED = 70  # sysexits.h: EX_SOFTWARE
EXIT_INTERRUPTED = 130

# An endpoint's own words and a file's own bytes end up in messages; a screen is enough of them.
MAX_VALUE_CHARACTERS = 600


def in_one_line(text: str) -> str:
    """`text` with every control, bidi, zero-width and other invisible character, the newline too, as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable(text: object, limit: int = MAX_VALUE_CHARACTERS) -> str:
    """`text` on one line for a terminal: control and bidi characters escaped, cut at `limit` characters."""
    shown = in_one_line(str(text)[: limit + 1])
    return shown if len(shown) <= limit else shown[:limit] + "…"


class DuelError(Exception):
    """A foreseen failure: `what` happened, `where`, the offending `value`, and a `hint` that helps."""

    exit_code = EXIT_USER

    def __init__(self, what: str, *, where: object = None, value: object = None, hint: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.value, self.hint = what, where, value, hint

    def __str__(self) -> str:
        line = self.what
        if self.where is not None:
            line += f", in `{printable(self.where)}`"
        if self.value is not None:
            line += f": {printable(self.value)}"
        return f"{line}\n\nhint: {self.hint}" if self.hint else line


class UserError(DuelError):
    """The user must change something; there is no traceback."""


class SettingsError(UserError):
    """chain.toml, `.env`, an environment variable or a flag holds something that cannot be used."""


class SourceError(UserError):
    """A dataset, parquet file or session cannot be used as a source."""


class WorkspaceError(UserError):
    """The workspace cannot be used: locked by another run, not writable, disk full."""


class EndpointError(UserError):
    """Every further call would fail the same way: wrong key, no money, unknown model, wrong address."""


class BudgetSpent(DuelError):
    """The spending limit is reached; what was paid for is kept."""

    exit_code = EXIT_BUDGET


class NotAccepted(DuelError):
    """`validate.py --check` was asked and the challenger is not accepted."""

    exit_code = EXIT_NOT_ACCEPTED


class ItemError(DuelError):
    """One item failed. `reason` is a short slug that is counted ("two-blocks", "http-500", "leak")."""

    exit_code = EXIT_OPEN

    def __init__(self, reason: str, what: str = "", **details: object) -> None:
        super().__init__(what or reason, **details)  # type: ignore[arg-type]
        self.reason = reason


def require(holds: object, reason: str, what: str = "", **details: object) -> None:
    """Raise ItemError unless `holds` is true."""
    if not holds:
        raise ItemError(reason, what, **details)
