"""Rows out of what the project reads already: sessions and public sets as `duel mine` does, the buckets."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson

from duel import placement
from duel.bookkeeping import LeftOut
from duel.exports import loading
from duel.records import Bucket
from duel.scaling.agent_tools import envelopes
from duel.scaling.scaled_rows import Kind, RowSource, ScaledRow
from duel.settings import Settings
from duel.sources.mining import mined
from duel.sources.mining.sweep import Mine
from duel.workspace import Workspace


def name_of(place: str) -> str:
    """What a place is called in rows: a Hub id as it is, a file or folder by its name."""
    return Path(place).expanduser().resolve().name if Path(place).expanduser().exists() else place


def from_sessions(mine: Mine, kind: Kind, name: str, license: str = "") -> Iterator[ScaledRow]:
    """Every session that is taken, scrubbed, with its own tool calls; `mine.account` says what was left out.

    `license` is what the user knows of a file that does not say it itself.
    """
    seen: Counter[str] = Counter()
    for found in mine.sessions():
        session, row = found.trajectory.session, mined.row(found, keep_tools=True)
        identity = f"{kind}/{name}/{row['source_file']}#{session.row}/{row['session_id']}"
        seen[identity] += 1
        source = {"kind": kind, "name": name, "revision": row["source_revision"] or "", "file": row["source_file"]}
        source |= {"row": max(session.row, 0), "license": row["license"] or license}
        made = {"by": f"duel scale {kind}", "format": session.format, "model": session.model}
        known = {"repository": row["repo"], "commit": row["base_commit"], "instance": row["instance_id"]}
        yield ScaledRow.model_validate(
            {
                "id": identity if seen[identity] == 1 else f"{identity}~{seen[identity]}",
                "messages": row["messages"] if session.keeps_protocol else orjson.loads(row["native_messages"]),
                "tools": envelopes(orjson.loads(row["tools"] or "[]")),
                "source": source,
                # a folder without a name ties nothing
                "group": [f"{key} {value}" for key, value in known.items() if value and value != "local/unknown"],
                "made": {key: value for key, value in made.items() if value},
            }
        )
    mine.account.say()


def from_buckets(
    workspace: Workspace, settings: Settings, buckets: list[Bucket], drops: LeftOut
) -> Iterator[ScaledRow]:
    """The turns that the panel kept, each with its history; what the audit keeps out of every bucket is no row."""
    for loaded in loading.turns(workspace, settings, buckets):
        for drop in loaded.dropped:
            drops.drop(drop.id, drop.instance_id, drop.reason, drop.detail)
        for example in loaded.examples:
            if (obstacle := placement.obstacle(example.audit, settings)) is not None:
                drops.drop(example.id, example.instance_id, obstacle.slug, obstacle.reason)
                continue
            groups = {"repository": example.repo, "commit": example.base_commit, "instance": example.instance_id}
            source = {"name": example.dataset or "duel", "revision": example.revision, "license": example.license}
            yield ScaledRow(
                id=f"duels/{example.bucket}/{example.id}",
                messages=list(example.messages),
                tools=[],
                source=RowSource(kind="duels", file=f"{example.bucket}/{example.id}.json", row=0, **source),
                parent="",
                group=[f"{kind} {value}" for kind, value in groups.items() if value],
                made={"by": "duel scale duels", "kind": f"turn of {example.bucket}", "score": example.score},
            )
