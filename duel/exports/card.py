"""The facts of an export, and the card that tells them: the Hub's YAML header and the template `card.md.txt`.

The facts are the manifest's too: where turns come from, who wrote and judged them, what was left out. Names of
repositories, models and licenses come from outside: they are escaped, so that none becomes markup.
"""

import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jinja2 import Template

from duel.audit.contamination import Benchmarks
from duel.audit.workspace_audit import ranked
from duel.environment import HUB_ID
from duel.errors import UserError
from duel.exports import recipes
from duel.exports.dataset import Export
from duel.exports.example import Division, Handover
from duel.registry import OFFLINE
from duel.settings import Settings
from duel.workspace import Workspace

_OPTIONS = (
    "format buckets defeat_pairs filter split group seed max_per_repo balance fit thought weights offline"
).split()
_VERDICT_KEYS = (
    "decision accepted mode challenger_score king_score margin lcb gate_alpha turns parsed clusters gates by_judge"
    " effective_votes flip_rate krippendorff_alpha offline made_with writers"
).split()
# Repositories that the card lists by name; rows.jsonl has them all.
LISTED_REPOSITORIES = 20
_thousands = "{:,}".format
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_MARKUP = re.compile(r"(?i)([\\`*_{}\[\]<>#|!]|:(?=//)|(?<=\bwww)\.)")  # the Hub makes links of bare addresses, too


def gather(
    workspace: Workspace,
    settings: Settings,
    asked: Mapping[str, Any],
    division: Division,
    handover: Handover,
    benchmarks: Benchmarks,
    secrets: Counter[str],
) -> dict[str, Any]:
    examples = [example for part in division.parts.values() for example in part]
    duels = any(not example.recorded for example in examples)
    verdict = {}
    with suppress(UserError):  # there is no verdict, or it cannot be read
        verdict = workspace.verdict().model_dump(mode="json", include=set(_VERDICT_KEYS)) if duels else {}
    # Nothing of this machine, and no file by more than its name.
    named = {name: Path(asked[name]).name for name in ("source", "outcomes", "system") if asked.get(name)}
    earlier = Counter((str(row.get("stage")), str(row.get("reason"))) for row in workspace.dropped() if duels)
    before: dict[str, dict[str, int]] = {}
    for (stage, reason), count in sorted(earlier.items()):
        if stage != "export":
            before.setdefault(stage, {})[reason] = count
    return {
        "options": {name: asked[name] for name in _OPTIONS if name in asked} | named,
        "settings": settings.model_dump(mode="json", include={"audit", "report"}),
        "sources": [
            {"dataset": name, "revision": revision, "examples": count}
            for (name, revision), count in sorted(Counter((one.dataset, one.revision) for one in examples).items())
        ],
        "writers": dict(sorted(Counter(example.model or "unknown" for example in examples).items())),
        "prompts": ranked(example.template for example in examples if example.template),
        "buckets": ranked(example.bucket for example in examples if example.bucket),
        "judges": list(verdict.get("by_judge") or settings.judge.models) if duels else [],
        "verdict": verdict,
        "offline": any(OFFLINE in example.model for example in examples),
        "handover": handover.counts,
        "dropped": dict(sorted(handover.reasons().items())),
        "dropped_before": before,
        "never_audited": sum(example.audit is None for example in examples if not example.recorded),
        "secrets": dict(sorted(secrets.items())),
        "contamination": {"checked": dict(benchmarks.checked), "unchecked": dict(benchmarks.unchecked)},
        "splits": {
            split: {
                "examples": len(part),
                "tokens": sum(example.tokens for example in part),
                "groups": len(division.groups[split]),
            }
            for split, part in division.parts.items()
        },
        "group": division.by,
        "notes": division.notes,
        "tokens": sum(example.tokens for example in examples),
        "styles": ranked(example.style or "unknown" for example in examples),
        "repositories": ranked(example.repo or "unknown" for example in examples),
        "licenses": ranked(example.license or "unknown" for example in examples),
    }


def render(export: Export, facts: Mapping[str, Any]) -> str:
    rows = max(sum(done.rows.values()) for done in export.written)
    # An id stands in YAML as it is. A local path can look like one; it has a revision of its own kind, or none.
    known = [source for source in facts["sources"] if source["revision"] and HUB_ID.fullmatch(source["dataset"])]
    title = "Coding-agent turns kept by LLM-judged duels" if facts["judges"] else "Coding-agent trajectories"
    text = template(__package__, plain=_plain, figure=_figure, counted=_counted).render(
        facts=facts,
        written=export.written,
        names={done.format.name for done in export.written},
        size_category=next((name for limit, name in _SIZES if rows < limit), "1M<n<10M"),
        on_hub=[source["dataset"] for source in known if not source["revision"].startswith("local-")],
        title=title,
        total=sum(part["examples"] for part in facts["splits"].values()),
        notes=lambda done: recipes.notes(done.format, done.figures(), export.measure.tokens.name, folder=True),
        gates=[
            (gate["name"], _figure(gate["value"]), _figure(gate["threshold"]), "yes" if gate["held"] else "no")
            for gate in facts["verdict"].get("gates") or ()
        ],
        splits=[(split, *(f"{part[k]:,}" for k in part)) for split, part in facts["splits"].items()],
        steps=[
            (count["step"], f"{count['taken']:,}", f"{count['given']:,}", _counts(count["dropped"]))
            for count in facts["handover"]
            if count["dropped"] or not count["step"].startswith("write ")
        ],
        before=[(stage, _counts(reasons)) for stage, reasons in facts["dropped_before"].items()],
        listed=LISTED_REPOSITORIES,
        **{name: [(k, f"{n:,}") for k, n in facts[name].items()] for name in ("styles", "repositories", "licenses")},
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def template(package: str, **filters: Any) -> Template:
    return recipes.template(package, "card.md.txt", n=_thousands, text=escaped, **filters)


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())


def _counted(names: Mapping[str, int]) -> str:
    return _counts({escaped(name): count for name, count in names.items()})


def _plain(value: object) -> str:
    return "".join(c for c in str(value) if c.isprintable() and c != "`")[:100]


def _figure(value: object) -> str:
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def escaped(value: object) -> str:
    """Outside text on one line, without markup."""
    return _MARKUP.sub(r"\\\1", "".join(c if c.isprintable() else " " for c in str(value))[:200])
