"""The summary of a run as plain data: what `report.py --json` prints and what the page shows at its head."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from duel.calls import prices
from duel.records import Verdict
from duel.registry import OFFLINE
from duel.reporting.tally import Group, Tally, share
from duel.settings import Settings
from duel.workspace import BUCKETS, Workspace

# Stages that leave turns out, in the order of a run; what others name (no evidence, a refused rewrite) goes on.
ORDER = ("prompt", "king", "challenger", "audit", "validate", "report")


def summarise(
    verdict: Verdict, tally: Tally, workspace: Workspace, settings: Settings, rounds: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """All figures that stand on the pages above the table of turns. Null means that there is no data.

    `rounds`: a row for each round of refining. What the other stages left in report/ is read there.
    """
    report = settings.report
    return {
        "format": "duel-report/1",
        "offline": _is_offline(verdict),
        "mode": verdict.mode,
        "opponent": verdict.opponent_name,
        "verdict": verdict.model_dump(mode="json", exclude={"format"}),
        "buckets": _buckets(tally, settings, promoted=any(row["promoted"] for row in rounds)),
        "left_out": left_out(workspace.dropped()),
        "turns": {
            "judged": tally.turns,
            "audited": tally.audited,
            "leaking": tally.leaking if tally.audited else None,
            "flipped": tally.flipped,
        },
        "groups": {name: _rows(groups) for name, groups in tally.groups.items()},
        "judge_metrics": {judge.judge: judge.by_metric for judge in verdict.judges},
        "execution": tally.executed.summary(recorded(workspace, "execute.json")),
        "refining": rounds,
        "costs": _costs(verdict, tally, settings),
        "sampling": recorded(workspace, "sampling.json"),
        "auditor": recorded(workspace, "audit.json").get("auditor") or {},
        "thresholds": {"final_min": report.final_min, "defeat_min": report.defeat_min},
    }


def recorded(workspace: Workspace, name: str) -> dict[str, Any]:
    """What a stage left in report/`name`; nothing where it is not there or cannot be read."""
    try:
        found = orjson.loads((workspace.report / name).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_offline(verdict: Verdict) -> bool:
    """True where a stand-in took part, whatever the verdict's own flag says."""
    models = [model for side in verdict.writers.values() for model in side]
    models += [judge.judge for judge in verdict.judges]
    return verdict.offline or any(model.startswith(OFFLINE) for model in models)


def _buckets(tally: Tally, settings: Settings, *, promoted: bool) -> list[dict[str, Any]]:
    final_min, defeat_min = settings.report.final_min, settings.report.defeat_min
    rules = {
        "final": f"score ≥ {final_min:g}" + ", or promoted by refining" * promoted,
        "refined": f"{defeat_min:g} ≤ score < {final_min:g}",
        "defeat": f"score < {defeat_min:g}",
        "": "in no bucket",
    }
    turns = tally.buckets
    return [
        {"bucket": name or "none", "rule": rule, "turns": turns[name], "share": share(turns[name], tally.turns)}
        for name, rule in rules.items()
    ]


def left_out(dropped: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many items each stage left out, by reason; the most frequent first. A turn counts where it is named first."""
    counted: Counter[tuple[str, str]] = Counter()
    named_by: dict[str, str] = {}
    for row in sorted(dropped, key=lambda row: [*ORDER, row.get("stage")].index(row.get("stage"))):
        stage, reason, file = (str(row.get(name, "")) for name in ("stage", "reason", "file"))
        goes_on = not file or stage not in ORDER or reason.startswith("one-")
        if goes_on or named_by.setdefault(file, stage) == stage:
            counted[stage, reason] += 1
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [{"stage": stage, "reason": reason, "items": number} for (stage, reason), number in ordered]


def _costs(verdict: Verdict, tally: Tally, settings: Settings) -> list[dict[str, Any]]:
    """Calls, tokens and dollars: each writer's accepted replies, then each judge's calls."""
    rows: list[tuple[Any, ...]] = []
    for side, models in sorted(tally.writer_tokens.items(), key=lambda item: (item[0] != "king", item[0])):
        for model, tokens in sorted(models.items()):
            price = prices.price_of(model, settings, offline=model.startswith(OFFLINE))
            prompt, completion = tokens["prompt_tokens"], tokens["completion_tokens"]
            rows.append((side, model, tokens["replies"], prompt, completion, prices.cost(price, tokens)))
    rows += [("judge", j.judge, j.calls, j.input_tokens, j.output_tokens, j.cost) for j in verdict.judges]
    names = ("role", "model", "calls", "input_tokens", "output_tokens", "cost")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _rows(groups: dict[str, Group]) -> list[dict[str, Any]]:
    ordered = sorted(groups.items(), key=lambda item: (-item[1].buckets.total(), item[0]))
    return [
        {"name": name, "turns": group.buckets.total(), "parsed": group.scores.number, "score": group.scores.value}
        | {bucket: group.buckets[bucket] for bucket in BUCKETS}
        for name, group in ordered
    ]
