"""The console command `duel`: which command, and its command line."""

import argparse
import ast
import difflib
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from duel import __version__, command
from duel.errors import EXIT_FINISHED, SettingsError
from duel.stages.opening import add_options, opened, table, taken_by

# Each module holds the command's story (its docstring), and `run(workspace, settings, …)` with what a command line may
# have besides, `plan` and `show`; or `main(arguments)`.
COMMANDS = {
    name: row.get("module", f"duel.stages.{name.replace('-', '_')}") for name, row in table().items() if name != "group"
}


def main() -> NoReturn:
    """The console command: `duel king --plan`."""
    command.run(lambda: call(sys.argv[1:]), installed=True)


def script(name: str) -> NoReturn:
    """A script at the root of the checkout: `python king.py --plan`."""
    command.run(lambda: launch(name, f"{name}.py", sys.argv[1:]))


def call(words: list[str]) -> int:
    """Run what stands in `words` behind `duel`; gives the exit code."""
    name, *rest = words or ["--help"]
    if name in {"-h", "--help", "--version"}:
        print(f"duel-curation {__version__}" if name == "--version" else overview())
        return EXIT_FINISHED
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"one of {', '.join(COMMANDS)}"
        raise SettingsError("there is no such command", value=name, hint=hint)
    return launch(name, f"duel {name}", rest)


def launch(name: str, prog: str, words: list[str]) -> int:
    """Read the command line of one command, called `prog`; then import its stage, plan or run it, and show the rest."""
    begins = source(COMMANDS[name]).read_text("utf-8").split('"""', 2)[:2]  # no need to parse the rest
    story = ast.get_docstring(ast.parse('"""'.join([*begins, ""]))) or ""
    if prog.endswith(".py"):  # examples as they are typed in a checkout, or after an installation
        story = re.sub(r"(?m)^    (\w+)\.py\b", r"    python \1.py", story)
    else:
        story = command.as_installed(story)
    parser = Parser(prog, description=story, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    what = "the folder that holds the run and its chain.toml (default: here)"
    parser.add_argument("--workspace", type=Path, default=Path(), metavar="DIR", help=what)
    add_options(name, parser)
    arguments = parser.parse_args(words)
    stage = import_module(COMMANDS[name])
    if hasattr(stage, "main"):
        return int(stage.main(arguments))
    workspace, settings = opened(arguments, begins="begins" in table()[name])
    if getattr(arguments, "plan", False) and hasattr(stage, "plan"):
        stage.plan(workspace, settings, **taken_by(stage.plan, arguments)).say()
        return EXIT_FINISHED
    result = stage.run(workspace, settings, **taken_by(stage.run, arguments))
    if hasattr(stage, "show"):
        stage.show(result.found, arguments)
    return int(result.exit_code)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors look like all others."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(message, hint=f"`{self.prog} --help` lists what it takes")


def source(module: str) -> Path:
    return Path(__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")


def overview() -> str:
    lines = ["usage: duel COMMAND …", ""]
    for name, module in COMMANDS.items():  # which need not be imported for it
        with source(module).open(encoding="utf-8") as text:
            lines.append(f"  {name:12} {next(text).strip().strip(chr(34))}")
    return "\n".join([*lines, "", "`duel COMMAND --help` tells more."])
