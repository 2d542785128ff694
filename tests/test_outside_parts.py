"""One small file of another distribution adds a part of each kind; help, errors and runs know it by its name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from duel.offline import SAMPLE
from duel.workspace import Workspace
from tests.conftest import Finished
from tests.offline import watched

Program = Callable[..., Finished]

PARTS = {
    "export_format": "shouting = toys.shouting:SHOUTING",
    "session_reader": "diary = toys.diary",
    "audit_check": "no-sed = toys.no_sed:no_sed",
    "figure": "counted = toys.short_wins:counted",
    "judge": "shorter = toys.shorter:shorter",
    "executor": "paper = toys.paper:make",
    "reply_task": "one-line = toys.one_line:ONE_LINE",
}


@pytest.fixture
def toys(tmp_path: Path) -> str:
    """A folder with the installed distribution `toys`, for PYTHONPATH."""
    place = tmp_path / "site"
    about = place / "toys-1.0.dist-info"
    shutil.copytree(Path(__file__).parent / "parts", place / "toys", ignore=shutil.ignore_patterns("__pycache__"))
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("\n".join(f"[duel.{kind}]\n{part}" for kind, part in PARTS.items()))
    return str(place)


def test_an_export_format_from_outside_stands_in_the_help_and_writes_its_rows(
    program: Program, toys: str, tmp_path: Path
) -> None:
    assert "shouting" in program("export", "--help", code=0, PYTHONPATH=toys).out
    source = SAMPLE / "trajectories.parquet"
    program("export", "--workspace", tmp_path, "--offline", "--from", source, "--format", "shouting", PYTHONPATH=toys)
    row = orjson.loads((tmp_path / "export/shouting/train.jsonl").read_bytes().splitlines()[0])
    assert row["shouted"] == row["messages"][-1]["content"].upper()


def test_a_session_reader_from_outside_tells_its_files_from_others(program: Program, toys: str, tmp_path: Path) -> None:
    (tmp_path / "monday.jsonl").write_text('{"dear diary": "ls src"}\n')
    program("mine", tmp_path / "monday.jsonl", "--workspace", tmp_path, code=0, PYTHONPATH=toys)
    (row,) = pq.read_table(tmp_path / "mined.parquet").to_pylist()
    assert "```bash\nls src\n```" in row["messages"][-2]["content"]


def test_check_figure_and_executor_from_outside_take_part_in_a_run(program: Program, toys: str, tmp_path: Path) -> None:
    (tmp_path / "chain.toml").write_text("[sample]\nn = 8\n")
    done = program("run", "--offline", "--execute", "paper", "--workspace", tmp_path, PYTHONPATH=toys)
    assert done.code in {0, 1}, done.err
    workspace = Workspace(tmp_path)
    assert "executing with paper and pencil" in done.err
    verdict = workspace.verdict()
    assert verdict.figures["counted"] == [
        {"what": "turns", "figure": verdict.parsed, "meaning": "how many turns have a score"}
    ]
    edited = {path.stem for path, answer in workspace.answers([]) if "sed " in answer.challenger}
    minded = {row["file"] for row in workspace.dropped() if row["reason"] == "no-sed"}
    assert edited and minded == edited
    assert not edited & {path.stem for path in workspace.kept_paths("final")}


def test_a_judge_from_outside_votes_beside_models_and_is_asked_of_no_endpoint(
    program: Program, script: Program, toys: str, tmp_path: Path
) -> None:
    (tmp_path / "chain.toml").write_text(
        '[sample]\nn = 6\n[judge]\nmodels = ["offline-stand-in/judge-a", "rule:shorter"]\n'
    )
    for stage in ("prompt", "king", "ch"):
        script(stage, "--offline", "--workspace", tmp_path)
    with watched.endpoint() as stand_in:
        online = {"CHUTES_BASE_URL": stand_in.base_url, "PYTHONPATH": toys}
        alone = script("validate", "--workspace", tmp_path, code=2, CHUTES_BASE_URL=stand_in.base_url)
        assert "unknown judge" in alone.err
        program("validate", "--workspace", tmp_path, code=0, **online)
    scores = [score for _, score in Workspace(tmp_path).scores([])]
    votes = [vote for score in scores for vote in score.votes if vote.judge == "rule:shorter"]
    assert votes
    assert all(vote.parsed and not vote.usage for vote in votes)
    assert "rule:shorter" in Workspace(tmp_path).verdict().by_judge


def test_a_judge_from_outside_that_breaks_costs_its_votes_and_not_the_run() -> None:
    from duel.judging.panel import attempt
    from duel.judging.rubric import JudgedPair

    vote = attempt("rule:broken", lambda history, first, second: 7, JudgedPair("one", [], "a", "b"), "king_first")
    assert (vote.parsed, vote.error.split(":")[0]) == (False, "rule-failed")


def test_a_kind_of_reply_from_outside_is_known_by_its_rows(toys: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from duel.conversation import tasks
    from duel.registry import Registry

    monkeypatch.syspath_prepend(toys)
    known = Registry[tasks.ReplyTask]("reply_task")
    monkeypatch.setattr(tasks, "TASKS", known)
    assert tasks.of_format("one-line-1").problem("two\nlines") == "several-lines"
