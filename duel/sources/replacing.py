"""What a new draw does with what an older one left: shared turns keep their files, the others go to `attic/`.

A turn is known by its pull request, its row in the dataset and its place in the rollout, whatever its file is called.
The attic holds whole answers and scores under their old names and a hash of the turn; a later draw that has the turn
again takes them back. Every step can be repeated after a kill.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from duel.command import say
from duel.errors import ItemError
from duel.records import Answer, Prompt, Score
from duel.workspace import Workspace


def replace(workspace: Workspace, answers_per_dir: int) -> None:
    wanted = {stem: (position, turn_of(prompt)) for stem, position, prompt in workspace.prompts([])}
    attic, retired, recalled = workspace.attic, 0, 0
    for path, answer in workspace.answers([]):
        turn = turn_of(answer)
        if wanted.get(path.stem, (0, ""))[1] != turn:
            name = f"{turn}~{path.stem}.json"
            _move(path, attic / "answer" / name)
            _move(workspace.score_path(path.stem), attic / "score" / name)
            retired += 1
    for path in workspace.score_paths():  # of an answer that is gone
        if path.stem not in wanted:
            _move(path, attic / "score" / f"{'0' * 16}~{path.stem}.json")

    newest_last = sorted((attic / "answer").glob("*~*.json"), key=lambda path: path.stat().st_mtime)
    kept = {path.name.partition("~")[0]: path for path in newest_last}
    folders = workspace.answer_folders()
    for stem, (position, turn) in wanted.items():
        if turn not in kept or workspace.find_answer(stem, folders) is not None:
            continue
        score = attic / "score" / kept[turn].name
        with suppress(ItemError):
            workspace.save(workspace.score_path(stem), workspace.read(score, Score).model_copy(update={"file": stem}))
            score.unlink()
        _move(kept[turn], workspace.new_answer_path(stem, position, answers_per_dir))
        recalled += 1
    if recalled:
        say(f"{recalled:,} turns of an earlier draw are in this one as well: their answers and votes are kept")
    if retired > recalled:
        say(f"{retired - recalled:,} turns of an earlier draw are not in this one: moved to {attic}")


def turn_of(record: Prompt | Answer) -> str:
    """What identifies a turn: 16 hexadecimal digits."""
    source = record.source
    parts = [record.instance_id, source.dataset, source.file, str(source.row), str(record.turn)]
    if source.row < 0:  # from elsewhere: only its text tells it from others
        parts.append(record.assistant)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _move(path: Path, to: Path) -> None:
    if path.exists():
        to.parent.mkdir(parents=True, exist_ok=True)
        path.replace(to)


def retire_prompts(workspace: Workspace, written: set[Path]) -> None:
    for path in workspace.prompt_files():
        if path not in written:
            _move(path, workspace.attic / "prompt" / path.name)
