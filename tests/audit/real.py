"""Recorded runs and pull requests as records: the bundled ones, and real ones that lie beside some checkouts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from duel.records import ChangedFile, Commit, Message


class HonestTurn(NamedTuple):
    """One turn of an agent that has never seen the pull request."""

    instance_id: str
    position: int
    history: list[Message]
    reply: str


def commits(file: Path) -> dict[str, Commit]:
    """The pull requests of a file by instance id; of a folder of real data, where its file lies."""
    import pyarrow.parquet as parquet

    rows = parquet.read_table(file / "pulls" / "train-00000-of-00001.parquet" if file.is_dir() else file).to_pylist()
    return {row["instance_id"]: commit(row) for row in rows}


def commit(row: dict[str, Any]) -> Commit:
    """A row of the pull requests as a record."""
    paths = re.findall(r"^diff --git a/(\S+)", f"{row['patch']}\n{row['test_patch']}", re.MULTILINE)
    return Commit(
        instance_id=row["instance_id"],
        repo=row["repo"],
        pull_number=int(row["pull_number"]),
        commit=row["base_commit"],
        issue=row["problem_statement"],
        description=row["pr_description"] or "",
        patch=row["patch"],
        test_patch=row["test_patch"],
        license=row["license"] or "",
        files=[ChangedFile(path=path) for path in dict.fromkeys(paths)],
    )


def rollouts(shared: Path, name: str = "mini_swe_agent") -> Iterator[tuple[str, list[Message]]]:
    """(instance id, messages) of every real run."""
    yield from rollouts_of(shared / name / "train-00000.parquet")


def rollouts_of(file: Path) -> Iterator[tuple[str, list[Message]]]:
    import pyarrow.parquet as parquet

    for row in parquet.read_table(file).to_pylist():
        yield row["instance_id"], [Message(**message) for message in row["messages"]]


def turns(shared: Path, name: str = "mini_swe_agent") -> Iterator[HonestTurn]:
    """Every assistant turn of every real run."""
    yield from turns_of(shared / name / "train-00000.parquet")


def turns_of(file: Path) -> Iterator[HonestTurn]:
    for instance_id, messages in rollouts_of(file):
        for position, message in enumerate(messages):
            if message.role == "assistant":
                yield HonestTurn(instance_id, position, messages[:position], message.content)
