"""`duel bench-judges`: known pairs before the panel, published verdicts through the same door."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import orjson
import pytest

from duel import settings
from duel.errors import SourceError
from duel.judging import known_truth
from duel.judging.known_truth import judge_table
from duel.offline import overrides
from duel.settings import Settings
from duel.stages import bench_judges
from duel.workspace import Workspace


def offline(workspace: Workspace) -> Settings:
    return settings.load(workspace.root, *overrides(True))


def test_the_panel_is_asked_with_and_without_evidence_and_a_rerun_asks_nothing(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    told = bench_judges.plan(workspace, offline(workspace), each=1, rollouts=6, offline=True)
    first = bench_judges.run(workspace, offline(workspace), each=1, rollouts=6, offline=True)
    assert first.calls is not None
    assert told.calls * 2 == first.calls.calls == 6 * first.calls.done
    for arm in ("without", "with"):
        rows = {(row["judge"][-1], row["kind"]): row for row in first.found[arm]["judges"]}
        assert {judge for judge, _ in rows} == {"a", "b", "c"}
        assert rows["a", "two-blocks"]["pairs"] == 1
        assert all(row["unparsed"] == 0 and 0 <= row["accuracy"] <= 1 for row in rows.values())
        assert [row["judges"] for row in first.found[arm]["panels"]] == [3, 2, 2, 2]
    assert orjson.loads((workspace.report / "judges.json").read_bytes()) == json.loads(json.dumps(first.found))
    again = bench_judges.run(workspace, offline(workspace), each=1, rollouts=6, offline=True)
    assert again.found == first.found
    assert again.calls is not None and again.calls.calls == 0
    # What counts is what counts in a duel: the same votes, on one dimension.
    (tmp_path / "chain.toml").write_text('[judge]\nmetric_keys = ["protocol"]\n')
    other = bench_judges.run(workspace, offline(workspace), each=1, rollouts=6, offline=True)
    assert other.calls is not None and other.calls.calls == 0
    assert other.found != first.found


def test_where_nothing_can_be_run_judges_are_asked_without_evidence(tmp_path: Path) -> None:
    (tmp_path / "chain.toml").write_text('[execute]\nbackend = "off"\n')
    workspace = Workspace(tmp_path)
    found = bench_judges.run(workspace, offline(workspace), each=1, rollouts=6, offline=True).found
    assert found["without"]["judges"] and not found["with"]["judges"]


LABELS = """subset,judge,strategy,item,label,winner_unswapped,winner_swapped
A,j,plain,0,1,1,1
A,j,plain,1,2,2,1
A,j,plain,2,1,,1
B,j,plain,0,2,1,1
A,k,plain,0,1,2,2
"""


def test_published_verdicts_come_through_the_same_door(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(LABELS)
    workspace = Workspace(tmp_path)
    found = bench_judges.run(workspace, Settings(), labels=str(tmp_path / "labels.csv")).found
    rows = {(row["judge"], row["kind"]): row for row in found["without"]["judges"]}
    assert rows["j plain", "A"]["accuracy"] == (1 + 0.5 + 0.5) / 3
    assert rows["j plain", "B"]["accuracy"] == 0.0
    assert rows["j plain", "all"]["pairs"] == 4
    assert rows["j plain", "all"]["flips"] == 2
    assert rows["k plain", "A"]["accuracy"] == 0.0


def test_labels_by_majority_of_people_leave_out_items_without_one(tmp_path: Path) -> None:
    text = "idx,annotator1,annotator2,annotator3,j\n0,1,1,2,1\n1,1,2,0,1\n2,0,0,1,Tie\n3,2,2,2,garbage\n"
    (tmp_path / "labels.csv").write_text(text)
    pairs, said = known_truth.read_labels(tmp_path / "labels.csv")
    assert [(pair.id, pair.control) for pair in pairs] == [("0", False), ("2", True), ("3", False)]
    assert said == {("j", "0"): (1.0,), ("j", "2"): (0.5,), ("j", "3"): (0.5,)}


@pytest.mark.parametrize("raw", [b"a,b\n1,2\n", b"\xff\xfe\x00", b""])
def test_a_file_in_another_shape_is_one_clear_message(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "labels.csv").write_bytes(raw)
    with pytest.raises(SourceError, match="labels"):
        known_truth.read_labels(tmp_path / "labels.csv")


def test_llmbars_published_accuracies_are_reproduced(shared: Path) -> None:
    published = json.loads((shared / "judgments/llmbar/statistics.json").read_text("utf-8"))
    pairs, said = known_truth.read_labels(shared / "judgments/llmbar/verdicts.csv.gz")
    rows = {(row["kind"], row["judge"]): row for row in judge_table(pairs, said, {})}
    for name, figures in published.items():
        kind, judge = name.split("|", 1)
        row = rows[kind, judge.replace("|", " ")]
        assert 100 * row["accuracy"] == pytest.approx(float(figures["correct_average"].rstrip("%")), abs=1e-9)


def test_pandalms_published_accuracies_are_reproduced(shared: Path) -> None:
    pairs, said = known_truth.read_labels(shared / "judgments/pandalm/labels.csv")
    right: Counter[str] = Counter()
    for row in judge_table(pairs, said, {}):
        right[row["judge"]] += row["right"] if row["kind"] != "all" else 0
    shares = {judge: round(100 * count / len(pairs), 2) for judge, count in right.items()}
    assert shares == {"gpt35": 71.07, "pandalm7b": 66.77}  # what the shipped labels give; nobody looked it up
