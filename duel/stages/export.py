"""Write training sets: from verdict to trainer in one command.

    duel export --format sft,dpo --split 80/10/10        the turns of final/
    duel export --format dpo --defeat-pairs              and the king's wins out of defeat/
    duel export --from runs.parquet --format codeact --filter error-recovery
    duel export --from runs.parquet --format dpo --outcomes outcomes.json     resolved runs against failed ones

reads    final/, refined/, defeat/ with answer_*/, commit/ and score/; or any trajectory file with `messages`
writes   export/<format>/<split>.jsonl and .parquet, export/README.md (the card), export/rows.jsonl and
         export/manifest.json; what was left out, with its reason, in report/dropped.jsonl
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

from duel.audit.contamination import Benchmarks
from duel.bookkeeping import Result
from duel.command import say
from duel.exports import card, formats, lengths, loading, push, quality, splits
from duel.exports.dataset import Export
from duel.exports.example import Example, Handover, Step
from duel.settings import Settings
from duel.stages.opening import options
from duel.workspace import Workspace


def run(workspace: Workspace, settings: Settings, **named: Any) -> Result:
    """Write the sets. `named` are the options of the command line by name; `found` is one line a format."""
    asked = options("export", named)
    wanted = formats.per_turn(formats.named(asked.format), asked.per_turn, asked.turns)
    shares = splits.shares_of(asked.split)
    if asked.push:
        push.check(asked.push)
    tokens = lengths.Tokenizer(asked.tokenizer) if asked.tokenizer else lengths.Estimate()
    measure = lengths.Measure(tokens, asked.fit, asked.thought == "reasoning_content", asked.weights)
    with workspace.lock("export", "duel export"):
        handover = Handover()
        scrubber, breaker = quality.scrubber(workspace.secret()), quality.token_breaker(asked.chat_tokens)
        benchmarks = Benchmarks.load(settings, workspace, asked.offline)
        examples = read(asked, workspace, settings, handover)
        scrub, mend = scrubber.step if settings.audit.scrub_secrets else None, breaker.step
        steps = {"audit": quality.clean(settings, benchmarks), **further_steps(asked, examples, scrub, mend)}
        for name, step in steps.items():  # each step's counts must add up
            examples = handover.through(name, examples, step) if step else examples
        division = splits.divide(handover.must_be_some(examples), shares, asked.group, asked.seed)
        copies = splits.without_shared_copies(division, settings.audit.near_duplicate)
        handover.record("copies across splits", len(examples), sum(map(len, division.parts.values())), copies)
        splits.check(division)
        for note in [*division.notes, *quality.unchecked(benchmarks)]:
            say(note)
        with Export(workspace, handover, measure) as export:
            written = [export.add(format, division) for format in wanted]
            known = card.gather(workspace, settings, vars(asked), division, handover, benchmarks, scrubber.counts)
            export.save(card.render(export, known), known)
        workspace.save_dropped("export", handover.rows())
    handover.say()
    if broken := breaker.counts.total():
        say(f"{broken:,} control tokens of chat templates were broken ({asked.chat_tokens})")
    lines = [format.line() for format in written]
    if asked.push:
        how = {"public": asked.public, "yes": asked.yes}
        lines.append(push.push(export.folder, sorted(export.files), asked.push, workspace.root, **how))
    return Result("export", found=lines)


def read(asked: Namespace, workspace: Workspace, settings: Settings, handover: Handover) -> list[Example]:
    if asked.source:
        sources = loading.trajectories(asked.source, Path.cwd())
    else:
        buckets = loading.buckets_of(asked.buckets, defeat_pairs=asked.defeat_pairs)
        sources = loading.turns(workspace, settings, buckets)
    examples = [example for source in sources for example in handover.read(source)]
    if asked.outcomes:
        examples = loading.with_outcomes(examples, asked.outcomes)
    return loading.with_system(examples, asked.system) if asked.system else examples


def further_steps(asked: Namespace, examples: list[Example], scrub: Step | None, mend: Step) -> dict[str, Step | None]:
    """What follows the audit, by name and in order; None for a step that is not asked for."""
    runs = asked.source and any(example.resolved is not None for example in examples)
    paired = quality.PAIR_FORMATS.issuperset(asked.format.split(",")) and not any(one.refused for one in examples)
    return {
        "pairs of runs": quality.in_pairs(asked.pairs_per_instance) if runs and paired else None,
        **{f"filter {name}": step for name, step in quality.filters_of(asked.filter).items()},
        "secrets": scrub,
        "chat tokens": mend if asked.chat_tokens != "none" else None,
        "copies": quality.unique,
        "repositories": quality.at_most("repo", asked.seed, asked.max_per_repo) if asked.max_per_repo else None,
        "balance": quality.at_most(asked.balance, asked.seed) if asked.balance else None,
        "thoughts": quality.in_think_blocks if asked.thought != "text" else None,
    }


def show(lines: list[str], _: Namespace) -> None:
    print("\n".join(lines))
