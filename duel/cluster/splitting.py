"""Splitting a workspace into shards: prompts by repository, and what every shard must know of the whole.

Global are: the secret (another secret would be another question to every judge, and paid anew), the settings with the
files that they name, and how rare a name is in all pull requests. A prompt keeps its file and its place in it, so that
its turn has one name everywhere: the rows of other shards are null.
"""

from __future__ import annotations

import hashlib
import heapq
from itertools import chain
from pathlib import Path

import orjson

from duel import candidates, pull
from duel.audit.rarity import HISTORIES, SHARED_FILE, Rarity
from duel.calls.ledger import Ledger
from duel.cluster.shards import bring, found, number_of, place
from duel.errors import ItemError, UserError, WorkspaceError
from duel.settings import SETTINGS_FILE, Settings
from duel.sources import replacing
from duel.workspace import PRIVATE_FOLDER, SHARD_FILE, SHARDS_FOLDER, Workspace


def split(whole: Workspace, settings: Settings, shards: int) -> list[int]:
    """Make `shards` shards, or bring them up to date; returns how many turns each has.

    Answers and scores that are there already go along, and so do the replies they were made of. Raises WorkspaceError
    where the workspace is split into another number of shards.
    """
    if not whole.prompt_files():
        raise UserError("there are no prompts to split", where=whole.root / "prompt", hint="run prompt.py first")
    _check_number(whole, shards)
    secret, parts = whole.secret(), [place(whole, number) for number in range(shards)]
    for part in parts:
        (part.root / SHARD_FILE).unlink(missing_ok=True)
        part.save(part.private / "secret", secret)
        (part.private / "secret").chmod(0o600)
        _bring_settings(whole, part, settings)
    stems = _split_prompts(whole, parts)
    for part in parts:  # answers to prompts of an earlier draw
        replacing.replace(part, settings.store.answers_per_dir)
    _bring_records(whole, parts, stems)
    rarity = whole.root / SHARDS_FOLDER / SHARED_FILE
    rarity_of(whole, settings).save(whole, rarity)
    for number, part in enumerate(parts):
        bring(rarity, part.private / SHARED_FILE)
        mark = {"number": number, "of": shards, "prompts": len(stems[number])}
        part.save(part.root / SHARD_FILE, orjson.dumps(mark))
    return [len(owned) for owned in stems]


def _check_number(whole: Workspace, shards: int) -> None:
    marks = (whole.root / SHARDS_FOLDER).glob(f"*/{PRIVATE_FOLDER}")
    others = sorted(mark.parent.name for mark in marks if mark.parent.name not in {f"{n:04d}" for n in range(shards)})
    known = next((shard.of for shard in found(whole) if shard.of != shards), shards)
    if others or known != shards:
        raise WorkspaceError(
            "the workspace is split into another number of shards",
            where=whole.root / SHARDS_FOLDER,
            value=known if known != shards else ", ".join(others),
            hint="`duel shard merge`, then remove the folder, and split again",
        )


def _bring_settings(whole: Workspace, part: Workspace, settings: Settings) -> None:
    """chain.toml, and a link to whatever it names by a path that is relative to the workspace."""
    if (whole.root / SETTINGS_FILE).exists():
        part.save(part.root / SETTINGS_FILE, (whole.root / SETTINGS_FILE).read_bytes())
    for name in [*settings.audit.decontaminate, settings.execute.repositories]:
        named, link = whole.resolve(name), part.root / name
        if name and not Path(name).is_absolute() and named.exists() and not link.exists() and ".." not in link.parts:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(named)


def _split_prompts(whole: Workspace, parts: list[Workspace]) -> list[set[str]]:
    """Write the prompt files of every shard; returns the stems of each."""
    stems: list[set[str]] = [set() for _ in parts]
    wanted = set()
    for path in whole.prompt_files():
        wanted.add(path.name)
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
    for part in parts:
        for path in part.prompt_files():
            if path.name not in wanted:
                path.unlink()
    return stems


def _bring_records(whole: Workspace, parts: list[Workspace], stems: list[set[str]]) -> None:
    """The pull requests of each shard, and the answers, scores and replies that are there before the split."""
    for path, commit in whole.commits([]):
        part = parts[number_of(commit.instance_id, commit.repo, len(parts))]
        bring(path, part.root / path.relative_to(whole.root))
    for source in [
        *whole.answer_paths(),
        *whole.score_paths(),
        *chain.from_iterable(map(whole.side_scores, whole.side_contests())),
    ]:
        for part, owned in zip(parts, stems, strict=True):
            if source.stem in owned:
                bring(source, part.root / source.relative_to(whole.root))
    if whole.ledger.exists():
        for part, owned in zip(parts, stems, strict=True):
            with Ledger(part.ledger) as ledger:
                ledger.take_over(whole.ledger, owned)


# -- what is rare in the whole -------------------------------------------------------------------------------------


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
        try:
            commit = whole.commit(instance_id)
        except ItemError:
            commit = None
        fitted = candidates.fitted_history(messages, settings, commit)
        histories.append((instance_id, "\n".join(message.content for message in fitted)))
    return Rarity.from_commits((commit for _, commit in whole.commits([])), histories)
