"""What every command has in common: exit codes, errors without a traceback, where it talks."""

import contextlib
import os
import platform
import re
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from duel import errors

# SIGHUP is what a closed terminal sends; Windows has none.
ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def as_installed(text: str) -> str:
    """`text` with `duel king` for `king.py`: an installation has no scripts."""
    return re.sub(r"(?<![\w/.-])(prompt|king|ch|validate|report|run)\.py\b", r"duel \1", text)


def run(main: Callable[[], int | None], *, installed: bool = False) -> NoReturn:
    """Call `main` as a program does: its exit code, or a message and the exit code of what it raises.

    `installed`: hints name commands (`duel king`), not scripts. SIGTERM and SIGHUP end it as Ctrl-C does.
    """
    _mend_streams()
    ending = [one for one in ENDING_SIGNALS if signal.getsignal(one) != signal.SIG_IGN]  # `nohup` ignores SIGHUP
    for number in ending:
        signal.signal(number, signal.default_int_handler)
    code = errors.EXIT_INTERRUPTED
    with contextlib.suppress(KeyboardInterrupt, OSError):  # once more, while the first is told of
        code = code_of(main, installed=installed)
        sys.stdout.flush()
    for number in ending:  # any of them now ends Python's own clearing up, without a word
        signal.signal(number, signal.SIG_DFL)
    sys.exit(code)


def code_of(main: Callable[[], int | None], *, installed: bool = False) -> int:
    """The exit code of `main`; what it raises is told on standard error."""
    try:
        return main() or errors.EXIT_FINISHED
    except errors.DuelError as error:
        say(f"error: {as_installed(str(error)) if installed else error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted; run the same command again to go on")
        return errors.EXIT_INTERRUPTED
    except BrokenPipeError:  # `… | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return errors.EXIT_FINISHED
    except ModuleNotFoundError as error:
        if (error.name or "duel").partition(".")[0] == "duel":
            return _crashed(error)
        hint = "run `make setup` in a checkout, or `pip install duel-curation`"
        say_error(errors.UserError("a package is missing", value=error.name, hint=hint))
        return errors.EXIT_USER
    except Exception as error:
        return _crashed(error)


def _crashed(error: Exception) -> int:
    say("".join(traceback.format_exception(error)).rstrip())
    where = f"Python {platform.python_version()} on {platform.platform()}"
    say(f"\nerror: an unforeseen failure, {type(error).__name__}; what was paid for is kept")
    say(f"\nhint: please report it with the lines above, the command and this: {where}")
    return errors.EXIT_CRASHED


def _mend_streams() -> None:
    """Open streams that the caller closed (`2>&-`), and let no character break one that takes ASCII alone."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def say(text: Any = "") -> None:
    """Talk to the person who watches: standard error, so that standard output stays data."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def say_error(error: errors.DuelError) -> None:
    say(f"error: {error}")
