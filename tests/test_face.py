"""`import duel`: the small face that notebooks, tests and clusters use."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import duel
from tests.conftest import ROOT, run_command


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A workspace with at least ten answers."""
    (tmp_path / "chain.toml").write_text("[sample]\nn = 10\n")
    for stage in ("prompt.py", "king.py", "ch.py"):
        run_command(stage, "--workspace", tmp_path, "--offline", code=0)
    return tmp_path


def test_a_notebook_completes_the_names_of_the_face() -> None:
    assert set(dir(duel)) == {*duel.__all__, "__version__"}


def test_a_notebook_judges_ten_pairs_with_two_functions(judged: Path) -> None:
    workspace = duel.Workspace(judged)
    settings = duel.load_settings(workspace.root)
    answers = [answer for _, answer in workspace.answers([])][:10]

    def shorter(history: object, first: str, second: str) -> int:
        return 1 if len(first) < len(second) else 2 if len(second) < len(first) else 0

    def reads(history: object, first: str, second: str) -> int:
        return ("cat" in second) * 2 if "cat" not in first else int("cat" not in second)

    scores = duel.judge(answers, {"shorter": shorter, "reads": reads}, settings)
    verdict = duel.verdict(scores, settings)
    assert len(scores) == verdict.turns == verdict.parsed == 10
    assert set(verdict.by_judge) == {"shorter", "reads"}


def test_a_judge_that_always_prefers_the_challenger_wins_every_dimension() -> None:
    scores = duel.judge([("king", "challenger")] * 40, {"j": lambda _, first, second: 1 + (second == "challenger")})
    assert {score.score for score in scores} == {100.0}
    assert duel.verdict(scores).accepted


def test_a_judge_that_prefers_what_it_sees_first_draws() -> None:
    assert [score.score for score in duel.judge([("a", "b")], {"first": lambda *_: 1})] == [50.0]


def test_a_judge_that_gives_something_else_is_named() -> None:
    with pytest.raises(ValueError, match="the judge odd must give 0, 1 or 2"):
        duel.judge([("a", "b")], {"odd": lambda *_: 3})


def test_every_name_of_the_face_is_there_and_stands_in_its_page() -> None:
    page = ast.get_docstring(ast.parse((ROOT / "duel" / "__init__.py").read_text("utf-8"))) or ""
    for name in duel.__all__:
        assert getattr(duel, name)
    assert all(f"duel.{name}" in page for name in ("Workspace", "load_settings", "stages", "judge", "verdict"))
    with pytest.raises(AttributeError):
        _ = duel.nothing


def test_importing_duel_imports_nothing_else() -> None:
    code = (
        "import sys, duel; print([name for name in sys.modules if name.startswith('duel.')], 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"
