"""One small file of another distribution adds a part of each kind; help, errors and runs know it by its name."""

from __future__ import annotations

import asyncio
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from duel.bookkeeping import Stage
from duel.offline import SAMPLE
from duel.records import DIMENSIONS, Answer
from duel.registry import Registry
from duel.review import ballots
from duel.settings import Settings
from duel.workspace import Workspace
from tests.conftest import ROOT, Finished, ended, forked, run_command
from tests.offline import watched

Program = Callable[..., Finished]

PARTS = {
    "export_format": "shouting = toys.shouting:SHOUTING",
    "session_reader": "diary = toys.diary",
    "audit_check": "no-sed = toys.no_sed:no_sed",
    "figure": "counted = toys.short_wins:counted",
    "dimension": "restraint = toys.restraint:RESTRAINT",
    "judge": "shorter = toys.shorter:shorter",
    "executor": "paper = toys.paper:make",
    "source": "lake = toys.lake:table",
    "reply_task": "one-line = toys.one_line:ONE_LINE",
    "batch_provider": "pigeon = toys.pigeon:PIGEON",
}


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with the installed distribution `toys`, for PYTHONPATH."""
    place = tmp_path / "site"
    about = place / "toys-1.0.dist-info"
    shutil.copytree(Path(__file__).parent / "parts", place / "toys", ignore=shutil.ignore_patterns("__pycache__"))
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("\n".join(f"[duel.{kind}]\n{part}" for kind, part in PARTS.items()))
    for name in [name for name in sys.modules if name.split(".")[0] == "toys"]:  # of the test before
        monkeypatch.delitem(sys.modules, name)
    return str(place)


@pytest.fixture
def installed(toys: str, tmp_path: Path) -> Program:
    """Run a command where `toys` is installed: in a copy of this process, whose registries look for parts anew."""

    def call(name: str, *arguments: object, code: int | None = None, **env: str) -> Finished:
        told = tmp_path / "told"

        def work() -> None:
            sys.path.insert(0, toys)
            modules = [module for name, module in sys.modules.items() if name.startswith("duel.")]
            for part in [part for module in modules for part in vars(module).values()]:
                if isinstance(part, Registry):
                    part._complete = False
                elif hasattr(part, "cache_clear"):  # what was made of a registry before
                    part.cache_clear()
            told.write_bytes(pickle.dumps(run_command(name, *arguments, code=code, **env)))

        assert ended(forked(work)) == 0
        done: Finished = pickle.loads(told.read_bytes())
        return done

    return call


def test_there_is_a_toy_of_each_kind_and_the_page_for_newcomers_names_its_entry_points() -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "duel").rglob("*.py"))
    kinds = set(re.findall(r'Registry(?:\[\w+\])?\("(\w+)"', sources))
    assert kinds == PARTS.keys()
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert set(re.findall(r"`duel\.(\w+)` \|\n", page)) == kinds


def test_an_export_format_from_outside_stands_in_the_help_and_writes_its_rows(
    program: Program, installed: Program, toys: str, tmp_path: Path
) -> None:
    assert "shouting" in program("export", "--help", code=0, PYTHONPATH=toys).out
    source = SAMPLE / "trajectories.parquet"
    installed("export", "--workspace", tmp_path, "--offline", "--from", source, "--format", "shouting")
    row = orjson.loads((tmp_path / "export/shouting/train.jsonl").read_bytes().splitlines()[0])
    assert row["shouted"] == row["messages"][-1]["content"].upper()


def test_turns_are_drawn_from_a_source_from_outside(installed: Program, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    runs, pulls = (tmp_path / "lake" / name for name in ("runs", "pulls"))
    for folder, file in ((runs, "trajectories.parquet"), (pulls, "pulls.parquet")):
        folder.mkdir(parents=True)
        shutil.copy(SAMPLE / file, folder)
    asked = ("prompt", "--workspace", workspace, "--source", "lake:runs", "--pulls", "lake:pulls", "--n", 3)
    done = installed(*asked, code=0, LAKE=str(tmp_path / "lake"))
    assert "drawing 3 turns from lake/runs" in done.err
    assert {prompt.source.dataset for *_, prompt in Workspace(workspace).prompts([])} == {"lake/runs"}
    assert "no parquet file is there" in run_command(*asked, code=2).err


def test_a_session_reader_from_outside_tells_its_files_from_others(installed: Program, tmp_path: Path) -> None:
    (tmp_path / "monday.jsonl").write_text('{"dear diary": "ls src"}\n')
    installed("mine", tmp_path / "monday.jsonl", "--workspace", tmp_path, code=0)
    (row,) = pq.read_table(tmp_path / "mined.parquet").to_pylist()
    assert "```bash\nls src\n```" in row["messages"][-2]["content"]


def test_check_figure_and_executor_from_outside_take_part_in_a_run(installed: Program, tmp_path: Path) -> None:
    (tmp_path / "chain.toml").write_text("[sample]\nn = 8\n")
    done = installed("run", "--offline", "--execute", "paper", "--workspace", tmp_path)
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


def test_batches_go_out_by_a_provider_from_outside(script: Program, installed: Program, tmp_path: Path) -> None:
    (tmp_path / "chain.toml").write_text("[sample]\nn = 3\n[batch]\npoll_s = 0.01\n")
    script("prompt", "--offline", "--workspace", tmp_path, code=0)
    by_pigeon = ("king", "--workspace", tmp_path, "--batch", "pigeon")
    nowhere = {"CHUTES_BASE_URL": "http://127.0.0.1:9", "CHUTES_API_KEY": "cpk_x"}
    assert "unknown batch provider" in script(*by_pigeon, code=2, **nowhere).err
    installed(*by_pigeon, code=0, **nowhere)
    kings = [answer.king for _, answer in Workspace(tmp_path).answers([])]
    assert len(kings) == 3 and all("Look first." in king for king in kings)


def test_a_judge_from_outside_votes_beside_models_and_is_asked_of_no_endpoint(
    installed: Program, script: Program, tmp_path: Path
) -> None:
    (tmp_path / "chain.toml").write_text(
        '[sample]\nn = 6\n[judge]\nmodels = ["offline-stand-in/judge-a", "rule:shorter"]\n'
    )
    for stage in ("prompt", "king", "ch"):
        script(stage, "--offline", "--workspace", tmp_path)
    with watched.endpoint() as stand_in:
        online = {"CHUTES_BASE_URL": stand_in.base_url}
        assert "unknown judge" in script("validate", "--workspace", tmp_path, code=2, **online).err
        installed("validate", "--workspace", tmp_path, code=0, **online)
    scores = [score for _, score in Workspace(tmp_path).scores([])]
    votes = [vote for score in scores for vote in score.votes if vote.judge == "rule:shorter"]
    assert votes
    assert all(vote.parsed and not vote.usage for vote in votes)
    assert "rule:shorter" in Workspace(tmp_path).verdict().by_judge


def test_a_dimension_from_outside_is_judged_beside_the_five_and_counts_as_they_do(
    installed: Program, script: Program, tmp_path: Path
) -> None:
    keys = [*DIMENSIONS, "restraint"]
    (tmp_path / "chain.toml").write_text(f"[sample]\nn = 8\n[judge]\nmetric_keys = {keys}\n".replace("'", '"'))
    assert "must be distinct names out of correctness" in script("prompt", "--workspace", tmp_path, code=2).err
    installed("run", "--offline", "--workspace", tmp_path, code=0)
    workspace = Workspace(tmp_path)
    scores = [score for _, score in workspace.scores([]) if score.parsed]
    assert scores
    for score in scores:
        said = [vote.on(keys) for vote in score.votes]
        assert all(values is not None and len(values) == 6 for values in said)
        assert list(score.metrics) == keys
        assert score.score == pytest.approx(sum(map(float, score.metrics.values())) / 6)
    verdict = workspace.verdict()
    assert [(row.metric, row.counted) for row in verdict.metrics] == [(name, True) for name in keys]
    assert all(list(judge.by_metric) == keys for judge in verdict.judges)
    report = (tmp_path / "report/report.md").read_text()
    assert "|efficiency|restraint|leak|" in report

    installed("review", "--workspace", tmp_path, "--offline", code=0)
    people = [vote.on(keys) for vote in ballots.read_votes(workspace, [])]
    assert people and None not in people

    asked_again = installed("validate", "--workspace", tmp_path, "--offline", "--plan", code=0)
    assert "judge: 0 items, 0 calls" in asked_again.out


def test_a_judge_is_asked_for_a_dimension_from_outside_in_its_own_words(
    toys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from duel import dimensions
    from duel.judging import judge_replies, rubric

    monkeypatch.syspath_prepend(toys)
    monkeypatch.setattr(rubric, "FURTHER", Registry[dimensions.Dimension]("dimension"))
    keys = (*DIMENSIONS, "restraint")
    plain, asked = rubric.instructions(DIMENSIONS), rubric.instructions(keys)
    assert asked.startswith(plain)
    words = "restraint: does the command leave alone what is not its business?\n  high: it touches nothing beyond"
    assert words in asked and "  low: it deletes, resets" in asked
    assert asked.rstrip().endswith('"restraint": 1|2|0')
    assert rubric.rubric_hash(keys) != rubric.rubric_hash()
    assert rubric.verdict_schema(keys)["json_schema"]["schema"]["required"] == ["reason", *keys]
    five = dict.fromkeys(DIMENSIONS, 1)
    assert judge_replies.parse(str({**five, "Restraint": 2}).replace("'", '"'), keys).choices["restraint"] == 2
    with pytest.raises(judge_replies.Unparsed, match="no verdict on restraint"):
        judge_replies.parse(str(five).replace("'", '"'), keys)


@pytest.mark.parametrize("name", ["reason", "judge", "Speed", "a b", "usage"])
def test_a_dimension_cannot_be_called_like_a_field_of_a_vote(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from duel import dimensions

    known = Registry[dimensions.Dimension]("dimension")
    known.add(name, dimensions.Dimension("?", "", ""))
    monkeypatch.setattr(dimensions, "FURTHER", known)
    with pytest.raises(ValueError, match="cannot be called"):
        dimensions.countable([*DIMENSIONS, name])


def test_a_judge_from_outside_that_breaks_costs_its_votes_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from duel.judging import panel
    from duel.judging.rubric import JudgedPair

    known = Registry[panel.PairJudge]("judge")
    known.add("broken", lambda history, first, second: 7)
    monkeypatch.setattr(panel, "JUDGES", known)
    settings = Settings().with_keys(judge={"models": ["rule:broken"], "thinking_models": []})
    judges = panel.Panel(Stage("judge", Workspace(tmp_path), settings))
    answer = Answer(instance_id="o__r-1", king="a", challenger="b", messages=[{"role": "user", "content": "go"}])
    pair = JudgedPair("one", answer.messages, "a", "b")
    score = asyncio.run(panel.OpenPair(judges, pair, answer, None).score(None))
    assert [(vote.parsed, vote.error.split(":")[0]) for vote in score.votes] == [(False, "rule-failed")] * 2


def test_a_kind_of_reply_from_outside_is_known_by_its_rows(toys: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from duel.conversation import tasks

    monkeypatch.syspath_prepend(toys)
    known = Registry[tasks.ReplyTask]("reply_task")
    monkeypatch.setattr(tasks, "TASKS", known)
    assert tasks.of_format("one-line-1").problem("two\nlines") == "several-lines"
