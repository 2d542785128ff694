"""Shards: plain workspaces `shards/0007/` with the turns of some repositories, on which every stage runs unchanged.

A repository, and so a pull request, lies in one shard only: its turns are one cluster of the verdict's bound. Every
shard must know of the whole: the secret (another secret would be another question to every judge, and paid anew), the
settings with the files that they name, and how rare a name is in all pull requests. A prompt keeps its file and its
place in it, so that its turn has one name everywhere: the rows of other shards are null.

Merging adds nothing up: the whole workspace's own stages run on what came back. So 1, 4 or 16 shards give the figures
of one workspace, to the last bit.
"""

import contextlib
import hashlib
import heapq
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from duel import candidates, pull
from duel.audit.contamination import canonical_repo, repo_of
from duel.audit.rarity import HISTORIES, SHARED_FILE, Rarity
from duel.calls.ledger import Ledger, spent
from duel.errors import UserError, WorkspaceError
from duel.judging import looks
from duel.records.record import json_object
from duel.review.ballots import DRAWS_FILE, VOTES_FILE
from duel.settings import SETTINGS_FILE, Settings
from duel.sources import output
from duel.workspace import PRIVATE_FOLDER, SHARD_FILE, SHARDS_FOLDER, Workspace, disk_errors

OF_THE_WHOLE = ("prompt", "audit", "validate", "report")
"""Stages that run on the whole; what others have left out comes from the shards."""


@dataclass(frozen=True)
class Shard:
    """One part of a workspace, and how far its stages have come."""

    number: int
    of: int
    prompts: int
    workspace: Workspace

    @property
    def name(self) -> str:
        return self.workspace.root.name

    @property
    def decided(self) -> bool:
        """True once all of its stages have run: the shard's own verdict marks the end of the last."""
        return self.workspace.duel.exists() or not self.prompts

    def figures(self) -> dict[str, Any]:
        """How far its stages have come. Every answer is read: 0.1 ms each."""
        paths = self.workspace.answer_paths()
        challengers = sum(bool(json_object(path).get("challenger")) for path in paths)
        asked = {"turns": self.prompts, "kings": len(paths), "challengers": challengers}
        judged = {"judged": len(self.workspace.score_paths()), "decided": self.decided}
        return {"shard": self.name, **asked, **judged, "dollars": round(self.spent(), 4)}

    def spent(self) -> float:
        return spent(self.workspace.ledger)


def number_of(instance_id: str, repo: str, shards: int) -> int:
    """The shard of a pull request: by a hash of its repository, under the name that all spellings share."""
    whose = repo_of(instance_id) or canonical_repo(repo) or instance_id
    return int.from_bytes(hashlib.sha256(whose.encode("utf-8", "surrogatepass")).digest()[:8]) % shards


def there(whole: Workspace) -> list[Shard]:
    """The shards of `whole` by number. Raises WorkspaceError where there are none, or not all of them."""
    folder, parts = whole.root / SHARDS_FOLDER, sorted(found(whole), key=lambda shard: shard.number)
    if not parts:
        raise WorkspaceError("there are no shards", where=folder, hint="`duel shard split 4` makes four of them")
    if [shard.number for shard in parts] != list(range(max(shard.of for shard in parts))):
        told, hint = f"{len(parts)} of {max(shard.of for shard in parts)}", "run the same `duel shard split` again"
        raise WorkspaceError("some shards are missing", where=folder, value=told, hint=f"bring them back, or {hint}")
    return parts


