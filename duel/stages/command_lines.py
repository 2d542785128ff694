"""The command line of every stage: its options, told here alone.

A help text needs this table and the first docstring of the stage; the stage itself, with all that it imports, is
imported when it runs. An option that is not given leaves the default that the stage's `run` has.
"""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from duel import chat_tokens

Row = tuple[str, dict[str, Any]]


def option(name: str, what: str, **how: Any) -> Row:
    """What `add_argument` takes; without anything else a switch."""
    return name, {"help": what, **(how or {"action": "store_true"})}


def dollars(text: str) -> float:
    amount = float(text)
    if not 0 <= amount < math.inf:
        raise ArgumentTypeError(f"takes dollars: {text}")
    return amount


def at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise ArgumentTypeError(f"must be a number of at least {least}: {text}")
        return int(text)

    return number


OFFLINE = option(
    "--offline", "no key, no network: the bundled sample and the stand-in endpoint take the place of Hub and models"
)
ANEW = option("--again", "ask anew for what is already answered")
AGAIN = option("--again", "do anew also what is done")
BUDGET = option("--budget", "stop cleanly once this run has spent this much", type=dollars, metavar="USD")
SHARE = option("--share", "a file { calls, dollars } that says what this run may take", metavar="FILE")
BACKEND = option("--backend", "where commands run, in place of [execute] backend", metavar="NAME")
OPEN = option("--open", "open the page in the browser")
ASKING = [OFFLINE, option("--plan", "print calls, tokens and cost, then stop"), BUDGET, ANEW, SHARE]
"""What every stage that pays for replies takes."""
PAYING = [
    *ASKING,
    option("--batch", "ask in batches: half the price, up to a day a round", nargs="?", const="on", metavar="PROVIDER"),
    option("--batch-out", "write what would be asked to a file, and ask nothing", metavar="FILE"),
    option("--absorb", "take the replies in a provider's file of results, and ask nothing", metavar="FILE"),
]
SCALE = ("combine", "pairs", "public", "sessions", "duels", "synthesize", "augment")
SCALED = (
    "pairs: git repositories; public, sessions: files, folders, Hub ids; synthesize: OWNER/NAME@COMMIT; augment:"
    " synthetic, public, sessions"
)
THOUGHTS = ("text", "think", "reasoning_content")
CHATS = ("all", "none", *chat_tokens.FAMILIES)
DRAW = [
    option("--source", "trajectories: parquet file, folder, glob or Hub dataset", metavar="PATH|HUB"),
    option("--pulls", 'pull requests, in the same ways; "" for none', metavar="PATH|HUB"),
    option("--n", "prompts to sample", type=int, metavar="N"),
    option("--files", "parquet files to draw them from", type=int, metavar="F"),
    option("--seed", "seed of every draw", type=int, metavar="S"),
]


def export_format() -> Row:
    from duel.exports import formats

    names = ", ".join(formats.FORMATS)
    return option("--format", f"with commas, of: {names} (default: sft)", default="sft", metavar="NAMES")


def session_format() -> Row:
    from duel.sources.sessions import session_formats

    names = session_formats.formats()
    return option("--format", f"read as {', '.join(names)}", choices=names, default="", metavar="NAME")


