#!/usr/bin/env python3
"""Write training sets: from verdict to trainer in one command.

    python export.py --format sft,dpo --split 80/10/10        the turns of final/
    python export.py --format dpo --defeat-pairs              and the king's wins out of defeat/
    python export.py --from runs.parquet --format codeact --filter error-recovery

formats  sft, sft-completion, dpo, reward, kto, chatml, trl-tools, openai-tools, anthropic, atif, codeact
reads    final/, refined/, defeat/ with answer_*/, commit/ and score/; or any trajectory file with `messages`
writes   export/<format>/<split>.jsonl and .parquet, export/README.md (the card), export/rows.jsonl and
         export/manifest.json; what was left out, with its reason, in report/dropped.jsonl
"""

from __future__ import annotations

import argparse
from pathlib import Path

from duel import command, offline, settings
from duel.audit.contamination import Benchmarks
from duel.exports import card, duels, facts, formats, push, quality, splits, trajectories
from duel.exports.dataset import Export
from duel.exports.example import Example
from duel.exports.handover import Handover
from duel.settings import Settings
from duel.workspace import Workspace


def main() -> int:
    """The stage, from the command line to the exit code."""
    asked = flags().parse_args()
    wanted = formats.named(asked.format)
    shares = splits.shares_of(asked.split)
    if asked.push:
        push.check(asked.push)
    workspace = Workspace(asked.workspace)
    chosen = settings.load(workspace.root, *offline.overrides(asked.offline))
    with workspace.lock("export", "export.py"):
        handover = Handover()
        scrubber = quality.Scrubber(workspace.secret())
        benchmarks = Benchmarks.load(chosen, workspace, asked.offline)
        examples = read(asked, workspace, chosen, handover)
        examples = choose(asked, chosen, handover, benchmarks, scrubber, examples)
        division = splits.divide(examples, shares, asked.group, asked.seed)
        handover.across(division, splits.without_shared_copies(division, chosen.audit.near_duplicate))
        splits.check(division)
        for note in [*division.notes, *quality.unchecked(benchmarks)]:
            command.say(note)

        with Export(workspace, handover) as export:
            written = [export.add(format, division) for format in wanted]
            known = facts.gather(workspace, chosen, vars(asked), division, handover, benchmarks, scrubber.counts)
            export.save(card.render(export, known), known)
        workspace.save_dropped("export", handover.rows())
    handover.say()
    for format in written:
        print(format.line())
    if asked.push:
        agree = push.asker(asked.yes)
        print(push.push(export.folder, sorted(export.files), asked.push, workspace, public=asked.public, agree=agree))
    return 0


def flags() -> argparse.ArgumentParser:
    """The command line."""
    parser = command.Parser(__doc__).with_offline()
    add = parser.add_argument
    add("--format", default="sft", metavar="NAMES", help="one or more formats, with commas (default: sft)")
    add("--from", dest="source", metavar="PATH", help="a trajectory file, folder or glob in place of the duel's turns")
    add("--buckets", default="final", metavar="NAMES", help="final, refined (default: final)")
    add("--defeat-pairs", action="store_true", help="also the turns of defeat/ that the king won as clearly")
    add("--filter", default="", metavar="NAMES", help="error-recovery, success")
    add("--outcomes", type=Path, metavar="FILE", help="JSON object: instance id, whether its run solved the issue")
    add("--split", default="100", metavar="80/10/10", help="train/validation/test in percent (default: 100, no split)")
    add("--group", default="repo", choices=("repo", "pr"), help="what stays whole in a split (default: repo)")
    add("--seed", type=int, default=0, help="seed of every draw (default: 0)")
    add("--max-per-repo", type=positive, metavar="N", help="examples of one repository at most")
    add("--max-tokens", type=positive, metavar="N", help="leave out examples longer than this (estimated tokens)")
    add("--balance", choices=("style", "repo", "license"), help="none holds more than an even share")
    add("--system", type=Path, metavar="FILE", help="the system prompt to write in place of the recorded one")
    add("--push", metavar="OWNER/NAME", help="upload to the Hub; private")
    add("--public", action="store_true", help="with --push: a public repository")
    add("--yes", action="store_true", help="with --push: overwrite without a question")
    return parser


def read(asked: argparse.Namespace, workspace: Workspace, chosen: Settings, handover: Handover) -> list[Example]:
    """Every example of the source that was asked for."""
    if asked.source:
        sources = trajectories.load(asked.source, Path.cwd())
    else:
        buckets = duels.buckets_of(asked.buckets, defeat_pairs=asked.defeat_pairs)
        sources = duels.load(workspace, chosen, buckets)
    examples = [example for source in sources for example in handover.read(source)]
    if asked.outcomes:
        examples = trajectories.with_outcomes(examples, asked.outcomes)
    if asked.system:
        examples = trajectories.with_system(examples, asked.system)
    return examples


def choose(
    asked: argparse.Namespace,
    chosen: Settings,
    handover: Handover,
    benchmarks: Benchmarks,
    scrubber: quality.Scrubber,
    examples: list[Example],
) -> list[Example]:
    """What is fit to train on, step by step; each step's counts must add up."""
    steps = {"audit": quality.clean(chosen, benchmarks)}
    for name, verdict in quality.filters_of(asked.filter).items():
        steps[f"filter {name}"] = quality.kept_where(verdict)
    if chosen.audit.scrub_secrets:
        steps["secrets"] = scrubber.step
    steps["copies"] = quality.unique
    if asked.max_tokens:
        steps["length"] = quality.within(asked.max_tokens)
    if asked.max_per_repo:
        steps["repositories"] = quality.at_most_per_repo(asked.max_per_repo, asked.seed)
    if asked.balance:
        steps["balance"] = quality.balanced(asked.balance, asked.seed)
    for name, step in steps.items():
        examples = handover.through(name, examples, step)
    return handover.must_be_some(examples)


def positive(text: str) -> int:
    """A number of at least one."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number of at least 1: {text}")
    return int(text)


if __name__ == "__main__":
    command.run(main)
