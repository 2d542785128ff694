"""Write training sets: from verdict to trainer in one command.

    duel export --format sft,dpo --split 80/10/10        the turns of final/
    duel export --format dpo --defeat-pairs              and the king's wins out of defeat/
    duel export --from runs.parquet --format codeact --filter error-recovery
    duel export --from runs.parquet --format dpo --outcomes outcomes.json     resolved runs against failed ones

reads    final/, refined/, defeat/ with answer_*/, commit/ and score/; or any trajectory file with `messages`
writes   export/<format>/<split>.jsonl and .parquet, export/README.md (the card), export/rows.jsonl and
         export/manifest.json; what was left out, with its reason, in report/dropped.jsonl
"""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duel import chat_tokens
from duel.bookkeeping import Result
from duel.command import Parser, say
from duel.exports import formats
from duel.settings import Settings
from duel.stages import command_line, options
from duel.workspace import Workspace

if TYPE_CHECKING:
    from duel.audit.contamination import Benchmarks
    from duel.exports.example import Example
    from duel.exports.handover import Handover
    from duel.exports.quality import Scrubber, TokenBreaker


def run(workspace: Workspace, settings: Settings, **named: Any) -> Result:
    """Write the sets. `named` are the options of the command line by name; `found` is one line a format."""
    from duel.audit.contamination import Benchmarks
    from duel.exports import card, lengths, push, quality, splits
    from duel.exports.dataset import Export
    from duel.exports.handover import Handover

    asked = options(add_arguments, named)
    wanted = formats.per_turn(formats.named(asked.format), asked.per_turn, asked.turns)
    shares = splits.shares_of(asked.split)
    if asked.push:
        push.check(asked.push)
    tokens = lengths.Tokenizer(asked.tokenizer) if asked.tokenizer else lengths.Estimate()
    measure = lengths.Measure(tokens, asked.fit, asked.thought == "reasoning_content", asked.weights)
    with workspace.lock("export", "duel export"):
        handover = Handover()
        scrubber = quality.Scrubber(workspace.secret())
        benchmarks = Benchmarks.load(settings, workspace, asked.offline)
        examples = read(asked, workspace, settings, handover)
        breaker = quality.TokenBreaker(asked.chat_tokens)
        examples = choose(asked, settings, handover, benchmarks, (scrubber, breaker), examples)
        division = splits.divide(examples, shares, asked.group, asked.seed)
        handover.across(division, splits.without_shared_copies(division, settings.audit.near_duplicate))
        splits.check(division)
        for note in [*division.notes, *quality.unchecked(benchmarks)]:
            say(note)

        with Export(workspace, handover, measure) as export:
            written = [export.add(format, division) for format in wanted]
            known = card.gather(workspace, settings, vars(asked), division, handover, benchmarks, scrubber.counts)
            export.save(card.render(export, known), known)
        workspace.save_dropped("export", handover.rows())
    handover.say()
    if breaker.broken:
        say(f"{breaker.broken:,} control tokens of chat templates were broken ({asked.chat_tokens})")
    lines = [format.line() for format in written]
    if asked.push:
        told = {"public": asked.public, "yes": asked.yes}
        lines.append(push.push(export.folder, sorted(export.files), asked.push, workspace.root, **told))
    return Result("export", found=lines)