OPTIONS: dict[str, Sequence[Row | Callable[[], Row]]] = {
    "prompt": [
        OFFLINE,
        *DRAW,
        option("--plan", "print what would be downloaded, then stop"),
        option("--again", "draw anew, from the newest revision"),
    ],
    "run": [
        *PAYING,
        *DRAW,
        option("--check-models", "first ask each model for one token"),
        option("--execute", "also run the candidates' commands, in this back end", dest="backend", metavar="BACKEND"),
    ],
    "audit": [
        *PAYING,
        option("--side", "whose turns are audited (default: challenger)", choices=("king", "challenger", "assistant")),
    ],
    "validate": [
        *PAYING,
        option("--check", "exit with code 4 where the challenger is not accepted"),
        option("--regate", "the verdict anew from score/, without a call"),
        option("--noise-floor", "judge N kings against themselves", type=at_least(0), metavar="N"),
        option("--canary", "judge N kings with an attack added", type=at_least(0), metavar="N"),
        option("--confirm", "judge the final turns once more on fresh replies"),
    ],
    "verify": [
        OFFLINE,
        AGAIN,
        BACKEND,
        option("--from", "trajectories, in place of [sample]", dest="source", metavar="FILE"),
        option("--limit", "verify at most N rollouts", type=int, metavar="N"),
        option("--seconds", "what one run of tests may take", type=float, metavar="S"),
    ],
    "guide": [  # an agent waits for each of its steps: no batches
        *ASKING,
        BACKEND,
        option("--agent", "the agent, in place of [guide] agent_model", metavar="MODEL"),
        option("--report", "write report/guide.md and guide.svg, then stop"),
    ],
    "bench-judges": [
        *PAYING,
        BACKEND,
        option("--labels", "published verdicts (CSV) in place of asking", metavar="FILE"),
        option("--each", "pairs of a kind (default: 12)", type=int, metavar="N"),
        option("--rollouts", "rollouts that pairs are made from (default: 200)", type=int, metavar="N"),
    ],
    "review": [
        OFFLINE,
        OPEN,
        option("--rater", "who votes (default: the name of the account)", metavar="NAME"),
        option("--count", "turns drawn for this person (default: 100)", type=at_least(1)),
        option("--page", "write the page as one file", type=Path, metavar="FILE"),
        option("--take", "take the votes that such a page gave back", type=Path, metavar="FILE"),
        option("--browse", "also show these turns; never counted", nargs="+", metavar="TURN"),
        option("--figures", "say what people's votes make of the panel"),
        option("--port", "where the page is served (default: one of this person's own)", type=int),
        option("--json", "print people's figures as JSON on standard output"),
    ],
    "export": [
        OFFLINE,
        export_format,
        option("--from", "trajectories in place of the duel's turns", dest="source", metavar="PATH|GLOB"),
        option("--buckets", "final, refined (default: final)", default="final", metavar="NAMES"),
        option("--defeat-pairs", "also the turns of defeat/ that the king won as clearly"),
        option("--filter", "error-recovery, success", default="", metavar="NAMES"),
        option("--outcomes", "what `duel verify` wrote, or instance id: true or false", type=Path, metavar="FILE"),
        option("--pairs-per-instance", "pairs of runs of one pull request at most", type=at_least(1), default=0),
        option("--per-turn", "with --from: a row for each well-formed turn (sft-completion: always)"),
        option("--turns", "turns of a style and of a third of a run (default: 8)", type=at_least(1), default=8),
        option("--split", "train/validation/test in percent (default: 100, no split)", default="100"),
        option("--group", "what stays whole in a split (default: repo)", default="repo", choices=("repo", "pr")),
        option("--seed", "seed of every draw (default: 0)", type=int, default=0),
        option("--max-per-repo", "examples of one repository at most", type=at_least(1), metavar="N"),
        option("--max-tokens", "leave out examples longer than this (estimated tokens)", type=at_least(1), metavar="N"),
        option(
            "--fit", "shorten histories so that accepted turns are whole in N tokens", type=at_least(1), metavar="N"
        ),
        option("--tokenizer", "count with this model's tokenizer (a folder or a Hub name)", default="", metavar="NAME"),
        option("--thought", "where thoughts stand (default: text)", default="text", choices=THOUGHTS),
        option(
            "--chat-tokens", "break control tokens of these chat templates (default: all)", default="all", choices=CHATS
        ),
        option("--weights", "columns `weight`, `margin` and `score_expected` in each row"),
        option("--balance", "none holds more than an even share", choices=("style", "repo", "license")),
        option("--system", "the system prompt to write in place of the recorded one", type=Path, metavar="FILE"),
        option("--push", "upload to the Hub; private", metavar="OWNER/NAME"),
        option("--public", "with --push: a public repository"),
        option("--yes", "with --push: overwrite without a question"),
    ],
    "mine": [
        option("place", "log, folder or Hub dataset (default: where agents keep their logs)", nargs="*"),
        option("--out", "default: mined.parquet in the workspace", type=Path, metavar="FILE"),
        session_format,
        option("--accept-license", "take a Hub dataset whatever its license says"),
        option("--since", "only sessions that ended within: 7d, 12h, 2w", metavar="AGE"),
        option("--project", "only this folder or repository", metavar="GLOB", default=""),
        option("--min-turns", "only with N eligible turns (default: 1; 0 with --keep-tools)", type=at_least(1)),
        option("--outcome", "only these", choices=("success", "failure", "unknown"), default=""),
        option("--filter", "recovered from an error; holds code", choices=("error-recovery", "coding")),
        option("--limit", "stop after N sessions", type=at_least(0), default=0, metavar="N"),
        option("--split", "split of a Hub dataset", default="train"),
        option("--all-branches", "also what was rewound or left"),
        option("--thinking", "open each thought with what the model thought"),
        option("--keep-tools", "also keep the native tool calls, for duel export"),
        option("--no-commits", "do not look for the commit that followed"),
        option("--dry-run", "show what would be taken and write nothing"),
    ],
    "scale": [
        *PAYING,
        option("what", "what to do (default: combine)", nargs="?", choices=SCALE, default="combine"),
        option("place", SCALED, nargs="*"),
        option("--format", "combine: formats of duel export", default="trl-tools,openai-tools", metavar="NAMES"),
        option("--reader", "public, sessions: read as this format of duel mine", default="", metavar="NAME"),
        option("--limit", "public, sessions: stop after N", type=int, default=0, metavar="N"),
        option("--accept-license", "public: take a Hub dataset whatever its license says"),
        option("--license", "public: of files that do not say it themselves", default="", metavar="SPDX"),
        option("--buckets", "duels: final, refined (default: final)", default="final", metavar="NAMES"),
        option("--count", "synthesize, augment: rows to try (default: 200)", type=int, default=200, metavar="N"),
        option("--tools", "synthesize: the tools of your agent: tools/list as JSON, or rows", default=""),
        option("--plain", "synthesize, augment: ask no model for words"),
        option("--split", "combine: train/validation/test in percent (default: 80/10/10)", default="80/10/10"),
        option("--balance", "combine: even shares by source, tool, complexity, language …", default=""),
        option("--refused-words", "combine: words, one a line, that cost a row", default="", metavar="FILE"),
        option("--seed", "seed of every draw (default: 0)", type=int, default=0),
    ],
    "shard": [
        OFFLINE,
        option("action", "", choices=["split", "status", "merge"]),
        option("shards", "how many, for split (default: [store] shards)", type=int, nargs="?"),
    ],
    "batches": [
        option("--wait", "wait until all batches are back"),
        option("--cancel", "call this batch off; `all`: each of them", default="", metavar="ID"),
    ],
    "calls": [option("--json", "print JSON")],
    "init": [],
    "doctor": [OFFLINE],
    "king": PAYING,
    "ch": PAYING,
    "refine": PAYING,
    "execute": [OFFLINE, AGAIN, BACKEND],
    "report": [OFFLINE, OPEN, option("--json", "print the summary as JSON on standard output")],
    "cluster": [
        OFFLINE,
        option("action", "", choices=["run"]),
        option("--workers", "stages at a time (default: one a core)", type=at_least(1), metavar="N"),
        option("--address", "of a running cluster; without it one is started on this machine"),
        option("--budget", "stop cleanly once all shards have spent this", type=dollars, metavar="USD"),
        option("--share", "a file { calls, dollars } that all shards divide", metavar="FILE"),
    ],
}


def add_options(command: str, parser: ArgumentParser) -> None:
    for row in OPTIONS[command]:
        name, how = row() if callable(row) else row
        parser.add_argument(name, **how)


def options(command: str, named: dict[str, Any]) -> Namespace:
    """What a caller gives by name, with the command line's defaults for the rest. Raises TypeError for other names."""
    parser = ArgumentParser()
    add_options(command, parser)
    known = vars(parser.parse_args([]))
    if unknown := named.keys() - known.keys():
        raise TypeError(f"unknown options: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    return Namespace(**(known | named))
