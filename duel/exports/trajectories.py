"""Whole conversations out of any file with `messages`: parquet, JSON lines or JSON; a file, a folder or a glob."""

import glob
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from duel import shell, turn
from duel.conversation import dialogue, message_rows, record_files
from duel.conversation.model import Session
from duel.conversation.values import loaded, parts, text
from duel.environment import expanded
from duel.errors import ItemError, SourceError
from duel.exports.duels import repository_of
from duel.exports.example import Dropped, Example, Loaded
from duel.records import Message

SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".gz", ".zst")
_HINT = "a trajectory file has a column `messages` of {role, content}; mine.py makes one out of session logs"


def load(source: str, here: Path) -> list[Loaded]:
    """What each file holds; relative paths are relative to `here`. Raises SourceError where there is none.

    A single file that cannot be read is the user's mistake; one of many is dropped by its name, and the rest goes on.
    """
    files = find(source, here)
    if len(files) == 1:
        return [_file(path, path.name) for path in files.values()]
    repeated = Counter(path.name for path in files.values())
    loaded = []
    for place, path in files.items():
        name = place if repeated[path.name] > 1 else path.name
        try:
            loaded.append(_file(path, name))
        except SourceError as error:
            loaded.append(Loaded(1, [], [Dropped(name, "", "unreadable-file", str(error.value or error.what))], name))
    return loaded


def find(source: str, here: Path) -> dict[str, Path]:
    """The files that `source` names, in order, by their place in it. Raises SourceError."""
    files = record_files.find(source, (here,), SUFFIXES)
    known = ", ".join(SUFFIXES)
    if not files and not glob.has_magic(source) and not (here / expanded(source)).is_dir():
        raise SourceError("no such file", where=source, hint="--from takes a file, a folder or a glob")
    if not files:
        raise SourceError("no trajectory file is there", where=source, hint=f"looked for {known}")
    for file in files.values():
        if file.suffix not in SUFFIXES:
            raise SourceError("not a kind of trajectory file that is known", where=file, hint=f"known: {known}")
    return files


def with_outcomes(examples: list[Example], file: Path) -> list[Example]:
    known = outcomes(file)
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

    def under(messages: Sequence[Message]) -> tuple[Message, ...]:
        return (system, *messages[int(messages[0].role == "system") :]) if messages else ()

    def changed(example: Example) -> Example:
        messages = under(example.messages)
        shift = len(messages) - len(example.messages)
        refused = tuple((place + shift, said) for place, said in example.refused)
        return replace(example, messages=messages, native=under(example.native), refused=refused)

    return [changed(example) for example in examples]


def outcomes(file: Path) -> dict[str, bool]:
    """{instance id, or instance id#row: whether its run solved the issue} out of a JSON file. Raises SourceError.

    Values are true and false, or, as `duel verify` writes them, objects whose `resolved` is true, false or null.
    """
    try:
        table = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise SourceError("cannot read the outcomes", where=file, value=error) from None
    rows = table if isinstance(table, dict) else {"": ""}
    told = {name: value.get("resolved", "") if isinstance(value, dict) else value for name, value in rows.items()}
    for name, value in rows.items():
        if not isinstance(told[name], bool) and not (isinstance(value, dict) and told[name] is None):
            what = "outcomes must be a JSON object of instance id and true or false, or an object with `resolved`"
            raise SourceError(what, where=file, value=name)
    return {name: value for name, value in told.items() if isinstance(value, bool)}


def _file(path: Path, name: str) -> Loaded:
    examples: list[Example] = []
    dropped: list[Dropped] = []
    found = 0
    if not path.is_file():
        raise SourceError("not a file", where=path, value="a link to nowhere, or a device")
    for row, record in enumerate(_records(path)):
        found += 1
        identity = f"{name}#{row}"
        instance_id = str(record.get("instance_id") or "") if isinstance(record, Mapping) else ""
        try:
            if isinstance(record, ItemError):
                raise record
            examples.append(example_of(record, identity, path.name.split(".")[0]))
        except ItemError as error:
            dropped.append(Dropped(identity, instance_id, error.reason, error.what))
    return Loaded(found, examples, dropped, origin=name)


def example_of(record: Mapping[str, Any], identity: str, name: str = "") -> Example:
    messages, native, session = _conversation(record, identity)
    native = _kept_calls(record) or native
    if not any(message.role == "assistant" for message in (*messages, *native)):
        raise ItemError("no-agent-turn", "the conversation holds no agent turn")
    instance_id = text(record, "instance_id") or name
    return Example(
        id=identity,
        instance_id=instance_id,
        repo=text(record, "repo") or repository_of(instance_id),
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
        refused=_refused(record, messages),
        resolved={"success": True, "failure": False}.get(session.verdict),
        recorded=True,
    )


def _refused(record: Mapping[str, Any], messages: list[Message]) -> tuple[tuple[int, str], ...]:
    """What `duel guide` marked: the proposals that did not run, each with the place of the turn that did."""
    rows = loaded(record.get("interventions"))
    rows = rows if isinstance(rows, list) else []
    told = [(row.get("message"), text(row, "proposal")) for row in rows if isinstance(row, Mapping)]
    places = [place for place, message in enumerate(messages) if message.role == "assistant"]
    return tuple((place, said) for place, said in told if said.strip() and place in places)


def _records(path: Path) -> Iterator[Mapping[str, Any] | ItemError]:
    try:
        for record in record_files.records(path):
            if isinstance(record, record_files.Hole):
                yield ItemError("damaged", f"line {record.line} is no JSON object")
            else:
                info = record.get("info")
                yield {**info, **record} if isinstance(info, dict) else record
    except ItemError as error:
        raise SourceError("the file cannot be read", where=path, value=error.what, hint=_HINT) from None
    except OSError as error:
        raise SourceError("cannot read the file", where=path, value=error.strerror) from None


def _conversation(record: Mapping[str, Any], identity: str) -> tuple[list[Message], list[Message], Session]:
    """(the messages as recorded, the same with native calls where the text holds the actions, the session)."""
    rows = message_rows.conversation(record)
    if not rows:
        raise ItemError("no-messages", "the row holds no list of {role, content}")
    session = message_rows.session(record, "", identity)
    if session.refusal:
        raise ItemError(session.refusal, session.detail)
    native = [Message.model_validate(message) for message in dialogue.native_chat(session)]
    if not session.acts_in_text:
        return native, [], session
    said = []
    for row in [row for row in rows if row["role"] != "exit"]:
        content, images = parts(row["content"])
        if images:
            raise ItemError("content-not-text", "a message holds something else than text")
        # What a tool answers is a message of the user there.
        said.append(Message(role="user" if row["role"] == "tool" else row["role"], content=content))
    return said, [] if session.keeps_protocol or not session.calls else native, session


def _kept_calls(record: Mapping[str, Any]) -> list[Message]:
    """What mine.py kept beside the text: the same session with its tool calls, under its own system prompt."""
    rows = loaded(record.get("native_messages"))
    if not isinstance(rows, list) or not rows:
        return []
    messages, _, _ = _conversation({"messages": rows}, "")
    system = text(record, "system_prompt")
    return [Message(role="system", content=system), *messages] if system and messages[0].role != "system" else messages


def _style(messages: list[Message]) -> str:
    last = next((message for message in reversed(messages) if message.role == "assistant"), None)
    calls = dialogue.calls_in(last) if last else ()
    return calls[-1].name if calls else shell.style(turn.command(last.content)) if last else ""
