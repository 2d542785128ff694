"""What the card and the manifest tell: where the turns come from, who wrote and judged them, what was left out."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from duel.audit.audit_summary import ranked
from duel.audit.contamination import Benchmarks
from duel.errors import UserError
from duel.exports.example import Division
from duel.exports.handover import Handover
from duel.exports.splits import groups_by_split
from duel.settings import Settings
from duel.workspace import Workspace

_OPTIONS = (
    "format buckets defeat_pairs filter split group seed max_per_repo max_tokens balance fit thought weights offline"
).split()
_VERDICT_KEYS = (
    "decision accepted mode challenger_score king_score margin lcb gate_alpha turns parsed clusters gates by_judge"
    " effective_votes flip_rate krippendorff_alpha offline made_with writers"
).split()


def gather(
    workspace: Workspace,
    settings: Settings,
    asked: Mapping[str, Any],
    division: Division,
    handover: Handover,
    benchmarks: Benchmarks,
    secrets: Counter[str],
) -> dict[str, Any]:
    """All facts of one export, as plain JSON; the same run gives the same facts."""
    examples = [example for part in division.parts.values() for example in part]
    groups = groups_by_split(division)
    duels = any(not example.recorded for example in examples)
    verdict = _verdict(workspace) if duels else {}
    return {
        "options": _options(asked),
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
        "offline": any("offline-stand-in/" in example.model for example in examples),
        "handover": handover.counts,
        "dropped": dict(sorted(handover.reasons().items())),
        "dropped_before": _dropped_before(workspace) if duels else {},
        "never_audited": sum(example.audit is None for example in examples if not example.recorded),
        "secrets": dict(sorted(secrets.items())),
        "contamination": {"checked": dict(benchmarks.checked), "unchecked": dict(benchmarks.unchecked)},
        "splits": {
            split: {
                "examples": len(part),
                "tokens": sum(example.tokens for example in part),
                "groups": len(groups[split]),
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


def _options(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the command line chose: nothing of this machine, and no file by more than its name."""
    files = {name: Path(asked[name]).name for name in ("source", "outcomes", "system") if asked.get(name)}
    return {name: asked[name] for name in _OPTIONS if name in asked} | files


def _verdict(workspace: Workspace) -> dict[str, Any]:
    """The figures of the gate; {} where there is no verdict, or it cannot be read."""
    try:
        verdict = workspace.verdict()
    except UserError:
        return {}
    return verdict.model_dump(mode="json", include=set(_VERDICT_KEYS))


def _dropped_before(workspace: Workspace) -> dict[str, dict[str, int]]:
    """What the earlier stages left out, by stage and reason."""
    stages: dict[str, Counter[str]] = {}
    for row in workspace.dropped():
        if row.get("stage") != "export":
            stages.setdefault(str(row.get("stage")), Counter())[str(row.get("reason"))] += 1
    return {stage: dict(sorted(counts.items())) for stage, counts in sorted(stages.items())}
