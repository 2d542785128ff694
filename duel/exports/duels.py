"""Turns out of the buckets: `final/`, `refined/` and, with the king as the winner, `defeat/`."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from duel import placement, shell, turn
from duel.errors import ItemError
from duel.exports.example import Dropped, Example, ExportError, Loaded, SpilledMessages
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
    folders = workspace.answer_folders()
    everything = []
    for bucket in buckets:
        loaded = Loaded(len(paths := workspace.kept_paths(bucket)), origin=bucket)
        everything.append(loaded)
        for path in paths:
            instance_id = ""
            try:
                kept = workspace.read(path, Kept)
                instance_id = kept.instance_id
                answer = workspace.find_answer(path.stem, folders)
                with suppress(ItemError):  # the audit of the answer's candidates may be newer than the bucket
                    found = workspace.read(answer, Answer) if answer else kept
                    if (found.king, found.challenger) == (kept.king, kept.challenger):
                        kept = kept.model_copy(update={"candidates": found.candidates})
                made = _example(workspace, settings, bucket, path.stem, kept)
                loaded.examples.append(replace(made, messages=SpilledMessages(made.messages, spill)))
            except ItemError as error:
                loaded.dropped.append(Dropped(path.stem, instance_id, error.reason, error.what))
    for loaded in everything:
        if not loaded.found:
            filled = [name for name in BUCKETS if workspace.kept_paths(name)]
            hint = f"these hold turns: {', '.join(filled)} (--buckets)" if filled else "run report.py first"
            raise ExportError("the bucket is empty", where=workspace.root / loaded.origin, hint=hint)
    return everything


def _example(workspace: Workspace, settings: Settings, bucket: Bucket, stem: str, kept: Kept) -> Example:
    """One turn. The challenger is accepted over its opponent; out of `defeat/` the opponent over the challenger."""
    mode: int = settings.duel.mode
    with suppress(ItemError):
        mode = workspace.read(workspace.score_path(stem), Score).mode
    opponent: Side = "king" if mode == 2 else "assistant"
    winner, loser = (opponent, "challenger") if bucket == "defeat" else ("challenger", opponent)
    points, expected = kept.score, kept.score_expected
    if bucket == "defeat":
        points, expected = (None if score is None else round(100 - score, 6) for score in (points, expected))
        if points is None or points < settings.report.final_min:
            # Half of a defeat is a tie: the king is worth learning from where it wins by what final/ asks for.
            raise ItemError("opponent-did-not-win", f"score {kept.score} leaves {opponent} below final_min")
    accepted = str(getattr(kept, winner))
    if problem := turn.format_problem(accepted):
        raise ItemError(f"malformed-{problem}", f"the accepted turn ({winner}) is not one well-formed turn")
    # Candidates that were not chosen are further losers. One that leaks is nothing to learn from; one that does the
    # same as another may do what the accepted turn does; a rewrite (`duel refine`) that does not stand may be better.
    unproven = {one.id for one in kept.candidates if one.selection and one.selection.outcome == "same"}
    unproven |= {one.id for one in kept.rewrites()}
    others = [one for one in kept.candidates if not one.chosen and one.text.strip() and one.id not in unproven]
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
        others=tuple(dict.fromkeys(one.text for one in others if placement.obstacle(one.audit, settings) is None)),
        score=points,
        score_expected=expected,
        bucket=bucket,
        style=shell.style(turn.command(accepted)),
        model=made.model if made else "",
        template=made.template_hash if made else "",
        agent="mini-swe-agent-1",
        dataset=kept.source.dataset,
        revision=kept.source.revision,
        audit=kept.audit(winner),
    )


def repository_of(instance_id: str) -> str:
    """`owner/name` of an id like `owner__name-123`; "" where it has another shape."""
    owner, separator, rest = instance_id.partition("__")
    name = rest.rpartition("-")[0]
    return f"{owner}/{name}" if separator and name else ""
