"""A small finished duel and a small trajectory file, both made up, for every export to read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duel.exports.example import Example
from duel.records import Answer, Audit, Candidate, Commit, Kept, Made, Message, Score, Source, fingerprint
from duel.workspace import Workspace
from tests.conftest import Finished, run_command

SYSTEM = "You are an agent in a shell. Answer with a thought and one bash block."
CHALLENGER_MODEL = "example/challenger-1"
LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")


def turn(thought: str, command: str) -> str:
    return f"THOUGHT: {thought}\n\n```bash\n{command}\n```"


def words(topic: str, count: int = 60) -> str:
    """Words that only this topic has, so that no two made-up tasks are near-duplicates."""
    drawn = hashlib.shake_128(topic.encode()).hexdigest(3 * count).translate(LETTERS)
    return " ".join(drawn[at : at + 6] for at in range(0, len(drawn), 6))


def history(topic: str) -> list[Message]:
    task = f"Please fix this: {topic} prints the wrong total. {words(topic)}. Write to ann.blythe@orchard-tools.io."
    return [
        Message(role="system", content=SYSTEM),
        Message(role="user", content=task),
        Message(role="assistant", content=turn(f"I look for {topic}.", f"grep -rn {topic} src")),
        Message(role="user", content=f"Observation: src/{topic}.py:12: total = 0\n"),
    ]


def example(topic: str = "ledger", **fields: object) -> Example:
    messages = (*history(topic), Message(role="assistant", content=turn("Read it.", f"sed -n '1,40p' src/{topic}.py")))
    known = {
        "id": f"prompts_1_1_{topic}",
        "instance_id": f"acme__{topic}-1",
        "repo": f"acme/{topic}",
        "license": "MIT",
        "messages": messages,
        "rejected": turn("I guess.", "ls"),
        "score": 90.0,
        "bucket": "final",
        "style": "read",
        "model": CHALLENGER_MODEL,
        "agent": "mini-swe-agent-1",
    }
    return Example(**{**known, **fields})


def put_turn(
    workspace: Workspace,
    number: int,
    bucket: str,
    score: float,
    *,
    repo: str = "",
    topic: str = "",
    found: dict[str, Any] | None = None,
    **fields: object,
) -> str:
    """One judged turn in its bucket, with the answer (its audit: `found`), pull request and score it comes from."""
    topic = topic or f"module{number}"
    repo = repo or f"acme/tool{number}"
    stem = f"prompts_12_1_{number}"
    answer = {
        "instance_id": f"{repo.replace('/', '__')}-{number}",
        "king": turn("I guess.", "ls"),
        "challenger": turn(f"The total of {topic} starts there.", f"sed -n '1,40p' src/{topic}.py"),
        "assistant": turn("Look around.", "find . -name '*.py'"),
        "messages": history(topic),
        "repo": repo,
        "source": Source(dataset="example/rollouts", revision="0123abc"),
        **fields,
    }
    candidates = [
        Candidate(id="king-1", side="king", made=Made(model="example/king-1"), chosen=True),
        Candidate(id="challenger-1", side="challenger", made=Made(model=CHALLENGER_MODEL), chosen=True),
    ]
    answer |= {"candidates": candidates}
    candidates[1].audit = Audit(text=fingerprint(str(answer["challenger"])), **found or {})
    workspace.save(workspace.root / "answer_0" / f"{stem}.json", Answer.model_validate(answer))
    kept = Kept.model_validate({**answer, "score": score, "metrics": {}, "reason": "better", "bucket_reason": bucket})
    workspace.save(workspace.kept_path(bucket, stem), kept)
    instance_id = str(answer["instance_id"])
    commit = Commit(instance_id=instance_id, repo=repo, license="MIT" if number % 2 else "Apache-2.0", commit="f" * 40)
    workspace.save(workspace.commit_path(instance_id), commit)
    workspace.save(
        workspace.score_path(stem), Score(file=stem, instance_id=instance_id, mode=2, parsed=True, score=score)
    )
    return stem


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Twelve turns: eight final, two refined, two defeats, of which the king won one clearly."""
    return filled(tmp_path / "run")


def filled(folder: Path) -> Workspace:
    """The workspace of the fixture, for tests that share one."""
    place = Workspace(folder)
    for number in range(1, 9):
        put_turn(place, number, "final", 80 + number)
    put_turn(place, 9, "refined", 70)
    put_turn(place, 10, "refined", 66)
    put_turn(place, 11, "defeat", 50)
    put_turn(place, 12, "defeat", 5)
    (place.root / "chain.toml").write_text("[audit]\ndecontaminate = []\n")
    return place


@pytest.fixture
def trajectories(tmp_path: Path) -> Path:
    """Three recorded runs as JSON lines: one recovers from an error, one never errs, one tells the harness nothing."""
    rows = [
        {
            "instance_id": "acme__calc-7",
            "repo": "acme/calc",
            "license": "MIT",
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": "Division by zero in calc."},
                {"role": "assistant", "content": turn("Reproduce.", "python check_calc.py")},
                {
                    "role": "user",
                    "content": "<returncode>1</returncode>\n<output>\nZeroDivisionError: division by zero\n</output>",
                },
                {"role": "assistant", "content": turn("Guard it.", "sed -i '4s/0/1/' calc.py")},
                {"role": "user", "content": "<returncode>0</returncode>\n<output>\n</output>"},
                {"role": "assistant", "content": turn("Check.", "python check_calc.py")},
                {"role": "user", "content": "<returncode>0</returncode>\n<output>\nok\n</output>"},
            ],
            "trajectory_format": "mini-swe-agent-1",
            "exit_status": "Submitted",
        },
        {
            "instance_id": "acme__text-3",
            "repo": "acme/text",
            "messages": [
                {"role": "user", "content": "Rename a word."},
                {"role": "assistant", "content": turn("Find it.", "grep -rn Error src")},
                {"role": "user", "content": "Observation: src/log.py:1: class Error: pass\n"},
                {"role": "assistant", "content": turn("Done.", "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT")},
            ],
            "exit_status": "Submitted",
        },
        {
            "instance_id": "acme__mail-5",
            "repo": "acme/mail",
            "messages": [
                {"role": "user", "content": "Mail is lost."},
                {"role": "assistant", "content": "I will think first."},
                {"role": "user", "content": "Please always provide EXACTLY ONE action in triple backticks."},
                {"role": "assistant", "content": turn("List.", "ls -la")},
                {"role": "user", "content": "Observation: src\n"},
            ],
            "exit_status": "incomplete",
        },
    ]
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def needs(package: str) -> None:
    """Skip where an optional package is missing, but never in CI: there the vendors' own checks must run."""
    if os.environ.get("CI"):
        __import__(package)
    else:
        pytest.importorskip(package)


@pytest.fixture
def export(workspace: Workspace) -> Callable[..., Finished]:
    """Run `duel export` on the made-up duel."""

    def run(*flags: object, code: int = 0) -> Finished:
        return run_command("export", "--workspace", workspace.root, *flags, code=code)

    return run


def rows(workspace: Workspace, name: str, split: str = "train") -> list[dict[str, Any]]:
    lines = (workspace.root / "export" / name / f"{split}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def manifest(workspace: Workspace) -> dict[str, Any]:
    return json.loads((workspace.root / "export" / "manifest.json").read_bytes())


def files(workspace: Workspace) -> dict[str, bytes]:
    folder = workspace.root / "export"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
