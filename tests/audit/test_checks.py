"""Near-duplicates, contamination, secrets and licenses."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from duel.audit.contamination import Benchmarks
from duel.audit.duplicates import near_duplicates
from duel.audit.licenses import refused
from duel.audit.secrets import _rules, formats, scrub
from duel.errors import SettingsError
from duel.sections import AuditSection
from duel.settings import Settings
from duel.workspace import Workspace
from tests.audit import real
from tests.audit.secret_rows import DRAWN_LOOK_ALIKES, LOOK_ALIKES, PERSONAL, SECRETS, draw
from tests.conftest import Recorded

# -- near-duplicates -----------------------------------------------------------------------------------------------


def changed(text: str, share: float, rng: random.Random) -> str:
    words = text.split(" ")
    for i in rng.sample(range(len(words)), int(share * len(words))):
        words[i] = f"new{rng.randrange(10**6)}"
    return " ".join(words)


def test_copies_with_five_words_in_a_hundred_changed_are_found(recorded: Recorded) -> None:
    rng = random.Random(5)
    texts = [honest.reply for honest in real.turns_of(recorded.runs[0])]
    copies = {f"copy_{i}": changed(text, 0.05, rng) for i, text in enumerate(texts)}
    found = near_duplicates([*((f"a_{i}", text) for i, text in enumerate(texts)), *copies.items()], 0.85)
    assert sum(key in found for key in copies) >= 0.95 * len(copies)


def test_different_turns_are_no_duplicates() -> None:
    rng = random.Random(1)
    words = [f"w{i}" for i in range(4000)]
    assert near_duplicates([(f"t_{i}", " ".join(rng.choices(words, k=120))) for i in range(300)], 0.85) == {}


def test_the_first_in_natural_order_stands_for_its_group_however_they_come() -> None:
    text = "I look at the file and then at the tests of it"
    items = [("p_10", text), ("p_9", text + " again"), ("p_11", text.upper()), ("q_1", "something else entirely")]
    assert near_duplicates(items, 0.85) == {"p_10": "p_9", "p_11": "p_9"}
    assert near_duplicates(items[::-1], 0.85) == {"p_10": "p_9", "p_11": "p_9"}


def test_a_threshold_of_one_asks_for_the_same_words() -> None:
    items = [("a", "one two three"), ("b", "three two one"), ("c", "one two"), ("d", ""), ("e", "")]
    assert near_duplicates(items, 1.0) == {"b": "a", "e": "d"}


# -- contamination -------------------------------------------------------------------------------------------------


def benchmarks(tmp_path: Path, *names: str, **settings: object) -> Benchmarks:
    chosen = Settings(audit=AuditSection(decontaminate=list(names), **settings))  # type: ignore[arg-type]
    return Benchmarks.load(chosen, Workspace(tmp_path))


def test_ids_are_compared_without_case_and_across_renames(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("# a list\nAcme__Shop-12\ncarapace-sh__carapace-849\n")
    found = benchmarks(tmp_path, "ids.txt")
    assert found.checked == {"ids.txt": 2}
    assert found.reason("acme__shop-12") == "instance of ids.txt"
    assert found.reason("rsteube__carapace-849", "rsteube/carapace")
    assert found.reason("acme__shop-13") == ""


@pytest.mark.parametrize("name", ["ids.json", "ids.jsonl", "ids.csv", "ids.parquet"])
def test_lists_come_in_many_formats(name: str, tmp_path: Path) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    row = {"instance_id": "acme__shop-12", "repo": "acme/shop", "base_commit": "ab" * 20}
    match name.rsplit(".", 1)[1]:
        case "json":
            (tmp_path / name).write_text(json.dumps([row]))
        case "jsonl":
            (tmp_path / name).write_text(json.dumps(row) + "\n")
        case "csv":
            (tmp_path / name).write_text("instance_id,repo,base_commit\n" + ",".join(row.values()) + "\n")
        case _:
            parquet.write_table(arrow.Table.from_pylist([row]), tmp_path / name)
    found = benchmarks(tmp_path, name)
    assert found.reason("acme__shop-12")
    assert "base commit" in found.reason("other__id-1", "Acme/Shop", "AB" * 20)


SPELLED = [
    "acme__shop-12_1",
    "acme__shop-12.traj",
    "acme__shop-12.traj.json",
    "runs/acme__shop-12/trajectory.json",
    "acme__shop-12_run_3.jsonl",
    "Acme/Shop#12",
    "https://github.com/acme/shop/pull/12",
    "https://github.com/acme/shop/pull/12.diff",
    "https://github.com/acme/shop/issues/12#issuecomment-1",
    "instance_acme__shop-12",
    "swebench/sweb.eval.x86_64.acme_1776_shop-12:latest",
    "sweb.eval.arm64.acme__shop-12",
    "ghcr.io/x/swe-bench.eval.x86_64.acme__shop-12:v1",
    "docker.io/x/sweb.eval.x86_64.acme_s_shop-12:latest",
    "somebody__shop-12",
    "acme__shop.abababab.lm_rewrite__x7k2",
    "swesmith/acme__shop.abababab",
]


@pytest.mark.parametrize("spelled", SPELLED)
def test_an_instance_is_known_in_every_spelling(spelled: str, tmp_path: Path) -> None:
    row = {"instance_id": "acme__shop-12", "repo": "acme/shop", "base_commit": "ab" * 20}
    (tmp_path / "ids.json").write_text(json.dumps([row]))
    assert benchmarks(tmp_path, "ids.json").reason(spelled)


@pytest.mark.parametrize(
    "other", ["acme__shop-121", "acme__shop-1", "acme__shopper-12", "acme__shop.cdcdcdcd.lm__x", "acme/shop", "", "12"]
)
def test_another_instance_is_clean(other: str, tmp_path: Path) -> None:
    row = {"instance_id": "acme__shop-12", "repo": "acme/shop", "base_commit": "ab" * 20}
    (tmp_path / "ids.json").write_text(json.dumps([row]))
    assert benchmarks(tmp_path, "ids.json").reason(other) == ""


def test_a_base_commit_is_proof_in_any_repository(tmp_path: Path) -> None:
    (tmp_path / "ids.json").write_text(json.dumps([{"instance_id": "acme__shop-12", "base_commit": "ab" * 20}]))
    assert "base commit" in benchmarks(tmp_path, "ids.json").reason("x__y-1", "x/y", "AB" * 20)


def test_an_issue_is_found_in_a_task_with_instructions_around_it(tmp_path: Path, shared: Path) -> None:
    pulls = real.commits(shared)
    rows = [{"instance_id": i, "problem_statement": commit.issue} for i, commit in pulls.items()]
    (tmp_path / "ids.json").write_text(json.dumps(rows))
    found = benchmarks(tmp_path, "ids.json")
    tasks = {
        i: messages[1].content for name in ("mini_swe_agent", "swe_zero") for i, messages in real.rollouts(shared, name)
    }
    missed = [i for i, task in tasks.items() if not found.reason("no-id", "", "", task)]
    assert len(tasks) >= 39
    assert missed == []


def test_strict_mode_refuses_the_whole_repository(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("acme__shop-12\n")
    assert benchmarks(tmp_path, "ids.txt", decontaminate_by="repo").reason("acme__shop-99") == "repository of ids.txt"


def test_an_issue_in_the_same_words_is_contaminated(tmp_path: Path) -> None:
    issue = " ".join(f"word{i}" for i in range(60))
    row = {"instance_id": "acme__shop-12", "problem_statement": issue}
    (tmp_path / "ids.jsonl").write_text(json.dumps(row))
    found = benchmarks(tmp_path, "ids.jsonl")
    assert "issue text" in found.reason("fork__shop-1", "fork/shop", "", f"Title\n{issue.upper()}")
    assert found.reason("fork__shop-2", "fork/shop", "", "word1 word2 and quite another text") == ""


def test_a_list_that_cannot_be_had_is_reported(tmp_path: Path) -> None:
    found = benchmarks(tmp_path, "verified")
    assert found.checked == {}
    assert "offline" in found.unchecked["verified"]


def test_a_list_is_read_from_the_cache_without_the_network(tmp_path: Path, clean_home: Path) -> None:
    cache = clean_home / ".cache" / "duel-curation" / "benchmarks"
    cache.mkdir(parents=True)
    name = "princeton-nlp_SWE-bench_Verified"
    from duel.workspace import file_name

    (cache / f"{file_name('princeton-nlp/SWE-bench_Verified')}.json").write_text('[{"instance_id": "a__b-1"}]')
    assert name.startswith("princeton")
    assert benchmarks(tmp_path, "verified").checked == {"verified": 1}


def test_a_name_that_is_neither_list_nor_file_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="neither"):
        benchmarks(tmp_path, "no-such-list.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(SettingsError, match="without one id"):
        benchmarks(tmp_path, "empty.txt")


def test_the_real_lists_know_the_real_instances(tmp_path: Path, shared: Path) -> None:
    found = benchmarks(tmp_path, *(str(file) for file in sorted((shared / "contamination").glob("*.txt"))))
    assert sum(bool(found.reason(commit.instance_id)) for commit in real.commits(shared).values()) == 38


# -- secrets -------------------------------------------------------------------------------------------------------

KEY = b"k" * 32
ROWS = [(name, template, "") for name, template in SECRETS.items()]
ROWS += [(name, template, kind) for name, (template, kind) in PERSONAL.items()]


@pytest.mark.parametrize(("name", "template", "kind"), ROWS, ids=[row[0] for row in ROWS])
def test_every_kind_is_replaced_and_stays_the_same_placeholder(name: str, template: str, kind: str) -> None:
    for seed in ("", "another"):
        secret = draw(template, seed)
        text = f"before\n{secret}\nafter"
        first = scrub(text, KEY)
        assert first.counts
        assert not kind or kind in first.counts
        assert first.text != text
        assert scrub(first.text, KEY).text == first.text
        mark = first.text.removeprefix("before\n").removesuffix("\nafter")
        assert mark in scrub(f"elsewhere:\n{secret}\n", KEY).text
        for part in re.findall(r"[\w+/=]{20,}", secret):
            assert part in template or part not in first.text, name


@pytest.mark.parametrize("text", [*LOOK_ALIKES, *DRAWN_LOOK_ALIKES])
def test_code_and_examples_are_left_alone(text: str) -> None:
    assert scrub(text, KEY).text == text


def test_every_rule_has_a_row() -> None:
    told = [draw(template) for template in (*SECRETS.values(), *(template for template, _ in PERSONAL.values()))]
    assert len(told) > 180
    assert {kind for text in told for kind in scrub(text).counts} == {rule.kind for rule in _rules()}
    assert [row for row in formats() if not any(prefix in text for prefix in row[1] for text in told)] == []


def test_a_placeholder_tells_nothing_without_the_secret_of_the_workspace() -> None:
    texts = {scrub("jane.doe@acme-works.com", key).text for key in (b"", b"a" * 32, b"b" * 32)}
    assert len(texts) == 3
    assert "<email>" in texts
    import hashlib

    guess = hashlib.sha256(b"jane.doe@acme-works.com").hexdigest()[:6]
    assert not any(guess in text for text in texts)


def test_honest_turns_hold_hardly_anything_to_take_out(recorded: Recorded) -> None:
    changed = [honest for honest in real.turns_of(recorded.runs[0]) if scrub(honest.reply).counts]
    assert len(changed) <= 3, [scrub(honest.reply).counts for honest in changed]


# -- licenses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("license_id", "table", "allowed"),
    [
        ("MIT", {}, True),
        ("", {}, True),
        ("mit", {"allow": ["MIT"]}, True),
        ("GPL-2.0", {"allow": ["MIT"]}, False),
        ("", {"allow": ["MIT"]}, False),
        ("GPL-2.0-or-later", {"refuse": ["GPL-2.0"]}, False),
        ("GPL-2.0 OR MIT", {"refuse": ["GPL-2.0"]}, True),
        ("MIT AND GPL-3.0-only", {"allow": ["MIT"]}, False),
        ("NOASSERTION", {"refuse": ["unknown"]}, False),
        ("Apache-2.0", {"refuse": ["GPL-2.0"]}, True),
        ("(MIT OR Apache-2.0) AND GPL-3.0-only", {"refuse": ["GPL-3.0"]}, False),
        ("MIT OR (Apache-2.0 AND GPL-3.0-only)", {"refuse": ["GPL-3.0"]}, True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", {"refuse": ["GPL-2.0"]}, False),
        ("GPL-2.0-only WITH Classpath-exception-2.0 OR MIT", {"allow": ["MIT"]}, True),
        ("MIT/Apache-2.0", {"allow": ["Apache-2.0"]}, True),
        ("Some words and GPL-3.0 (", {"refuse": ["GPL-3.0"]}, False),
        ("AND", {"allow": ["MIT"]}, False),
        ("None", {"allow": ["MIT"]}, False),
        pytest.param("MIT AND (BSD OR " * 300 + "MIT" + ")" * 300, {"allow": ["MIT"]}, False, id="nested too deep"),
    ],
)
def test_licenses_are_allowed_or_refused_by_their_spdx_id(license_id: str, table: dict, allowed: bool) -> None:
    assert (refused(license_id, Settings(audit=AuditSection(licenses=table))) == "") is allowed


def test_each_secret_is_counted() -> None:
    assert scrub(f"ghp_{'a1B2c3D4' * 5} and ghp_{'z9Y8x7W6' * 5}", KEY).counts == {"github-token": 2}


@pytest.mark.parametrize(
    "text",
    [
        'token = "a1a1a1a1a1a1a1a1a1a1"',  # drawn by no machine: one bit a character
        "postgres://app:$DBPW99@db",  # a variable
        "phone: 12 34 56",  # too short for a number
        f"risk-hf_{'Ab1cD2' * 6}",  # the end of another name
    ],
)
def test_what_only_looks_like_a_secret_is_left_alone(text: str) -> None:
    assert scrub(text, KEY).text == text
