"""The dataset card: the Hub's YAML header and an honest text, both made from the facts of the run.

Names of repositories, models and licenses come from outside: they are escaped, so that none becomes markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from duel.exports import recipes
from duel.exports.dataset import Export, Written
from duel.exports.facts import LISTED_REPOSITORIES

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|!])")


def render(export: Export, facts: Mapping[str, Any]) -> str:
    """The whole README.md."""
    sections = [
        _opening(export, facts),
        _table_of_formats(export),
        _origin(facts),
        _selection(facts),
        _splits(facts),
        _left_out(facts),
        _quality(facts),
        _balance(facts),
        _licenses(facts),
        _limits(export, facts),
    ]
    return f"---\n{_header(export, facts)}---\n\n" + "\n\n".join(section for section in sections if section) + "\n"


def _header(export: Export, facts: Mapping[str, Any]) -> str:
    from huggingface_hub import DatasetCardData

    rows = max(sum(done.rows.values()) for done in export.written)
    data = DatasetCardData(
        language=["en"],
        license="other",
        license_name="per-repository",
        license_link="README.md#licenses",
        pretty_name="Coding-agent turns kept by LLM-judged duels" if facts["judges"] else "Coding-agent trajectories",
        size_categories=[next((name for limit, name in _SIZES if rows < limit), "1M<n<10M")],
        task_categories=["text-generation"],
        tags=["agent", "code", "swe", *(done.format.name for done in export.written)],
        source_datasets=[source["dataset"] for source in facts["sources"] if _is_on_hub(source)] or None,
        configs=[_config(done, default=order == 0) for order, done in enumerate(export.written)],
        dataset_info=[_info(done, export.files) for done in export.written],
    )
    return str(data.to_yaml()) + "\n"


def _is_on_hub(source: Mapping[str, Any]) -> bool:
    """A name with a slash can be a local path as well; local files have a revision of their own kind, or none."""
    return "/" in source["dataset"] and bool(source["revision"]) and not source["revision"].startswith("local-")


def _config(done: Written, *, default: bool) -> dict[str, Any]:
    name = done.format.name
    config: dict[str, Any] = {
        "config_name": name,
        "data_files": [{"split": split, "path": f"{name}/{split}.parquet"} for split in done.rows],
    }
    return config | ({"default": True} if default else {})


def _info(done: Written, files: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    name = done.format.name
    sizes = {split: files[f"{name}/{split}.parquet"]["bytes"] for split in done.rows}
    return {
        "config_name": name,
        "splits": [
            {"name": split, "num_bytes": sizes[split], "num_examples": count} for split, count in done.rows.items()
        ],
        "download_size": sum(sizes.values()),
        "dataset_size": sum(sizes.values()),
    }


def _opening(export: Export, facts: Mapping[str, Any]) -> str:
    total = sum(part["examples"] for part in facts["splits"].values())
    if facts["judges"]:
        what = f"{total:,} single turns of coding agents that a panel of judge models preferred in a blind duel."
    else:
        what = f"{total:,} recorded trajectories of coding agents."
    lines = ["# " + ("Coding-agent turns kept by LLM-judged duels" if facts["judges"] else "Coding-agent trajectories")]
    if facts["offline"] or facts["verdict"].get("offline"):
        lines.append(
            "> **Made offline.** The replies or verdicts in this set come from a rule-made stand-in endpoint, not from"
            " models. It shows the shape of the data and is worth nothing for training."
        )
    lines.append(f"{what} About {facts['tokens']:,} tokens (estimated at 3 bytes a token, on the high side).")
    first = export.written[0].format.name
    lines.append(
        f'```python\nfrom datasets import load_dataset\n\ndata = load_dataset("<this repository>", "{first}")\n```'
    )
    return "\n\n".join(lines)


def _table_of_formats(export: Export) -> str:
    rows = [
        (
            f"`{done.format.name}`",
            done.format.summary,
            ", ".join(f"{split} {count:,}" for split, count in done.rows.items()),
            f"{sum(done.tokens.values()):,}",
        )
        for done in export.written
    ]
    return (
        "## Formats\n\n"
        + _table(("config", "shape", "rows", "tokens"), rows, escape=False)
        + "\n\n"
        + "\n\n".join(_notes(done, export) for done in export.written)
        + "\n\nEvery split is there as `.parquet` (which the configs name) and as `.jsonl`. `rows.jsonl` tells the"
        " source and the license of every row, `manifest.json` the sha256 of every file."
    )


def _notes(done: Written, export: Export) -> str:
    """Who reads a format, who misreads it, how long its rows are, and what trains on it."""
    found = recipes.notes(done.format, export.figures(done), export.measure.tokens.name)
    lines = [f"### {done.format.name}", "", *(f"- {line}" for line in found)]
    made = [f"`{done.format.name}/{name}`" for trainer in done.format.recipes for name in recipes.FILES[trainer]]
    return "\n".join([*lines, *([f"- recipes: {', '.join(made)}"] if made else [])])


def _origin(facts: Mapping[str, Any]) -> str:
    lines = ["## Where it comes from", ""]
    for source in facts["sources"]:
        revision = f" at `{_plain(source['revision'])}`" if source["revision"] else ""
        lines.append(f"- {_text(source['dataset'] or 'unknown')}{revision}: {source['examples']:,} examples")
    named = [f"{_text(name)} ({count:,})" for name, count in facts["writers"].items()]
    lines.append(f"- written by: {', '.join(named)}")
    lines += [f"- asked with the prompt of hash `{_plain(digest)}` ({n:,})" for digest, n in facts["prompts"].items()]
    return "\n".join(lines)


def _selection(facts: Mapping[str, Any]) -> str:
    """How the panel chose, and the gate's figures; "" for trajectories, which no panel saw."""
    if not facts["judges"]:
        return ""
    verdict = facts["verdict"]
    lines = [
        "## How it was chosen",
        "",
        "One answer was written blind (the king), one with the hidden pull request in hand under the rule to act as if"
        " it were not (the challenger). Judges compared the two in both orders on correctness, grounding, progress,"
        " protocol and efficiency.",
        "",
        f"- judges: {', '.join(_text(name) for name in facts['judges'])}",
        f"- buckets: {', '.join(f'{name} {count:,}' for name, count in facts['buckets'].items())}"
        + ("; out of defeat the king's turn is the accepted one" if "defeat" in facts["buckets"] else ""),
    ]
    if not verdict:
        return "\n".join([*lines, "- no verdict over the whole set was found: the turns were chosen one by one"])
    decision, bound = verdict.get("decision"), _figure(verdict.get("lcb"))
    lines.append(
        f"- gate over the whole duel: **{_text(decision)}**, margin {_figure(verdict.get('margin'))} points,"
        f" lower bound of the mean delta {bound} at {_figure(verdict.get('gate_alpha'))};"
        f" {verdict.get('parsed')} of {verdict.get('turns')} turns parsed, {verdict.get('clusters')} pull requests"
    )
    gates = [
        (
            gate.get("name"),
            _figure(gate.get("value")),
            _figure(gate.get("threshold")),
            "yes" if gate.get("held") else "no",
        )
        for gate in verdict.get("gates") or ()
        if isinstance(gate, dict)
    ]
    made = ", ".join(f"{_text(k)} `{_plain(str(v))}`" for k, v in (verdict.get("made_with") or {}).items())
    table = "\n\n" + _table(("condition", "value", "threshold", "held"), gates) if gates else ""
    return "\n".join(lines) + (f"\n- made with: {made}" if made else "") + table


