"""What a new draw does with what an older one left: shared turns keep their files, the others go to `attic/`.

A turn is known by its pull request, its row in the dataset and its place in the rollout, whatever its file is called.
The attic holds whole answers and scores under their old names and a hash of the turn; a later draw that has the turn
again takes them back. Every step can be repeated after a kill.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from duel.command import say
from duel.errors import ItemError
from duel.records import Answer, Prompt, Score
from duel.workspace import Workspace


def replace(workspace: Workspace, answers_per_dir: int) -> None:
    wanted = {stem: (position, turn_of(prompt)) for stem, position, prompt in workspace.prompts([])}
    retired = sum(_retire(workspace, wanted))
    recalled = sum(_recall(workspace, wanted, answers_per_dir))
    if recalled:
        say(f"{recalled:,} turns of an earlier draw are in this one as well: their answers and votes are kept")
    if retired > recalled:
        say(f"{retired - recalled:,} turns of an earlier draw are not in this one: moved to {workspace.attic}")


def turn_of(record: Prompt | Answer) -> str:
    """What identifies a turn: 16 hexadecimal digits."""
    source = record.source
    parts = [record.instance_id, source.dataset, source.file, str(source.row), str(record.turn)]
    if source.row < 0:  # from elsewhere: only its text tells it from others
        parts.append(record.assistant)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _retire(workspace: Workspace, wanted: dict[str, tuple[int, str]]) -> Iterator[int]:
    for path, answer in workspace.answers([]):
        turn = turn_of(answer)
        if wanted.get(path.stem, (0, ""))[1] == turn:
            continue
        name = f"{turn}~{path.stem}.json"
        _move(path, workspace.attic / "answer" / name)
        _move(workspace.score_path(path.stem), workspace.attic / "score" / name)
        yield 1
    for path in workspace.score_paths():  # of an answer that is gone
        if path.stem not in wanted:
            _move(path, workspace.attic / "score" / f"{'0' * 16}~{path.stem}.json")


def _recall(workspace: Workspace, wanted: dict[str, tuple[int, str]], answers_per_dir: int) -> Iterator[int]:
    kept: dict[str, Path] = {}
    for path in sorted((workspace.attic / "answer").glob("*~*.json"), key=lambda path: path.stat().st_mtime):
        kept[path.name.partition("~")[0]] = path
    folders = workspace.answer_folders()
    for stem, (position, turn) in wanted.items():
        if turn not in kept or workspace.find_answer(stem, folders) is not None:
            continue
        answer, score = kept[turn], workspace.attic / "score" / kept[turn].name
        try:
            found = workspace.read(score, Score).model_copy(update={"file": stem})
        except ItemError:
            found = None
        if found is not None:
            workspace.save(workspace.score_path(stem), found)
            score.unlink()
        _move(answer, workspace.new_answer_path(stem, position, answers_per_dir))
        yield 1


def _move(path: Path, to: Path) -> None:
    if path.exists():
        to.parent.mkdir(parents=True, exist_ok=True)
        path.replace(to)


def retire_prompts(workspace: Workspace, written: set[Path]) -> None:
    for path in workspace.prompt_files():
        if path not in written:
            _move(path, workspace.attic / "prompt" / path.name)
