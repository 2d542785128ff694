"""The summary of a run as plain data: what `report.py --json` prints and what the page shows at its head."""

import contextlib
from collections import Counter
from typing import Any

from duel.calls import prices
from duel.records import Verdict
from duel.reporting.tally import Group, Tally
from duel.settings import Settings
from duel.workspace import BUCKETS, Workspace

OFFLINE_MARK = "offline-stand-in/"
# Stages that leave turns out, in the order of a run; what others name (no evidence, a refused rewrite) goes on.
ORDER = ("prompt", "king", "challenger", "audit", "validate", "report")


def summarise(
    verdict: Verdict,
    tally: Tally,
    dropped: list[dict[str, Any]],
    sampling: dict[str, Any],
    settings: Settings,
    executed: dict[str, Any] | None = None,
    audited: dict[str, Any] | None = None,
    refining: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """All figures that stand on the pages above the table of turns. Null means that there is no data.

    `sampling`, `executed` and `audited` are what those stages left in report/, `refining` is a row for each round.
    """
    return {
        "format": "duel-report/1",
        "offline": is_offline(verdict),
        "mode": verdict.mode,
        "opponent": verdict.opponent_name,
        "verdict": verdict.model_dump(mode="json", exclude={"format"}),
        "buckets": buckets(tally, settings, promoted=any(row["promoted"] for row in refining or [])),
        "left_out": left_out(dropped),
        "turns": {
            "judged": tally.turns,
            "audited": tally.audited,
            "leaking": tally.leaking if tally.audited else None,
            "flipped": tally.flipped,
        },
        "groups": {name: _rows(groups) for name, groups in tally.groups.items()},
        "judge_metrics": {judge.judge: judge.by_metric for judge in verdict.judges},
        "execution": tally.executed.summary(executed or {}),
        "refining": refining or [],
        "costs": costs(verdict, tally, settings),
        "sampling": sampling,
        "auditor": (audited or {}).get("auditor") or {},
        "thresholds": {"final_min": settings.report.final_min, "defeat_min": settings.report.defeat_min},
    }


def recorded(workspace: Workspace, name: str) -> dict[str, Any]:
    """What a stage left in report/`name`; nothing where it is not there or cannot be read."""
    import orjson

    with contextlib.suppress(OSError, ValueError):
        found = orjson.loads((workspace.report / name).read_bytes())
        if isinstance(found, dict):
            return found
    return {}


def is_offline(verdict: Verdict) -> bool:
    """True where a stand-in took part, whatever the verdict's own flag says."""
    models = [model for side in verdict.writers.values() for model in side]
    models += [judge.judge for judge in verdict.judges]
    return verdict.offline or any(model.startswith(OFFLINE_MARK) for model in models)


def buckets(tally: Tally, settings: Settings, *, promoted: bool = False) -> list[dict[str, Any]]:
    """Each bucket with its rule, its turns and its share of all judged turns."""
    final_min, defeat_min = settings.report.final_min, settings.report.defeat_min
    rules = {
        "final": f"score ≥ {final_min:g}" + ", or promoted by refining" * promoted,
        "refined": f"{defeat_min:g} ≤ score < {final_min:g}",
        "defeat": f"score < {defeat_min:g}",
        "": "in no bucket",
    }
    return [
        {
            "bucket": name or "none",
            "rule": rule,
            "turns": tally.buckets[name],
            "share": tally.buckets[name] / tally.turns if tally.turns else None,
        }
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


def costs(verdict: Verdict, tally: Tally, settings: Settings) -> list[dict[str, Any]]:
    """Calls, tokens and dollars: each writer's accepted replies, then each judge's calls."""
    rows: list[dict[str, Any]] = []
    for side, models in sorted(tally.writer_tokens.items(), key=lambda item: (item[0] != "king", item[0])):
        for model, tokens in sorted(models.items()):
            price = prices.price_of(model, settings, offline=model.startswith(OFFLINE_MARK))
            prompt, completion = tokens["prompt_tokens"], tokens["completion_tokens"]
            rows.append(_cost_row(side, model, tokens["replies"], prompt, completion, prices.cost(price, tokens)))
    return rows + [
        _cost_row("judge", judge.judge, judge.calls, judge.input_tokens, judge.output_tokens, judge.cost)
        for judge in verdict.judges
    ]


def _cost_row(*cells: Any) -> dict[str, Any]:
    return dict(zip(("role", "model", "calls", "input_tokens", "output_tokens", "cost"), cells, strict=True))


def _rows(groups: dict[str, Group]) -> list[dict[str, Any]]:
    """The groups of one kind, the largest first."""
    ordered = sorted(groups.items(), key=lambda item: (-item[1].turns, item[0]))
    return [
        {"name": name, "turns": group.turns, "parsed": group.scores.number, "score": group.scores.value}
        | {bucket: group.buckets[bucket] for bucket in BUCKETS}
        for name, group in ordered
    ]