def _splits(facts: Mapping[str, Any]) -> str:
    names = {"repo": "repository", "pr": "pull request"}
    if len(facts["splits"]) < 2:
        return (
            "## Splits\n\nThere is one split. If you split it, split by repository: rows of one repository in train and"
            " test leak."
        )
    rows = [
        (split, f"{part['examples']:,}", f"{part['tokens']:,}", f"{part['groups']:,}")
        for split, part in facts["splits"].items()
    ]
    notes = "".join(f"\n\n{_text(note[0].upper() + note[1:])}." for note in facts["notes"])
    return (
        f"## Splits\n\nSplit by {names[facts['group']]}, never by row.\n\n"
        + _table(("split", "examples", "tokens", "groups"), rows)
        + notes
    )


def _left_out(facts: Mapping[str, Any]) -> str:
    rows = [
        (
            count["step"],
            f"{count['taken']:,}",
            f"{count['given']:,}",
            ", ".join(f"{reason} {n:,}" for reason, n in count["dropped"].items()),
        )
        for count in facts["handover"]
        if count["dropped"] or not count["step"].startswith("write ")
    ]
    text = (
        "## What was left out\n\nWhat goes into a step comes out of it or is dropped for a reason. A format that is not"
        " listed here wrote every example.\n\n"
    )
    text += _table(("step", "in", "out", "dropped"), rows)
    before = [
        (stage, ", ".join(f"{reason} {n:,}" for reason, n in reasons.items()))
        for stage, reasons in facts["dropped_before"].items()
    ]
    if before:
        text += "\n\nThe stages before the export had left out:\n\n" + _table(("stage", "dropped"), before)
    return text


