"""What every command line has in common: shared flags, exit codes, errors without a traceback."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import platform
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from duel import errors


class Parser(argparse.ArgumentParser):
    """An argument parser whose help is a stage's story and whose errors look like all others."""

    def __init__(self, story: str | None, prog: str | None = None) -> None:
        plain = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, description=story, formatter_class=plain, allow_abbrev=False)
        what = "the folder that holds the run and its chain.toml (default: here)"
        self.add_argument("--workspace", type=Path, default=Path(), metavar="DIR", help=what)

    def with_offline(self) -> Parser:
        what = "no key, no network: the bundled sample and the stand-in endpoint take the place of Hub and models"
        self.add_argument("--offline", action="store_true", help=what)
        return self

    def with_spending(self, *, batches: bool = True) -> Parser:
        """Add what every stage that pays for replies takes; `batches`: it can ask in batches."""
        self.add_argument("--plan", action="store_true", help="print calls, tokens and cost, then stop")
        what = "stop cleanly once this run has spent this much"
        self.add_argument("--budget", type=dollars, metavar="USD", help=what)
        self.add_argument("--again", action="store_true", help="ask anew for what is already answered")
        if batches:
            what = "ask in batches: half the price, up to a day a round"
            self.add_argument("--batch", nargs="?", const="on", metavar="PROVIDER", help=what)
            what = "write what would be asked to a file, and ask nothing"
            self.add_argument("--batch-out", metavar="FILE", help=what)
            what = "take the replies in a provider's file of results, and ask nothing"
            self.add_argument("--absorb", metavar="FILE", help=what)
        self.add_argument("--share", metavar="FILE", help="a file { calls, dollars } that says what this run may take")
        return self

    def error(self, message: str) -> NoReturn:
        raise errors.SettingsError(message, hint=f"`{self.prog} --help` lists what it takes")


def dollars(text: str) -> float:
    amount = float(text)
    if not 0 <= amount < math.inf:
        raise argparse.ArgumentTypeError(f"takes dollars: {text}")
    return amount


def call(module: str, prog: str, words: Sequence[str]) -> int:
    """Run the command in `module` (its story, `add_arguments` and `main`) on a command line; gives the exit code."""
    stage = import_module(module)
    story = stage.__doc__ or ""  # with its examples as they are typed after an installation, or in a checkout
    as_typed = (
        re.sub(r"(?m)^    (\w+)\.py\b", r"    python \1.py", story) if prog.endswith(".py") else as_installed(story)
    )
    parser = Parser(as_typed, prog)
    stage.add_arguments(parser)
    return int(stage.main(parser.parse_args(words)))


def as_installed(text: str) -> str:
    """`text` with `duel king` for `king.py`: an installation has no scripts."""
    return re.sub(r"(?<![\w/.-])(prompt|king|ch|validate|report|run)\.py\b", r"duel \1", text)


def run(main: Callable[[], int | None], *, installed: bool = False) -> NoReturn:
    """Call `main` as a program does: its exit code, or a message and the exit code of what it raises.

    `installed`: hints name commands (`duel king`), not scripts.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    _mend_streams()
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), interrupt)
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
