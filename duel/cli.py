"""The console command `duel`: which command, and its command line."""

import difflib
import sys
from pathlib import Path
from typing import NoReturn

from duel import __version__, command
from duel.errors import EXIT_FINISHED, SettingsError

# Each module holds the command's story (its docstring), `add_arguments(parser)` and `main(arguments) -> exit code`.
COMMANDS = {
    "init": "duel.stages.init",
    "doctor": "duel.stages.doctor",
    "run": "duel.stages.whole",
    "prompt": "duel.stages.prompt",
    "king": "duel.stages.king",
    "ch": "duel.stages.challenger",
    "execute": "duel.stages.execute",
    "audit": "duel.stages.audit",
    "verify": "duel.stages.verify",
    "guide": "duel.stages.guide",
    "bench-judges": "duel.stages.bench_judges",
    "validate": "duel.stages.validate",
    "report": "duel.stages.report",
    "refine": "duel.stages.refine",
    "review": "duel.stages.review",
    "export": "duel.stages.export",
    "mine": "duel.stages.mine",
    "calls": "duel.calls.__main__",
    "batches": "duel.stages.batches",
    "scale": "duel.stages.scale",
    "shard": "duel.stages.shard",
    "cluster": "duel.stages.cluster",
}


def main() -> NoReturn:
    """The console command: `duel king --plan`."""
    command.run(lambda: call(sys.argv[1:]), installed=True)


def script(name: str) -> NoReturn:
    """A script at the root of the checkout: `python king.py --plan`."""
    command.run(lambda: command.call(COMMANDS[name], f"{name}.py", sys.argv[1:]))


def call(words: list[str]) -> int:
    """Run what stands in `words` behind `duel`; gives the exit code."""
    name, *rest = words or ["--help"]
    if name in {"-h", "--help"}:
        print(overview())
        return EXIT_FINISHED
    if name == "--version":
        print(f"duel-curation {__version__}")
        return EXIT_FINISHED
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"one of {', '.join(COMMANDS)}"
        raise SettingsError("there is no such command", value=name, hint=hint)
    return command.call(COMMANDS[name], f"duel {name}", rest)


def overview() -> str:
    lines = []
    for name, module in COMMANDS.items():  # which need not be imported for it
        path = Path(__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
        with path.open(encoding="utf-8") as text:
            story = next(text).strip().strip('"')
        lines.append(f"  {name:12} {story}")
    return "\n".join(["usage: duel COMMAND …", "", *lines, "", "`duel COMMAND --help` tells more."])
