"""What every root script's command line has in common: shared flags, exit codes, errors without a traceback."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from duel import errors


class Parser(argparse.ArgumentParser):
    """An argument parser whose help is the script's docstring and whose errors look like all others."""

    def __init__(self, story: str | None) -> None:
        super().__init__(description=story, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
        self.add_argument(
            "--workspace",
            type=Path,
            default=Path(),
            metavar="DIR",
            help="the folder that holds the run and its chain.toml (default: here)",
        )

    def with_offline(self) -> Parser:
        """Add `--offline`."""
        self.add_argument(
            "--offline",
            action="store_true",
            help="no key, no network: the bundled sample and the stand-in endpoint take the place of Hub and models",
        )
        return self

    def with_spending(self) -> Parser:
        """Add what every stage that pays for replies takes."""
        self.add_argument("--plan", action="store_true", help="print calls, tokens and cost, then stop")
        self.add_argument("--budget", type=float, metavar="USD", help="stop cleanly once this run has spent this much")
        self.add_argument("--again", action="store_true", help="ask anew for what is already answered")
        return self

    def error(self, message: str) -> NoReturn:
        """Report a usage error as one line with a hint."""
        raise errors.SettingsError(message, hint=f"`{self.prog} --help` lists what it takes")


def run(main: Callable[[], int | None]) -> NoReturn:
    """Call a script's `main`, turn what it raises into a message and an exit code, and exit."""
    try:
        code = main() or errors.EXIT_FINISHED
    except errors.DuelError as error:
        say_error(error)
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        code = errors.EXIT_INTERRUPTED
    except BrokenPipeError:  # `… | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = errors.EXIT_FINISHED
    sys.stdout.flush()
    sys.exit(code)


def say(text: Any = "") -> None:
    """Talk to the person who watches: standard error, so that standard output stays data."""
    print(text, file=sys.stderr, flush=True)


def say_error(error: errors.DuelError) -> None:
    """Print one error the way all errors look."""
    say(f"error: {error}")
