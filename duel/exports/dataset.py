"""One export: the rows of every format and split, the card, the manifest, and the one moment they reach the disk."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from duel import __version__
from duel.errors import ItemError
from duel.exports import files, lengths, recipes, rewriting
from duel.exports.example import Division, Dropped, Example
from duel.exports.formats import Format
from duel.exports.formats.base import Provenance, provenance
from duel.exports.handover import ExportError, Handover
from duel.workspace import Workspace, cannot_write

MANIFEST, CARD, ROWS, DATASET_INFO = "manifest.json", "README.md", "rows.jsonl", "dataset_info.json"


@dataclass
class Written:
    format: Format
    rows: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)  # tokens of every row, of its longest sequence

    def figures(self) -> dict[str, Any]:
        return lengths.figures(self.lengths)

    def line(self) -> str:
        splits = ", ".join(f"{split} {count:,}" for split, count in self.rows.items())
        rows, tokens = sum(self.rows.values()), sum(self.tokens.values())
        return f"export/{self.format.name}: {rows:,} rows ({splits}), {tokens:,} tokens"


@dataclass(frozen=True)
class FormatFolder:
    """A format that another process wrote: where, and what `Written`, the manifest and the hand-over say of it."""

    folder: Path
    written: tuple[dict[str, int], dict[str, int], list[int]]
    files: dict[str, dict[str, Any]]
    counts: list[dict[str, Any]]
    left_out: list[tuple[str, Dropped]]


class Export:
    """One export on its way to disk: it grows in a folder of its own and is moved into `export/` as a whole.

    What does not add up leaves the earlier export as it was, and memory holds one row group, not the files.
    """

    def __init__(
        self,
        workspace: Workspace,
        handover: Handover,
        measure: lengths.Measure | None = None,
        extra: files.Extra | None = None,
        folder: Path | None = None,
    ) -> None:
        self.folder = folder or workspace.root / "export"
        self.handover = handover
        self.measure = measure or lengths.Measure()
        self.extra = extra or files.Extra()
        self.written: list[Written] = []
        self.files: dict[str, dict[str, Any]] = {}
        """sha256 and size in bytes by name."""
        self._new = self.folder / ".new"

    def __enter__(self) -> Self:
        with self._disk():
            shutil.rmtree(self._new, ignore_errors=True)  # a killed run's
            self._new.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._new, ignore_errors=True)
        with suppress(OSError):
            self.folder.rmdir()  # nothing is in it: nothing was exported

    def add(self, format: Format, division: Division) -> Written:
        """Write every split in one format, and configurations of the trainers that read it.

        Raises ExportError where it can hold none, has no place for a column, or counts do not agree.
        """
        what = f"`{format.name}` has no place for this"
        if self.extra.weights and not issubclass(format.schema, Provenance):
            raise ExportError(what, where="--weights", hint="use a format of TRL's")
        if self.extra.reasoning and not format.reasoning:
            raise ExportError(what, where="--thought reasoning_content", hint="use --thought think")
        done = Written(format)
        with self._disk():
            (self._new / format.name).mkdir()
            for split, part in division.parts.items():
                self._add_split(done, split, part)
            known, counted_by = done.figures(), self.measure.tokens.name
            longest = known["longest"]
            made = recipes.render(format, lengths.max_length(longest, self.measure.limit), longest, counted_by)
            for name, text in (made | {CARD: recipes.readme(format, known, counted_by)}).items():
                self.write(f"{format.name}/{name}", text)
        self.written.append(done)
        return done

    def apart(self, format: Format, division: Division) -> FormatFolder:
        """One format alone, for an export in another process to adopt."""
        done = self.__enter__().add(format, division)
        written = done.rows, done.tokens, done.lengths
        return FormatFolder(self._new, written, self.files, self.handover.counts, self.handover.left_out)

    def adopt(self, format: Format, made: FormatFolder) -> Written:
        done = Written(format, *made.written)
        with self._disk(), (self._new / ROWS).open("ab") as index:
            (made.folder / format.name).replace(self._new / format.name)
            with (made.folder / ROWS).open("rb") as lines:
                shutil.copyfileobj(lines, index)
        self.files |= made.files
        self.handover.counts += made.counts
        self.handover.left_out += made.left_out
        self.written.append(done)
        return done

    def save(self, card: str, facts: Mapping[str, Any]) -> None:
        """Put everything under `export/`, the manifest last; an earlier export's other files are removed."""
        with self._disk():
            self._note(ROWS)
            if info := recipes.dataset_info([done.format for done in self.written]):
                self.write(DATASET_INFO, json.dumps(info, indent=2) + "\n")
            self.write(CARD, card)
            self.write(MANIFEST, self._manifest(facts))
            stale = set(_listed(self.folder)) - set(self.files)
            for name in self.files:
                (self.folder / name).parent.mkdir(exist_ok=True)
                (self._new / name).replace(self.folder / name)
            for name in sorted(stale):
                (self.folder / name).unlink(missing_ok=True)
                with suppress(OSError):
                    (self.folder / name).parent.rmdir()  # a format that this export does not have

    def _add_split(self, done: Written, split: str, part: Sequence[Example]) -> None:
        name, dropped = done.format.name, list[Dropped]()
        done.tokens[split] = 0
        with (
            files.writing(self._new / name, split, done.format.schema, self.extra) as rows,
            (self._new / ROWS).open("ab") as index,
        ):
            for example in part:
                try:
                    made = self.measure.rows(done.format, example)
                except ItemError as error:
                    dropped.append(Dropped(example.id, example.instance_id, error.reason, error.what))
                    continue
                for row in made:
                    fields = rewriting.as_reasoning(row.fields) if self.extra.reasoning else row.fields
                    rows.add({**fields, **row.example.weights()} if self.extra.weights else fields)
                    # Where the row comes from: some formats' readers take no further columns.
                    told = {"format": name, "split": split, "tokens": row.longest}
                    index.write(files.json_line(told | provenance(row.example)))
                    done.tokens[split] += sum(row.lengths)
                    done.lengths.append(row.longest)
        self.handover.record(f"write {name}/{split}", len(part), len(part) - len(dropped), dropped)
        if not rows.count:
            reasons = ", ".join(sorted({drop.reason for drop in dropped})) or "there is nothing to write"
            hint = "report/dropped.jsonl names each example with its reason"
            if "no-pair" in reasons or "no-score" in reasons:
                hint = "pairs come out of duels (final/, refined/, --defeat-pairs), or out of runs with --outcomes"
            elif "native-tool-calls" in reasons:
                hint = "use trl-tools, openai-tools, anthropic, atif or codeact"
            raise ExportError(f"`{name}` can hold no example of {split}", where="--format", value=reasons, hint=hint)
        done.rows[split] = rows.count
        for file in (f"{name}/{split}.jsonl", f"{name}/{split}.parquet"):
            if (found := files.count(self._new / file)) != rows.count:
                raise ExportError("a file holds other rows than were written", where=file, value=found)
            self._note(file)

    def write(self, name: str, text: str) -> None:
        (self._new / name).write_bytes(text.encode())
        self._note(name)

    def _note(self, name: str) -> None:
        with (self._new / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            self.files[name] = {"sha256": digest, "bytes": file.tell()}

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self.folder, error) from None

    def _manifest(self, facts: Mapping[str, Any]) -> str:
        formats = {
            done.format.name: {"rows": done.rows, "tokens": done.tokens, "lengths": done.figures()}
            | {"summary": done.format.summary}
            for done in self.written
        }
        manifest = {"format": "duel-export/1", "made_by": f"duel-curation {__version__}", **facts, "formats": formats}
        manifest |= {"counted_by": self.measure.tokens.name, "fit": self.measure.limit}
        return json.dumps(manifest | {"files": dict(sorted(self.files.items()))}, indent=2, ensure_ascii=False) + "\n"


def _listed(folder: Path) -> list[str]:
    """The files of the export that lies there, by its own manifest; names that lead elsewhere are passed over."""
    try:
        names = [Path(str(name)) for name in json.loads((folder / MANIFEST).read_bytes())["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name.as_posix() for name in names if not name.is_absolute() and ".." not in name.parts]
