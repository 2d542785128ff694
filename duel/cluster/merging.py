"""Merging shards: their answers, scores, votes and replies come back by link, and what is global is decided once.

Nothing is added up here. The whole workspace's own stages then run on what came back: near-duplicates across shards,
the verdict over all turns, the report. So 1, 4 or 16 shards give the figures of one workspace, to the last bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson

from duel.calls.ledger import Ledger
from duel.cluster.shards import Shard, bring, there
from duel.errors import WorkspaceError
from duel.judging import looks
from duel.reporting.report_summary import recorded
from duel.review.ballot_box import DRAWS_FILE, VOTES_FILE
from duel.workspace import Workspace

OF_THE_WHOLE = ("prompt", "audit", "validate", "report")
"""Stages that run on the whole; what others have left out comes from the shards."""
PAGE = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


def merge(whole: Workspace) -> Counter[str]:
    """Bring back what the shards have made; returns how many files and replies are new, by kind.

    Can be repeated, also after more work in the shards: what is newer here stays. Raises WorkspaceError where a shard
    is missing or at work, or where a turn lies in two of them.
    """
    parts, new = there(whole), Counter[str]()
    with whole.lock("answer", "duel shard merge"), whole.lock("score", "duel shard merge"):
        _check_names(parts)
        for shard in parts:
            part = shard.workspace
            with part.lock("answer", "duel shard merge"), part.lock("score", "duel shard merge"):
                new += _files(whole, part)
                with Ledger(whole.ledger) as ledger:
                    new["replies"] += ledger.take_over(part.ledger, of=f"shard {shard.name}")
                new["votes of people"] += _lines(whole, part, VOTES_FILE)
                _lines(whole, part, DRAWS_FILE)
        _join_looks(whole, parts)
        _dropped(whole, parts)
        _add_figures(whole, parts)
    return +new


def _check_names(parts: list[Shard]) -> None:
    owners: dict[str, str] = {}
    for shard in parts:
        for path in shard.workspace.answer_paths():
            other = owners.setdefault(path.stem, shard.name)
            if other != shard.name:
                raise WorkspaceError(
                    "a turn lies in two shards",
                    where=path,
                    value=f"{other} and {shard.name}",
                    hint="remove the copy that does not belong there; `duel shard split` puts each turn into one",
                )


def _files(whole: Workspace, part: Workspace) -> Counter[str]:
    found = Counter[str]()
    kinds = {"answers": part.answer_paths(), "scores": part.score_paths()}
    kinds |= {f"{name} scores": part.side_scores(name) for name in part.side_contests()}
    for kind, paths in kinds.items():
        for path in paths:
            found[kind] += bring(path, whole.root / path.relative_to(part.root))
    return found


def _lines(whole: Workspace, part: Workspace, name: str) -> int:
    """Append the lines of a file of people's votes that are not here yet."""
    ours, theirs = whole.review / name, part.review / name
    if not theirs.exists():
        return 0
    known = ours.read_bytes().splitlines() if ours.exists() else []
    new = [line for line in theirs.read_bytes().splitlines() if line not in set(known)]
    if new:
        whole.save(ours, b"".join(line + b"\n" for line in [*known, *new]))
    return len(new)


def _join_looks(whole: Workspace, parts: list[Shard]) -> None:
    """A shard's first look is a part of the one that the whole is about to take; any further one counts by itself."""
    history = looks.read(whole)
    for shard in parts:
        for look in looks.read(shard.workspace)[1:]:
            history = looks.joined(history, look)
    if history:
        looks.save(whole, history)


def _dropped(whole: Workspace, parts: list[Shard]) -> None:
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for shard in parts:
        for row in shard.workspace.dropped():
            rows.setdefault(str(row.pop("stage", "")), []).append(row)
    before = {str(row.get("stage", "")) for row in whole.dropped()}
    for stage in sorted((rows.keys() | before) - set(OF_THE_WHOLE)):
        whole.save_dropped(stage, rows.get(stage, []))


def _add_figures(whole: Workspace, parts: list[Shard]) -> None:
    """report/execute.json: the counts of all shards."""
    found = [told for shard in parts if (told := recorded(shard.workspace, "execute.json"))]
    if found:
        counts, without = Counter[str](), Counter[str]()
        for told in found:
            counts.update({name: count for name, count in told.items() if isinstance(count, int)})
            without.update(told.get("without") or {})
        total = {**found[0], **counts, "without": dict(sorted(without.items()))}
        whole.save(whole.report / "execute.json", orjson.dumps(total, option=PAGE))
