"""What is exported: turns out of the buckets, or whole conversations out of any file with `messages`.

Out of `defeat/` the king is the winner. A file is parquet, JSON lines or JSON.
"""

import glob
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from duel import placement, shell, turn, untrusted
from duel.audit import protocol
from duel.conversation import dialogue, message_rows, record_files
from duel.conversation.model import Session
from duel.conversation.values import loaded, parts, text
from duel.environment import expanded
from duel.errors import ItemError, SourceError, require
from duel.exports.example import Dropped, Example, ExportError, Loaded, SpilledMessages
from duel.records import Answer, Audit, Bucket, Commit, Kept, Message, Score, Side
from duel.settings import Settings
from duel.spill import Spill
from duel.workspace import BUCKETS, Workspace

SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".gz", ".zst")
_HINT = "a trajectory file has a column `messages` of {role, content}; mine.py makes one out of session logs"


def buckets_of(text: str, *, defeat_pairs: bool = False) -> list[Bucket]:
    """The buckets of a comma-separated list, `defeat` added on request. Raises ExportError for an unknown one."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in BUCKETS]
    if unknown or not names:
        known = f"known: {', '.join(BUCKETS)}"
        raise ExportError("unknown bucket", where="--buckets", value=", ".join(unknown) or text, hint=known)
    return [bucket for bucket in BUCKETS if bucket in names or (bucket == "defeat" and defeat_pairs)]


def turns(workspace: Workspace, settings: Settings, buckets: Sequence[Bucket]) -> list[Loaded]:
    """The turns of each bucket. Raises ExportError where a bucket that was asked for is empty."""
    spill, folders = Spill(workspace.private), workspace.answer_folders()
    everything = []
    for bucket in buckets:
        here = Loaded(len(paths := workspace.kept_paths(bucket)), origin=bucket)
        everything.append(here)
        for path in paths:
            instance_id = ""
            try:
                kept = workspace.read(path, Kept)
                instance_id = kept.instance_id
                require(instance_id not in settings.generate.exclude_ids, "excluded", "by `[generate] exclude_ids`")
                answer = workspace.find_answer(path.stem, folders)
                with suppress(ItemError):  # the audit of the answer's candidates may be newer than the bucket
                    found = workspace.read(answer, Answer) if answer else kept
                    if (found.king, found.challenger) == (kept.king, kept.challenger):
                        kept = kept.model_copy(update={"candidates": found.candidates})
                made = _example(workspace, settings, bucket, path.stem, kept)
                here.examples.append(replace(made, messages=SpilledMessages(made.messages, spill)))
            except ItemError as error:
                here.dropped.append(Dropped(path.stem, instance_id, error.reason, error.what))
    for here in everything:
        if not here.found:
            filled = [name for name in BUCKETS if workspace.kept_paths(name)]
            hint = f"these hold turns: {', '.join(filled)} (--buckets)" if filled else "run report.py first"
            raise ExportError("the bucket is empty", where=workspace.root / here.origin, hint=hint)
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
    # Candidates that were not chosen are further losers, but for those that may be as good: rewrites, a king that was
    # in no choice (the noise floor's), and what does the same, was compared with none, or drew.
    kings = {one.id for one in kept.of_side("king") if one.made and not one.selection}
    unproven = kings | {one.id for one in kept.rewrites()}
    why = {one.id: one.selection for one in kept.candidates if one.selection}
    unproven |= {name for name, how in why.items() if how.outcome in ("same", "not-compared") or how.score == 50}
    others = [one for one in kept.candidates if not one.chosen and one.text.strip() and one.id not in unproven]
    others = [one for one in others if placement.obstacle(kept.audit_of(one), settings) is None]
    commit = workspace.commit(kept.instance_id) or Commit(instance_id=kept.instance_id)
    made, audit = kept.made(winner), kept.audit(winner)
    if audit is None and bucket == "defeat":  # `duel audit` looks at challengers, and this one is the loser
        audit = Audit(attempts=untrusted.attempts(accepted), protocol=protocol.check(accepted, kept.messages))
    return Example(
        id=stem,
        instance_id=kept.instance_id,
        repo=kept.repo or commit.repo or message_rows.repository_of(kept.instance_id),
        license=commit.license,
        base_commit=commit.commit,
        messages=(*kept.messages, Message(role="assistant", content=accepted)),
        rejected=str(getattr(kept, loser)),
        others=tuple(dict.fromkeys(one.text for one in others)),
        score=points,
        score_expected=expected,
        bucket=bucket,
        style=shell.style(turn.command(accepted)),
        model=made.model if made else "",
        template=made.template_hash if made else "",
        agent="mini-swe-agent-1",
        dataset=kept.source.dataset,
        revision=kept.source.revision,
        audit=audit,
    )


def trajectories(source: str, here: Path) -> list[Loaded]:
    """What each file holds; relative paths are relative to `here`. Raises SourceError where there is none.

    A single file that cannot be read is the user's mistake; one of many is dropped by its name, and the rest goes on.
    """
    files = record_files.find(source, (here,), SUFFIXES)
    known = ", ".join(SUFFIXES)
    if not files and not glob.has_magic(source) and not (here / expanded(source)).is_dir():
        raise SourceError("no such file", where=source, hint="--from takes a file, a folder or a glob")
    if not files:
        raise SourceError("no trajectory file is there", where=source, hint=f"looked for {known}")
    if strange := [file for file in files.values() if file.suffix not in SUFFIXES]:
        raise SourceError("not a kind of trajectory file that is known", where=strange[0], hint=f"known: {known}")
    repeated = Counter(path.name for path in files.values())
    loaded = []
    for place, path in files.items():
        name = place if repeated[path.name] > 1 else path.name
        try:
            loaded.append(_file(path, name))
        except SourceError as error:
            if len(files) == 1:
                raise
            loaded.append(Loaded(1, [], [Dropped(name, "", "unreadable-file", str(error.value or error.what))], name))
    return loaded


def with_outcomes(examples: list[Example], file: Path) -> list[Example]:
    """The trajectories with what tests said of their runs, by instance id or instance id#row. Raises SourceError.

    Values of the JSON object are true and false, or, as `duel verify` writes, objects whose `resolved` may be null too.
    """
    try:
        table = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise SourceError("cannot read the outcomes", where=file, value=error) from None
    known = {}
    for name, value in (table if isinstance(table, dict) else {"": ""}).items():
        resolved = value.get("resolved", "") if isinstance(value, dict) else value
        if isinstance(resolved, bool):
            known[name] = resolved
        elif resolved is not None or value is None:
            what = "outcomes must be a JSON object of instance id and true or false, or an object with `resolved`"
            raise SourceError(what, where=file, value=name)
    found = []
    for example in examples:
        name = example.instance_id
        resolved = known.get(f"{name}#{example.id.rpartition('#')[2]}", known.get(name))
        told = example.recorded and resolved is not None
        found.append(replace(example, resolved=resolved, evidence=f"told by {file.name}") if told else example)
    return found


def with_system(examples: list[Example], file: Path) -> list[Example]:
    """The examples with the system prompt that the agent will have at inference. Raises SourceError."""
    try:
        system = Message(role="system", content=file.read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError("cannot read the system prompt", where=file, value=error) from None
    if not system.content:
        raise SourceError("cannot read the system prompt", where=file, value="it is empty")

    def changed(example: Example) -> Example:
        both = example.messages, example.native
        messages, native = ((system, *old[int(old[0].role == "system") :]) if old else () for old in both)
        shift = len(messages) - len(example.messages)
        refused = tuple((place + shift, said) for place, said in example.refused)
        return replace(example, messages=messages, native=native, refused=refused)

    return [changed(example) for example in examples]


def _file(path: Path, name: str) -> Loaded:
    examples, dropped = list[Example](), list[Dropped]()
    if not path.is_file():
        raise SourceError("not a file", where=path, value="a link to nowhere, or a device")
    try:
        for row, record in enumerate(record_files.records(path)):
            identity, instance_id = f"{name}#{row}", ""
            try:
                if isinstance(record, record_files.Hole):
                    raise ItemError("damaged", f"line {record.line} is no JSON object")
                info = record.get("info")
                told = {**info, **record} if isinstance(info, dict) else record
                instance_id = str(told.get("instance_id") or "")
                examples.append(example_of(told, identity, path.name.split(".")[0]))
            except ItemError as error:
                dropped.append(Dropped(identity, instance_id, error.reason, error.what))
    except ItemError as error:
        raise SourceError("the file cannot be read", where=path, value=error.what, hint=_HINT) from None
    except OSError as error:
        raise SourceError("cannot read the file", where=path, value=error.strerror) from None
    return Loaded(len(examples) + len(dropped), examples, dropped, origin=name)


def example_of(record: Mapping[str, Any], identity: str, name: str = "") -> Example:
    messages, native, session = _conversation(record, identity)
    kept = loaded(record.get("native_messages"))
    if isinstance(kept, list) and kept:
        # What mine.py kept beside the text: the same session with its tool calls, under its own system prompt.
        native, _, _ = _conversation({"messages": kept}, "")
        system = text(record, "system_prompt")
        own = [Message(role="system", content=system)] if system and native[0].role != "system" else []
        native = [*own, *native]
    acts = any(message.role == "assistant" for message in (*messages, *native))
    require(acts, "no-agent-turn", "the conversation holds no agent turn")
    instance_id = text(record, "instance_id") or name
    # What `duel guide` marked: the proposals that did not run, each with the place of the turn that did.
    rows = given if isinstance(given := loaded(record.get("interventions")), list) else []
    told = [(row.get("message"), text(row, "proposal")) for row in rows if isinstance(row, Mapping)]
    places = [place for place, message in enumerate(messages) if message.role == "assistant"]
    return Example(
        id=identity,
        instance_id=instance_id,
        repo=text(record, "repo") or message_rows.repository_of(instance_id),
        license=text(record, "license"),
        base_commit=text(record, "base_commit"),
        messages=tuple(messages),
        native=tuple(native),
        style=_style(messages) or _style(native),
        model=text(record, "model", "model_name"),
        agent=text(record, "trajectory_format"),
        dataset=identity.rpartition("#")[0],
        tools=tuple(session.tools),
        exit_status=text(record, "exit_status"),
        guess=text(record, "outcome_guess", "outcome"),
        evidence=text(record, "resolved_evidence"),
        refused=tuple((place, said) for place, said in told if said.strip() and place in places),
        resolved={"success": True, "failure": False}.get(session.verdict),
        recorded=True,
    )


def _conversation(record: Mapping[str, Any], identity: str) -> tuple[list[Message], list[Message], Session]:
    """(the messages as recorded, the same with native calls where the text holds the actions, the session)."""
    rows = message_rows.conversation(record)
    require(rows, "no-messages", "the row holds no list of {role, content}")
    session = message_rows.session(record, "", identity)
    require(not session.refusal, session.refusal, session.detail)
    native = [Message.model_validate(message) for message in dialogue.native_chat(session)]
    if not session.acts_in_text:
        return native, [], session
    said = []
    for row in [row for row in rows if row["role"] != "exit"]:
        content, images = parts(row["content"])
        require(not images, "content-not-text", "a message holds something else than text")
        # What a tool answers is a message of the user there.
        said.append(Message(role="user" if row["role"] == "tool" else row["role"], content=content))
    return said, [] if session.keeps_protocol or not session.calls else native, session


def _style(messages: list[Message]) -> str:
    last = next((message for message in reversed(messages) if message.role == "assistant"), None)
    calls = dialogue.calls_in(last) if last else ()
    return calls[-1].name if calls else shell.style(turn.command(last.content)) if last else ""