def _quality(facts: Mapping[str, Any]) -> str:
    secrets = ", ".join(f"{_text(kind)} {count:,}" for kind, count in facts["secrets"].items())
    checked = ", ".join(f"{_text(name)} ({count:,} ids)" for name, count in facts["contamination"]["checked"].items())
    unchecked = ", ".join(f"{_text(k)} ({_text(v)})" for k, v in facts["contamination"]["unchecked"].items())
    scrubbed = facts["settings"]["audit"]["scrub_secrets"]
    lines = [
        "## Quality",
        "",
        f"- secrets and personal data replaced: {secrets or 'none was found'}"
        if scrubbed
        else "- secrets and personal data were **not** looked for: `scrub_secrets` is off",
        f"- benchmarks whose instances were taken out: {checked or 'none'}",
    ]
    if unchecked:
        lines.append(f"- benchmarks that could **not** be checked: {unchecked}")
    if facts["never_audited"]:
        lines.append(f"- {facts['never_audited']:,} turns were never audited for leaks of the hidden pull request")
    return "\n".join(lines)


def _balance(facts: Mapping[str, Any]) -> str:
    repositories = facts["repositories"]
    styles = [(name, f"{count:,}") for name, count in facts["styles"].items()]
    largest = [(name, f"{count:,}") for name, count in list(repositories.items())[:LISTED_REPOSITORIES]]
    more = len(repositories) - len(largest)
    return (
        "## Balance\n\n"
        + _table(("style of the last action", "examples"), styles)
        + "\n\n"
        + _table(("repository", "examples"), largest)
        + (f"\n\nand {more:,} more." if more > 0 else "")
    )


def _licenses(facts: Mapping[str, Any]) -> str:
    rows = [(name, f"{count:,}") for name, count in facts["licenses"].items()]
    return (
        "## Licenses\n\nEach row quotes code of its repository and is under that repository's license; the sources keep"
        " their own. `rows.jsonl` and the column `license` name it by row.\n\n" + _table(("license", "examples"), rows)
    )


def _limits(export: Export, facts: Mapping[str, Any]) -> str:
    names = {done.format.name for done in export.written}
    lines = ["## Limits", ""]
    if facts["judges"]:
        lines += [
            "- Judges are models: they share errors, and a panel is worth fewer votes than it has members.",
            "- Only the last turn of a row was judged. The turns before it come from a weak model, and many are wrong.",
            "- No command of an accepted turn was executed.",
        ]
        if "sft" in names or "chatml" in names:
            lines.append(
                "- `sft` and `chatml` hold whole conversations: unless the loss is masked, the weak history is trained"
                " as well. `sft-completion` trains the accepted turn alone."
            )
    if names & {"trl-tools", "openai-tools", "anthropic"}:
        lines.append(
            "- Tool formats turn the bash block into a call; the system prompt is the recorded one and may still ask"
            " for a bash block. Train with the system prompt that your agent will have (`--system`)."
        )
    if "codeact" in names:
        lines.append("- Error recoveries are found by rules over commands and what they printed; rules miss some.")
    return "\n".join(lines)


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]], *, escape: bool = True) -> str:
    head = list(head)
    shown = [" | ".join(_text(str(cell)) if escape else str(cell) for cell in row) for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {row} |" for row in shown)])


def _figure(value: object) -> str:
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _text(value: object) -> str:
    """Outside text on one line, without markup."""
    line = "".join(c if c.isprintable() else " " for c in str(value))[:200]
    return _MARKUP.sub(r"\\\1", line)


def _plain(value: str) -> str:
    """Outside text between backticks."""
    return "".join(c for c in value if c.isprintable() and c != "`")[:100]
