"""One export: the rows of every format and split, the card, the manifest, and the one moment they reach the disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duel import __version__
from duel.errors import ItemError
from duel.exports import files
from duel.exports.example import Division, Dropped, Example
from duel.exports.formats import Format
from duel.exports.handover import ExportError, Handover
from duel.workspace import Workspace

MANIFEST = "manifest.json"
CARD = "README.md"
ROWS = "rows.jsonl"
# Upper edges of the length histogram, in estimated tokens: context windows that trainers use.
EDGES = (1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 65_536, 131_072)


@dataclass
class Written:
    """What one format came to: rows and tokens of each split."""

    format: Format
    rows: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    features: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """For the person who waits: format, rows by split, tokens."""
        splits = ", ".join(f"{split} {count:,}" for split, count in self.rows.items())
        rows, tokens = sum(self.rows.values()), sum(self.tokens.values())
        return f"export/{self.format.name}: {rows:,} rows ({splits}), {tokens:,} tokens"


@dataclass
class Export:
    """All files of one export, in memory until `save`: what does not add up leaves the disk as it was."""

    handover: Handover
    files: dict[str, bytes] = field(default_factory=dict)
    written: list[Written] = field(default_factory=list)
    _rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, format: Format, division: Division) -> Written:
        """Write every split in one format. Raises ExportError where it can hold none, or counts do not agree."""
        done = Written(format)
        for split, part in division.parts.items():
            self._add_split(done, split, part)
        self.written.append(done)
        return done

    def save(self, workspace: Workspace, card: str, facts: Mapping[str, Any]) -> Path:
        """Put everything under `export/`; files of an earlier export that this one does not have are removed."""
        folder = workspace.root / "export"
        self.files[ROWS] = files.jsonl(self._rows)
        self.files[CARD] = card.encode()
        self.files[MANIFEST] = self._manifest(facts)
        stale = set(_listed(folder)) - set(self.files)
        for name, data in self.files.items():
            workspace.save(folder / name, data)
        for name in sorted(stale):
            (folder / name).unlink(missing_ok=True)
        return folder

    def _add_split(self, done: Written, split: str, part: list[Example]) -> None:
        rows: list[dict[str, Any]] = []
        written: list[Example] = []
        dropped: list[Dropped] = []
        for example in part:
            try:
                made = done.format.rows(example)
            except ItemError as error:
                dropped.append(Dropped(example.id, example.instance_id, error.reason, error.what))
                continue
            written.append(example)
            rows += made
            self._rows += [_row_index(done.format.name, split, example) for _ in made]
        self.handover.record(f"write {done.format.name}/{split}", len(part), len(written), dropped)
        if not rows:
            reasons = ", ".join(sorted({drop.reason for drop in dropped})) or "there is nothing to write"
            what = f"`{done.format.name}` can hold no example of {split}"
            raise ExportError(what, where="--format", value=reasons, hint=_hint(reasons))
        done.rows[split] = len(rows)
        done.tokens[split] = sum(example.tokens for example in written)
        for name, data in (
            (f"{done.format.name}/{split}.jsonl", files.jsonl(rows)),
            (f"{done.format.name}/{split}.parquet", files.parquet(rows, done.format.schema)),
        ):
            if (found := files.count(data, name)) != len(rows):
                raise ExportError("a file holds other rows than were written", where=name, value=found)
            self.files[name] = data

    def _manifest(self, facts: Mapping[str, Any]) -> bytes:
        manifest = {
            "format": "duel-export/1",
            "made_by": f"duel-curation {__version__}",
            **facts,
            "formats": {
                done.format.name: {"rows": done.rows, "tokens": done.tokens, "summary": done.format.summary}
                for done in self.written
            },
            "files": {
                name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
                for name, data in sorted(self.files.items())
                if name != MANIFEST
            },
        }
        return json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n"


def lengths(examples: Iterable[Example]) -> dict[str, int]:
    """How many examples have how many estimated tokens: {"<= 1,024": 3, …, "more": 0}."""
    histogram = {f"<= {edge:,}": 0 for edge in EDGES} | {"more": 0}
    for example in examples:
        edge = next((edge for edge in EDGES if example.tokens <= edge), None)
        histogram[f"<= {edge:,}" if edge else "more"] += 1
    return histogram


def _row_index(name: str, split: str, example: Example) -> dict[str, Any]:
    """Where one row comes from: for formats whose readers take no further columns, and for the licence of each row."""
    return {
        "format": name,
        "split": split,
        "id": example.id,
        "instance_id": example.instance_id,
        "repo": example.repo,
        "license": example.license or "unknown",
        "tokens": example.tokens,
        "style": example.style,
        "bucket": example.bucket,
        "score": example.score,
    }


def _hint(reasons: str) -> str:
    if "no-pair" in reasons or "no-score" in reasons:
        return "pairs come out of duels: final/, refined/ or --defeat-pairs; a trajectory file has one side only"
    if "native-tool-calls" in reasons:
        return "use trl-tools, openai-tools, anthropic, atif or codeact"
    return "report/dropped.jsonl names each example with its reason"


def _listed(folder: Path) -> list[str]:
    """The files of the export that lies there, by its own manifest; names that lead elsewhere are passed over."""
    try:
        listed = json.loads((folder / MANIFEST).read_bytes())["files"]
        names = [str(name) for name in listed]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for name in names if not Path(name).is_absolute() and ".." not in Path(name).parts]
