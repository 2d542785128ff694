"""Turns out of the buckets: `final/`, `refined/` and, with the king as the winner, `defeat/`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from duel import placement, shell, turn
from duel.errors import ItemError
from duel.exports.example import Dropped, Example, Loaded, SpilledMessages
from duel.exports.handover import ExportError
from duel.records import Answer, Bucket, Commit, Kept, Message, Score, Side
from duel.settings import Settings
from duel.spill import Spill
from duel.workspace import BUCKETS, Workspace


def buckets_of(text: str, *, defeat_pairs: bool = False) -> list[Bucket]:
    """The buckets of a comma-separated list, `defeat` added on request. Raises ExportError for an unknown one."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in BUCKETS]
    if unknown or not names:
        known = f"known: {', '.join(BUCKETS)}"
        raise ExportError("unknown bucket", where="--buckets", value=", ".join(unknown) or text, hint=known)
    return [bucket for bucket in BUCKETS if bucket in names or (bucket == "defeat" and defeat_pairs)]


def load(workspace: Workspace, settings: Settings, buckets: Sequence[Bucket]) -> list[Loaded]:
    """The turns of each bucket. Raises ExportError where a bucket that was asked for is empty."""
    spill = Spill(workspace.private)
    loaded = [_bucket(workspace, settings, bucket, spill) for bucket in buckets]
    for found, bucket in zip(loaded, buckets, strict=True):
        if not found.found:
            filled = [name for name in BUCKETS if workspace.kept_paths(name)]
            hint = f"these hold turns: {', '.join(filled)} (--buckets)" if filled else "run report.py first"
            raise ExportError("the bucket is empty", where=workspace.root / bucket, hint=hint)
    return loaded


def _bucket(workspace: Workspace, settings: Settings, bucket: Bucket, spill: Spill) -> Loaded:
    loaded = Loaded(len(paths := workspace.kept_paths(bucket)), origin=bucket)
    folders = workspace.answer_folders()
    for path in paths:
        instance_id = ""
        try:
            kept = workspace.read(path, Kept)
            instance_id = kept.instance_id
            fresh = _freshly_audited(workspace, kept, path, folders)
            made = _example(workspace, settings, bucket, path.stem, fresh)
            loaded.examples.append(replace(made, messages=SpilledMessages(made.messages, spill)))
        except ItemError as error:
            loaded.dropped.append(Dropped(path.stem, instance_id, error.reason, error.what))
    return loaded


def _example(workspace: Workspace, settings: Settings, bucket: Bucket, stem: str, kept: Kept) -> Example:
    """One turn. The challenger is accepted over its opponent; out of `defeat/` the opponent over the challenger."""
    score = _score(workspace, stem)
    opponent: Side = "king" if (score.mode if score else settings.duel.mode) == 2 else "assistant"
    sides: tuple[Side, Side] = (opponent, "challenger") if bucket == "defeat" else ("challenger", opponent)
    winner, loser = sides
    points = _from_the_winner(kept.score, bucket)
    if bucket == "defeat" and (points is None or points < settings.report.final_min):
        # Half of a defeat is a tie: the king is worth learning from where it wins by what final/ asks of a challenger.
        raise ItemError("opponent-did-not-win", f"score {kept.score} leaves {opponent} below final_min")
    accepted = str(getattr(kept, winner))
    if problem := turn.format_problem(accepted):
        raise ItemError(f"malformed-{problem}", f"the accepted turn ({winner}) is not one well-formed turn")
    commit = workspace.commit(kept.instance_id) or Commit(instance_id=kept.instance_id)
    made = kept.made(winner)
    return Example(
        id=stem,
        instance_id=kept.instance_id,
        repo=kept.repo or commit.repo or repository_of(kept.instance_id),
        license=commit.license,
        base_commit=commit.commit,
        messages=(*kept.messages, Message(role="assistant", content=accepted)),
        rejected=str(getattr(kept, loser)),
        others=_other_losers(kept, settings),
        score=points,
        score_expected=_from_the_winner(kept.score_expected, bucket),
        bucket=bucket,
        style=shell.style(turn.command(accepted)),
        model=made.model if made else "",
        template=made.template_hash if made else "",
        agent="mini-swe-agent-1",
        dataset=kept.source.dataset,
        revision=kept.source.revision,
        audit=kept.audit(winner),
    )


def _other_losers(kept: Kept, settings: Settings) -> tuple[str, ...]:
    """The texts of candidates that were not chosen; one that leaks is nothing to learn from, on either side.

    Nor is one that does the same as another: it may do what the accepted turn does; nor a rewrite (`duel refine`) that
    does not stand there: it may well be the better one.
    """
    unproven = {one.id for one in kept.candidates if one.selection and one.selection.outcome == "same"}
    unproven |= {one.id for one in kept.rewrites()}
    others = [one for one in kept.candidates if not one.chosen and one.text.strip() and one.id not in unproven]
    clean = [candidate.text for candidate in others if placement.obstacle(candidate.audit, settings) is None]
    return tuple(dict.fromkeys(clean))


def _from_the_winner(score: float | None, bucket: Bucket) -> float | None:
    return score if score is None or bucket != "defeat" else round(100 - score, 6)


def _freshly_audited(workspace: Workspace, kept: Kept, path: Path, folders: list[Path]) -> Kept:
    """The turn with the candidates of its answer, whose audit may be newer than the bucket."""
    answer = workspace.find_answer(path.stem, folders)
    try:
        found = workspace.read(answer, Answer) if answer else None
    except ItemError:
        return kept
    same = found is not None and (found.king, found.challenger) == (kept.king, kept.challenger)
    return kept.model_copy(update={"candidates": found.candidates}) if found is not None and same else kept


def _score(workspace: Workspace, stem: str) -> Score | None:
    path = workspace.score_path(stem)
    try:
        return workspace.read(path, Score) if path.exists() else None
    except ItemError:
        return None


def repository_of(instance_id: str) -> str:
    """`owner/name` of an id like `owner__name-123`; "" where it has another shape."""
    owner, separator, rest = instance_id.partition("__")
    name = rest.rpartition("-")[0]
    return f"{owner}/{name}" if separator and name else ""