def found(whole: Workspace) -> Iterator[Shard]:
    """The shards whose split was finished, in no order; some may be missing."""
    for mark in (whole.root / SHARDS_FOLDER).glob(f"*/{SHARD_FILE}"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told: dict[str, Any] = orjson.loads(mark.read_bytes())
            yield Shard(int(told["number"]), int(told["of"]), int(told["prompts"]), Workspace(mark.parent.parent))


def bring(source: Path, target: Path) -> bool:
    """Make `target` the same file as `source`, unless it is already, or newer; copied where no link can be made."""
    try:
        there, came = target.stat(), source.stat()
        if (there.st_dev, there.st_ino) == (came.st_dev, came.st_ino) or there.st_mtime_ns >= came.st_mtime_ns:
            return False
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:  # another disk, or a file system without links
        with disk_errors(source):
            shutil.copy2(source, part)
    part.replace(target)
    return True


# -- splitting ---------------------------------------------------------------------------------------------------------


def split(whole: Workspace, settings: Settings, shards: int) -> list[int]:
    """Make `shards` shards, or bring them up to date; returns how many turns each has.

    Answers and scores that are there already go along, and so do the replies they were made of. Raises WorkspaceError
    where the workspace is split into another number of shards.
    """
    if not whole.prompt_files():
        raise UserError("there are no prompts to split", where=whole.root / "prompt", hint="run prompt.py first")
    secret, folder = whole.secret(), whole.root / SHARDS_FOLDER
    parts = [Workspace(folder / f"{number:04d}") for number in range(shards)]
    others = {inside.parent.name for inside in folder.glob(f"*/{PRIVATE_FOLDER}")} - {part.root.name for part in parts}
    known = next((shard.of for shard in found(whole) if shard.of != shards), None)
    if known or others:
        told, hint = known or ", ".join(sorted(others)), "`duel shard merge`, then remove the folder, and split again"
        what = "the workspace is split into another number of shards"
        raise WorkspaceError(what, where=folder, value=told, hint=hint)
    for part in parts:
        (part.root / SHARD_FILE).unlink(missing_ok=True)
        part.save(part.private / "secret", secret)
        (part.private / "secret").chmod(0o600)
        if (whole.root / SETTINGS_FILE).exists():
            part.save(part.root / SETTINGS_FILE, (whole.root / SETTINGS_FILE).read_bytes())
        for name in [*settings.audit.decontaminate, settings.execute.repositories]:  # relative to the workspace
            named, link = whole.resolve(name), part.root / name
            if named.exists() and not link.exists() and ".." not in Path(name).parts:
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(named)
    stems = _split_prompts(whole, parts)
    for part in parts:  # answers to prompts of an earlier draw
        output.take_over(part, settings.store.answers_per_dir)
    _bring_records(whole, parts, stems)
    rarity = folder / SHARED_FILE
    rarity_of(whole, settings).save(whole, rarity)
    for number, part in enumerate(parts):
        bring(rarity, part.private / SHARED_FILE)
        mark = {"number": number, "of": shards, "prompts": len(stems[number])}
        part.save(part.root / SHARD_FILE, orjson.dumps(mark))
    return [len(owned) for owned in stems]


def _split_prompts(whole: Workspace, parts: list[Workspace]) -> list[set[str]]:
    stems: list[set[str]] = [set() for _ in parts]
    for path in whole.prompt_files():
        try:
            rows = orjson.loads(path.read_bytes())
            # A row that is no prompt goes to the first shard, whose stages name it as damaged.
            known = [row if isinstance(row, dict) else {} for row in rows]
            names = [(str(row.get("instance_id") or ""), str(row.get("repo") or "")) for row in known]
            owners = [number_of(*name, len(parts)) for name in names]
        except (OSError, ValueError, TypeError) as error:
            raise WorkspaceError("a prompt file cannot be read", where=path, value=error, hint="draw it anew") from None
        for number, part in enumerate(parts):
            own = [row if owner == number else None for row, owner in zip(rows, owners, strict=True)]
            part.save(part.root / "prompt" / path.name, orjson.dumps(own))
            stems[number] |= {f"{path.stem}_{order}" for order, row in enumerate(own, start=1) if row is not None}
    wanted = {path.name for path in whole.prompt_files()}
    for path in [path for part in parts for path in part.prompt_files() if path.name not in wanted]:
        path.unlink()
    return stems


def _bring_records(whole: Workspace, parts: list[Workspace], stems: list[set[str]]) -> None:
    """The pull requests of each shard, and the answers, scores and replies that are there before the split."""
    for path, commit in whole.commits([]):
        part = parts[number_of(commit.instance_id, commit.repo, len(parts))]
        bring(path, part.root / path.relative_to(whole.root))
    side = chain.from_iterable(map(whole.score_paths, whole.side_contests()))
    for source in chain(whole.answer_paths(), whole.score_paths(), side):
        for part, owned in zip(parts, stems, strict=True):
            if source.stem in owned:
                bring(source, part.root / source.relative_to(whole.root))
    for part, owned in zip(parts, stems, strict=True) if whole.ledger.exists() else ():
        with Ledger(part.ledger) as ledger:
            ledger.take_over(whole.ledger, owned)


def rarity_of(whole: Workspace, settings: Settings) -> Rarity:
    """What `Rarity.of_workspace` gives once every prompt has its answer, counted before the first one is asked."""
    left_out = {commit.instance_id for _, commit in whole.commits([]) if pull.is_huge(commit, settings)}
    left_out |= set(settings.generate.exclude_ids)
    shown = (
        (hashlib.sha256(stem.encode()).digest(), prompt.instance_id, prompt.messages)
        for stem, _, prompt in whole.prompts([])
        if prompt.instance_id not in left_out
    )
    histories = []
    for _, instance_id, messages in heapq.nsmallest(HISTORIES, shown, key=lambda row: row[0]):
        fitted = candidates.fitted_history(messages, settings, whole.readable_commit(instance_id))
        histories.append((instance_id, "\n".join(message.content for message in fitted)))
    return Rarity.from_commits((commit for _, commit in whole.commits([])), histories)


# -- merging -----------------------------------------------------------------------------------------------------------


def merge(whole: Workspace) -> Counter[str]:
    """Bring back what the shards have made; returns how many files and replies are new, by kind.

    Can be repeated, also after more work in the shards: what is newer here stays. Raises WorkspaceError where a shard
    is missing or at work, or where a turn lies in two of them.
    """
    parts, new = there(whole), Counter[str]()
    with whole.lock("answer", "duel shard merge"), whole.lock("score", "duel shard merge"):
        owners: dict[str, str] = {}
        for shard in parts:
            for path in shard.workspace.answer_paths():
                if (other := owners.setdefault(path.stem, shard.name)) != shard.name:
                    what, value = "a turn lies in two shards", f"{other} and {shard.name}"
                    hint = "remove the copy that does not belong there; `duel shard split` puts each turn into one"
                    raise WorkspaceError(what, where=path, value=value, hint=hint)
        for shard in parts:
            part = shard.workspace
            with part.lock("answer", "duel shard merge"), part.lock("score", "duel shard merge"):
                kinds = {"answers": part.answer_paths(), "scores": part.score_paths()}
                kinds |= {f"{name} scores": part.score_paths(name) for name in part.side_contests()}
                for kind, paths in kinds.items():
                    new[kind] += sum(bring(path, whole.root / path.relative_to(part.root)) for path in paths)
                with Ledger(whole.ledger) as ledger:
                    new["replies"] += ledger.take_over(part.ledger, of=f"shard {shard.name}")
                new["votes of people"] += _lines(whole, part, VOTES_FILE)
                _lines(whole, part, DRAWS_FILE)
        history = looks.read(whole)
        # A shard's first look is a part of the one that the whole is about to take; any further one counts by itself.
        for shard in parts:
            for look in looks.read(shard.workspace)[1:]:
                history = looks.joined(history, look)
        if history:
            looks.save(whole, history)
        rows: dict[str, list[Mapping[str, Any]]] = {str(row.get("stage", "")): [] for row in whole.dropped()}
        for row in chain.from_iterable(shard.workspace.dropped() for shard in parts):
            rows.setdefault(str(row.pop("stage", "")), []).append(row)
        for stage in sorted(rows.keys() - set(OF_THE_WHOLE)):
            whole.save_dropped(stage, rows[stage])
        _add_figures(whole, parts)
    return +new


def _lines(whole: Workspace, part: Workspace, name: str) -> int:
    """Append the lines of a file of people's votes that are not here yet."""
    ours, theirs = (there.review / name for there in (whole, part))
    known = dict.fromkeys(ours.read_bytes().splitlines() if ours.exists() else [])
    new = [line for line in theirs.read_bytes().splitlines() if line not in known] if theirs.exists() else []
    if new:
        whole.save(ours, b"".join(line + b"\n" for line in [*known, *new]))
    return len(new)


def _add_figures(whole: Workspace, parts: list[Shard]) -> None:
    """What was executed, added up."""
    counts, without = Counter[str](), Counter[str]()
    found = [told for shard in parts if (told := json_object(shard.workspace.report / "execute.json"))]
    for told in found:
        counts.update({name: count for name, count in told.items() if isinstance(count, int)})
        without.update(told.get("without") or {})
    if found:
        whole.save_page(whole.report / "execute.json", {**found[0], **counts, "without": dict(sorted(without.items()))})
