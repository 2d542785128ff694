"""One judge of three is really dead, behind the real client: the verdict, the exit code, and what a rerun asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duel import calls, settings
from duel.errors import EndpointError
from duel.settings import Settings
from duel.stages import validate
from duel.workspace import Workspace
from tests.calls.faulty import Asked, Faulty, Said, good, refusal
from tests.judging.judges import TURN, write_answers

TURNS = 20
ALIVE, DEAD = ("judge/a", "judge/c"), "judge/b"
CHAIN = """
[judge]
models = ["judge/a", "judge/b", "judge/c"]
retry_initial_backoff_s = 0.01
max_429_retries = 2
[endpoint]
outage_s = 0.5
"""
DEATHS: dict[str, Callable[[Asked], Said]] = {
    "503": lambda asked: refusal(503, "No instances available"),
    "429": lambda asked: refusal(429, "slow down", {"Retry-After": "0"}),
    "silence": lambda asked: Said(end="hang"),
    "resets": lambda asked: Said(end="reset"),
    "404": lambda asked: refusal(404, "no such model"),
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    write_answers(made, TURNS, challenger=TURN.format("src", "src/main.py"))
    return made


@pytest.fixture
def judged(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Validate against the server whose play is given; (result, server)."""
    monkeypatch.setenv("CHUTES_API_KEY", "k")
    route_for = calls.route_for
    monkeypatch.setattr(calls, "route_for", lambda *given: replace(route_for(*given), hung_s=0.1))

    def run(server: Faulty, chain: str = CHAIN, **options: Any) -> Any:
        monkeypatch.setenv("CHUTES_BASE_URL", server.base_url)
        workspace.save(workspace.root / "chain.toml", chain.encode())
        return validate.run(workspace, chosen(workspace), **options)

    return run


def chosen(workspace: Workspace) -> Settings:
    return settings.load(workspace.root)


def one_dead(death: str) -> Callable[[Asked], Said]:
    return lambda asked: DEATHS[death](asked) if asked.body["model"] == DEAD else good(asked)


def asked_of(server: Faulty) -> list[str]:
    return [asked.body["model"] for asked in server.asked]


@pytest.mark.parametrize("death", DEATHS)
def test_the_others_decide_the_dead_judge_is_named_and_a_rerun_asks_only_what_is_missing(
    judged: Callable[..., Any], workspace: Workspace, capsys: pytest.CaptureFixture[str], death: str
) -> None:
    with Faulty(one_dead(death)) as server:
        result = judged(server)
        said = capsys.readouterr().err
        assert result.exit_code == 1
        assert f"{DEAD} was given up" in said
        found = result.found
        assert (found.turns, found.parsed, found.missing_votes) == (TURNS, TURNS, 2 * TURNS)
        assert {judge.judge: judge.parse_rate for judge in found.judges} == {**dict.fromkeys(ALIVE, 1.0), DEAD: 0.0}
        assert workspace.duel.exists()
        before = len(server.asked)
        server.play = good
        again = judged(server)
        assert again.exit_code == 0 and again.found.missing_votes == 0
        assert asked_of(server)[before:] == [DEAD] * 2 * TURNS


def test_a_port_that_is_closed_on_the_rerun_leaves_the_verdict_of_those_that_answered(
    judged: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with Faulty(one_dead("503")) as server:
        judged(server)
    capsys.readouterr()
    result = judged(server)
    said = capsys.readouterr().err
    assert result.exit_code == 1 and result.found.parsed == TURNS
    assert f"{DEAD} was given up" in said


def test_a_port_that_is_closed_where_every_judge_owes_something_leaves_the_verdict_of_what_is_there(
    judged: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def play(asked: Asked) -> Said:
        """Each judge refuses one turn of its own: the first, the second or the third question that it sees."""
        judge = asked.body["model"]
        met.setdefault(judge, []).append(asked.question)
        return refusal(422, "no") if met[judge].index(asked.question) == "abc".index(judge[-1]) else good(asked)

    met: dict[str, list[str]] = {}
    with Faulty(play) as server:
        first = judged(server, CHAIN.replace("[judge]", "[judge]\nquorum = 1"))
        assert first.exit_code == 1 and first.found.missing_votes == 3
    capsys.readouterr()
    result = judged(server, CHAIN.replace("[judge]", "[judge]\nquorum = 1"))
    assert result.exit_code == 1 and result.found.parsed == first.found.parsed == TURNS
    assert "the verdict is by the judges that answered" in capsys.readouterr().err


def test_a_port_that_was_never_open_or_a_quorum_that_cannot_be_reached_is_no_verdict(
    judged: Callable[..., Any], workspace: Workspace
) -> None:
    with Faulty(one_dead("503")) as server:
        with pytest.raises(EndpointError):
            judged(server, CHAIN.replace("[judge]", "[judge]\nquorum = 3"))
        assert not workspace.duel.exists()
    with pytest.raises(EndpointError):
        judged(server, again=True)
    assert not workspace.duel.exists()


def test_a_judge_that_dies_in_the_duel_is_still_named_after_the_contests_that_follow(
    judged: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def play(asked: Asked) -> Said:
        sick = asked.body["model"] == DEAD and asked.number < 4 * TURNS
        return DEATHS["404"](asked) if sick else good(asked)

    with Faulty(play) as server:
        result = judged(server, canary=3)
    assert result.exit_code == 1 and result.found.canary.turns == 3
    assert f"{DEAD} was given up" in capsys.readouterr().err
