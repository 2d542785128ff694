"""Turns worth judging: phases, what decides a run, and draws whose inclusion probabilities are what they say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duel.records import Message
from duel.sections import SampleSection
from duel.settings import Settings
from duel.sources.parquet_tables import LocalTable
from duel.sources.sampling import chance, fill, kinds, odds, phases, prompts, systematic
from tests.sources.tables import base_commit, issue, pull, rollout, write_pulls, write_rollouts
from tests.sources.test_sampling import Script, configure, drawn, left_out

RUN = [
    ("ls", "0"),
    ("cat src/app.py", "0"),
    ("python -m pytest", "1"),
    ("sed -i s/True/False/ ./src/app.py", "0"),
    ("grep -n broken /testbed/src/app.py", "0"),
    ("sed -i s/x/y/ src/other.py", "0"),
]
KINDS = [{"before"}, {"before", "first-read"}, {"before", "failed"}, {"at"}, {"after"}, {"after"}]


def run_of(instance_id: str, number: int = 0, **changes: Any) -> dict[str, Any]:
    """A rollout whose commands are those of RUN."""
    task = f"Solve this.\n\n{issue(instance_id)}\n\n- Base commit: {base_commit(instance_id)}\n"
    said = [{"role": "system", "content": "One bash block per reply."}, {"role": "user", "content": task}]
    for command, code in RUN:
        said.append({"role": "assistant", "content": f"Next.\n\n```bash\n{command}\n```"})
        said.append({"role": "user", "content": f"<returncode>{code}</returncode>\n<output>\nx\n</output>"})
    return rollout(instance_id, number=number, messages=said, **changes)


def conversation() -> list[Message]:
    return [Message(**message) for message in run_of("o__r-1")["messages"]]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    ids = [f"o__r-{n}" for n in range(6)]
    write_rollouts(tmp_path / "runs.parquet", [run_of(name, number) for name in ids for number in range(2)])
    write_pulls(tmp_path / "pulls.parquet", [pull(name) for name in ids])
    return tmp_path


def drawn_turns(home: Path, sampler: Script, **sample: Any) -> Counter[int]:
    configure(home, **{"n": 6, "dataset": "runs.parquet", **sample})
    sampler("--workspace", home, code=0)
    return Counter(row["turn"] for row in drawn(home))


def test_a_turn_is_before_at_or_after_the_first_edit() -> None:
    assert [*phases(conversation()).values()] == ["before", "before", "before", "at", "after", "after"]


def test_what_decides_a_run_is_a_failure_and_the_first_look_at_a_file_of_the_pull_request() -> None:
    assert [*kinds(conversation(), {"src/app.py"}).values()] == KINDS
    assert not any("first-read" in names for names in kinds(conversation(), {"app.py.orig", "y/src/app.py"}).values())


def test_only_turns_of_the_phase_asked_for_are_drawn(runs: Path, sampler: Script) -> None:
    assert drawn_turns(runs, sampler, phase="at") == {4: 6}
    assert {row["source"]["probability"] for row in drawn(runs)} == {0.5}  # one of two rollouts, its one turn
    assert drawn_turns(runs, sampler, phase="after").keys() <= {5, 6}
    assert drawn_turns(runs, sampler, phase="before").keys() <= {1, 2, 3}


def test_a_run_without_a_turn_of_the_phase_is_counted(runs: Path, sampler: Script) -> None:
    write_rollouts(runs / "runs.parquet", [rollout("o__r-1"), run_of("o__r-2")])
    assert drawn_turns(runs, sampler, phase="at") == {4: 1}
    assert left_out(runs)["rows"] == {"other-phase": 1}


def test_weights_prefer_turns_and_the_page_and_the_probability_say_so(runs: Path, sampler: Script) -> None:
    weights = {"at": 1e6, "first-read": 1e6, "failed": 1.0}
    assert drawn_turns(runs, sampler, n=12, per_rollout=2, weights=weights) == {2: 6, 4: 6}
    page = orjson.loads((runs / "report" / "sampling.json").read_bytes())
    assert page["narrowed_by"]["weights"] == weights
    assert drawn_turns(runs, sampler, weights={"at": 5}).keys() <= {1, 2, 3, 4, 5, 6}
    assert {row["source"]["probability"] for row in drawn(runs)} <= {0.25, 0.05}  # half of 5/10 and of 1/10


def test_without_them_nothing_tells_of_them_and_an_older_draw_is_kept(runs: Path, sampler: Script) -> None:
    drawn_turns(runs, sampler)
    assert (
        not {"phase", "weights"} & orjson.loads((runs / "report" / "sampling.json").read_bytes())["narrowed_by"].keys()
    )
    mark = runs / ".duel" / "prompt.json"
    older = orjson.loads(mark.read_bytes())
    for name in ("sample", "configured"):
        del older[name]["phase"], older[name]["weights"]
    mark.write_bytes(orjson.dumps(older))
    done = sampler("--workspace", runs, code=0)
    assert "nothing to do" in done.err
    assert "has changed" not in done.err


@pytest.mark.parametrize("key", ["at = 0", "sideways = 2", "failed = inf"])
def test_a_weight_that_means_nothing_is_one_clear_message(runs: Path, sampler: Script, key: str) -> None:
    (runs / "chain.toml").write_text(f'[sample]\ndataset = "runs.parquet"\nweights = {{ {key} }}\n')
    done = sampler("--workspace", runs, code=2)
    assert "weights" in done.err
    assert "Traceback" not in done.err


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=12), st.data())
def test_the_chances_add_up_to_what_is_drawn(weights: list[float], data: st.DataObject) -> None:
    wanted = data.draw(st.integers(1, len(weights)))
    at = data.draw(st.floats(0, 1, exclude_max=True))
    chances = odds(weights, wanted)
    assert sum(chances) == pytest.approx(wanted)
    assert all(0 < one <= 1 for one in chances)
    ranked = sorted(zip(weights, chances, strict=True))
    assert [one for _, one in ranked] == sorted(one for _, one in ranked)  # a heavier one is never less likely
    places = systematic(chances, at)
    assert len({*places}) == len(places) == wanted


def test_no_place_is_drawn_twice_where_a_sum_is_rounded() -> None:
    almost_one = 0.9999999999999999
    assert systematic([1.0, 1.0, 1.0], almost_one) == [0, 1, 2]
    assert systematic([0.1] * 10 + [1.0], almost_one) == [9, 10]


@pytest.mark.parametrize(
    ("weights", "wanted"), [([1, 1, 1, 5, 1, 1], 1), ([1, 2, 3, 4], 2), ([9, 1, 1], 2), ([2, 2], 2)]
)
def test_each_is_drawn_as_often_as_its_chance_says(weights: list[float], wanted: int) -> None:
    chances = odds(weights, wanted)
    draws = Counter(place for n in range(20_000) for place in systematic(chances, chance(0, "t", n)))
    for place, expected in enumerate(chances):
        error = 4 * (expected * (1 - expected) / 20_000) ** 0.5
        assert draws[place] / 20_000 == pytest.approx(expected, abs=error + 1e-12)


def test_over_many_draws_turns_weighted_by_their_probability_count_what_is_there(tmp_path: Path) -> None:
    path = write_rollouts(tmp_path / "runs.parquet", [run_of(f"o__r-{n}", number=n) for n in range(200)])
    sample = SampleSection(weights={"at": 6, "failed": 3, "first-read": 2}, per_rollout=2, n=200, seed=5)
    table = LocalTable("runs", {"runs.parquet": path})
    changed = {f"o__r-{n}": ["src/app.py"] for n in range(200)}
    pool = fill(Settings(sample=sample), table, lambda _: None, changed)
    turns = [*pool.candidates()]
    rows = [*prompts(turns, pool, 200)]
    assert len(rows) == 400
    there = Counter[int]()
    for row in rows:
        there[row.turn] += 1 / (row.source.probability or 0)
    # Horvitz-Thompson: each of six turns stands in 200 rollouts, whatever its weight.
    for number, chance_of in enumerate(odds([1, 2, 3, 6, 1, 1], 2), start=1):
        error = 4 * (200 * (1 - chance_of) / chance_of) ** 0.5
        assert there[number] == pytest.approx(200, abs=error + 1e-2)
