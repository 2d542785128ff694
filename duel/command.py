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


def as_installed(text: str) -> str:
    """`text` with `duel king` for `king.py`: an installation has no scripts."""
    return re.sub(r"(?<![\w/.-])(prompt|king|ch|validate|report|run)\.py\b", r"duel \1", text)


def run(main: Callable[[], int | None], *, installed: bool = False) -> NoReturn:
    """Call `main` as a program does: its exit code, or a message and the exit code of what it raises.

    `installed`: hints name commands (`duel king`), not scripts. SIGTERM and SIGHUP end it as Ctrl-C does.
    """
    _mend_streams()
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores the one of a closed terminal
            signal.signal(number, signal.default_int_handler)
    code = code_of(main, installed=installed)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
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