def _flags(parser: Parser) -> None:
    add, families = parser.add_argument, ", ".join(chat_tokens.FAMILIES)
    names = f"with commas, of: {', '.join(formats.FORMATS)} (default: sft)"
    add("--format", default="sft", metavar="NAMES", help=names)
    add("--from", dest="source", metavar="PATH", help="a trajectory file, folder or glob in place of the duel's turns")
    add("--buckets", default="final", metavar="NAMES", help="final, refined (default: final)")
    add("--defeat-pairs", action="store_true", help="also the turns of defeat/ that the king won as clearly")
    add("--filter", default="", metavar="NAMES", help="error-recovery, success")
    add("--outcomes", type=Path, metavar="FILE", help="what `duel verify` wrote, or instance id: true or false")
    add("--pairs-per-instance", type=positive, default=0, metavar="N", help="pairs of runs of one pull request at most")
    add("--per-turn", action="store_true", help="with --from: a row for each well-formed turn (sft-completion: always)")
    add("--turns", type=positive, default=8, metavar="N", help="turns of a style and of a third of a run (default: 8)")
    add("--split", default="100", metavar="80/10/10", help="train/validation/test in percent (default: 100, no split)")
    add("--group", default="repo", choices=("repo", "pr"), help="what stays whole in a split (default: repo)")
    add("--seed", type=int, default=0, help="seed of every draw (default: 0)")
    add("--max-per-repo", type=positive, metavar="N", help="examples of one repository at most")
    add("--fit", type=positive, metavar="N", help="shorten histories so that each accepted turn is whole in N tokens")
    add("--tokenizer", default="", metavar="NAME", help="count with this model's tokenizer (a folder or a Hub name)")
    add(
        "--thought",
        default="text",
        choices=("text", "think", "reasoning_content"),
        help="where thoughts stand (default: text)",
    )
    known = ("all", "none", *chat_tokens.FAMILIES)
    what = f"break the control tokens of this family of chat templates: all, none, {families} (default: all)"
    add("--chat-tokens", default="all", choices=known, metavar="FAMILY", help=what)
    add("--weights", action="store_true", help="columns `weight`, `margin` and `score_expected` in each row")
    add("--balance", choices=("style", "repo", "license"), help="none holds more than an even share")
    add("--system", type=Path, metavar="FILE", help="the system prompt to write in place of the recorded one")
    add("--push", metavar="OWNER/NAME", help="upload to the Hub; private")
    add("--public", action="store_true", help="with --push: a public repository")
    add("--yes", action="store_true", help="with --push: overwrite without a question")


def read(asked: Namespace, workspace: Workspace, settings: Settings, handover: Handover) -> list[Example]:
    from duel.exports import duels, trajectories

    if asked.source:
        sources = trajectories.load(asked.source, Path.cwd())
    else:
        buckets = duels.buckets_of(asked.buckets, defeat_pairs=asked.defeat_pairs)
        sources = duels.load(workspace, settings, buckets)
    examples = [example for source in sources for example in handover.read(source)]
    if asked.outcomes:
        examples = trajectories.with_outcomes(examples, asked.outcomes)
    if asked.system:
        examples = trajectories.with_system(examples, asked.system)
    return examples


def choose(
    asked: Namespace,
    settings: Settings,
    handover: Handover,
    benchmarks: Benchmarks,
    rewriters: tuple[Scrubber, TokenBreaker],
    examples: list[Example],
) -> list[Example]:
    """What is fit to train on, step by step; each step's counts must add up."""
    from duel.exports import quality

    steps = {"audit": quality.clean(settings, benchmarks)}
    told = asked.source and any(example.resolved is not None for example in examples)
    paired = quality.PAIR_FORMATS.issuperset(asked.format.split(","))
    if told and paired and not any(example.refused for example in examples):
        steps["pairs of runs"] = quality.in_pairs(asked.pairs_per_instance)
    for name, verdict in quality.filters_of(asked.filter).items():
        steps[f"filter {name}"] = quality.kept_where(verdict)
    if settings.audit.scrub_secrets:
        steps["secrets"] = rewriters[0].step
    if asked.chat_tokens != "none":
        steps["chat tokens"] = rewriters[1].step
    steps["copies"] = quality.unique
    if asked.max_per_repo:
        steps["repositories"] = quality.at_most_per_repo(asked.max_per_repo, asked.seed)
    if asked.balance:
        steps["balance"] = quality.balanced(asked.balance, asked.seed)
    if asked.thought != "text":
        steps["thoughts"] = quality.in_think_blocks
    for name, step in steps.items():
        examples = handover.through(name, examples, step)
    return handover.must_be_some(examples)


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"must be a number of at least 1: {text}")
    return int(text)


add_arguments, main = command_line(
    run, flags=_flags, show=lambda lines, _: print("\n".join(lines)), begins=lambda asked: asked.source
)
