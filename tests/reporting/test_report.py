"""report.py over a whole workspace: the buckets on disk, the page in Markdown, the summary, what goes wrong."""

from __future__ import annotations

import json
import re
import shutil
import xml.dom.minidom
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from duel import settings
from duel.records import Answer, BrokenRule, Kept, Leak, ProtocolCheck, Score
from duel.reporting.tally import left_out
from duel.stages import report
from duel.workspace import BUCKETS, Workspace
from tests.reporting.workspaces import build, save_verdict, verdict

Script = Callable[..., Any]


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty turns of twenty pull requests, for each test to copy."""
    return build(tmp_path_factory.mktemp("sixty") / "run", 60, size=3)


@pytest.fixture
def small(sixty: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sixty, tmp_path / "run"))


def kept(root: Path, bucket: str) -> dict[str, Kept]:
    return {path.stem: Kept.parse(path.read_bytes()) for path in (root / bucket).glob("*.json")}


def write(root: Path) -> None:
    """What report.py does, without the start of a process."""
    report.run(Workspace(root), settings.load(root))


def everything(root: Path) -> dict[str, bytes]:
    """Every file but the locks."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.suffix != ".lock"}


def change(root: Path, stem: str, **fields: Any) -> None:
    """Change fields of a score."""
    path = Workspace(root).score_path(stem)
    path.write_bytes(Score.parse(path.read_bytes()).model_copy(update=fields).dump())


def audit(root: Path, stem: str, **fields: Any) -> None:
    """Change fields of an answer's audit."""
    path = Workspace(root).find_answer(stem)
    assert path is not None
    answer = Answer.parse(path.read_bytes())
    found = answer.audit("challenger")
    assert found is not None
    answer.examine("challenger", found.model_copy(update=fields))
    path.write_bytes(answer.dump())


def stems(root: Path) -> list[str]:
    return [path.stem for path in Workspace(root).score_paths()]


def dropped(root: Path) -> dict[str, str]:
    return {row["file"]: row["reason"] for row in Workspace(root).dropped() if row["stage"] == "report"}


def report_text(root: Path) -> str:
    return (root / "report" / "report.md").read_text("utf-8")


def test_each_turn_lies_in_the_bucket_of_its_score(small: Path) -> None:
    write(small)
    for bucket, (low, high) in {"final": (80, 101), "refined": (66, 80), "defeat": (0, 66)}.items():
        for turn in kept(small, bucket).values():
            assert turn.score is not None
            assert low <= turn.score < high
            assert turn.format == "duel-kept/2"
            assert turn.king and turn.challenger and turn.messages and turn.metrics and turn.reason
            commit = Workspace(small).commit(turn.instance_id)
            assert commit is not None
            assert (turn.mode, turn.license, turn.base_commit) == (2, commit.license, commit.commit)
    found = [stem for bucket in BUCKETS for stem in kept(small, bucket)]
    assert sorted([*found, *dropped(small)]) == sorted(stems(small))


def test_a_second_run_writes_the_same_bytes(small: Path) -> None:
    write(small)
    before = everything(small)
    write(small)
    assert everything(small) == before


def test_a_turn_that_has_left_a_bucket_is_removed_and_the_users_files_stay(small: Path) -> None:
    write(small)
    stem = next(iter(kept(small, "final")))
    notes, own = small / "final" / "notes.txt", small / "final" / "mine.json"
    notes.write_text("mine")
    own.write_text('{"mine": true}')
    change(small, stem, score=10.0)
    write(small)
    assert stem in kept(small, "defeat")
    assert not (small / "final" / f"{stem}.json").exists()
    assert notes.read_text() == "mine"
    assert own.read_text() == '{"mine": true}'


def test_a_run_that_was_killed_before_it_listed_its_files_leaves_no_turn_in_two_buckets(small: Path) -> None:
    write(small)
    stem = next(iter(kept(small, "final")))
    (small / ".duel" / "kept.json").unlink()
    change(small, stem, score=10.0)
    write(small)
    assert not (small / "final" / f"{stem}.json").exists()


def test_a_users_file_in_the_place_of_a_turn_is_left_and_named(small: Path, script: Script) -> None:
    write(small)
    stem = next(iter(kept(small, "final")))
    (small / ".duel" / "kept.json").unlink()
    own = small / "final" / f"{stem}.json"
    own.write_text("not a record of ours")
    done = script("report.py", "--workspace", small, code=0)
    assert own.read_text() == "not a record of ours"
    assert f"final/{stem}.json" in done.err


def test_what_cannot_be_read_in_the_place_of_a_turn_is_left_and_named(small: Path, script: Script) -> None:
    write(small)
    stem = next(iter(kept(small, "final")))
    (small / ".duel" / "kept.json").unlink()
    own = small / "final" / f"{stem}.json"
    own.unlink()
    own.mkdir()
    done = script("report.py", "--workspace", small, code=0)
    assert own.is_dir()
    assert f"left as it is, because it is not ours: final/{stem}.json" in done.err


def test_a_manifest_that_was_tampered_with_removes_nothing_elsewhere(small: Path) -> None:
    precious = small / "chain.toml"
    precious.write_text("")
    (small / ".duel").mkdir(exist_ok=True)
    (small / ".duel" / "kept.json").write_text(json.dumps(["final/../chain.toml", "../x", "chain.toml", 7]))
    write(small)
    assert precious.exists()


BROKEN = ProtocolCheck(ok=False, problems=[BrokenRule(rule="several-blocks")])
REFUSED = [
    ({"leaking": True, "leaks": [Leak(kind="path", value="src/hidden.py")]}, "leak"),
    ({"attempts": ["verdict"]}, "attempt"),
    ({"protocol": BROKEN}, "protocol"),
    ({"contaminated": "instance of verified"}, "contaminated"),
    ({"license_refused": "GPL-3.0"}, "license"),
]


@pytest.mark.parametrize(("found", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_what_the_audit_refuses_goes_nowhere_whatever_its_score(small: Path, found: dict, reason: str) -> None:
    stem = stems(small)[0]
    change(small, stem, score=95.0, parsed=True)
    audit(small, stem, **found)
    write(small)
    assert dropped(small)[stem] == reason
    assert not any(stem in kept(small, bucket) for bucket in BUCKETS)
    (small / "chain.toml").write_text("[audit]\nenforce = false\n")
    write(small)
    assert (stem in kept(small, "final")) == (reason not in {"contaminated", "license"})


def test_the_best_of_near_duplicates_stands_for_them_in_final(small: Path) -> None:
    first, second, third = stems(small)[:3]
    for stem, score in ((first, 90.0), (second, 95.0), (third, 20.0)):
        change(small, stem, score=score, parsed=True)
        audit(small, stem, leaking=False, duplicates_of="" if stem == first else first)
    write(small)
    assert second in kept(small, "final")
    assert first not in kept(small, "final")
    assert dropped(small)[first] == "near-duplicate"
    assert third in kept(small, "defeat")


def test_an_unparsed_turn_goes_nowhere_and_is_listed_without_a_figure(small: Path) -> None:
    stem = stems(small)[0]
    change(small, stem, score=None, delta=None, parsed=False, metrics={})
    write(small)
    assert dropped(small)[stem] == "unparsed"
    row = next(line for line in report_text(small).splitlines() if f"`{stem}`" in line)
    assert row.startswith("|–|") and "|–|–|–|–|–|" in row


def test_a_score_whose_replies_have_changed_is_not_shown_as_theirs(small: Path) -> None:
    changed, gone, other = stems(small)[:3]
    change(small, changed, made_with={"candidates": "of other texts"})
    change(small, other, mode=1)
    answer = Workspace(small).find_answer(gone)
    assert answer is not None
    answer.unlink()
    write(small)
    found = dropped(small)
    assert (found[changed], found[gone], found[other]) == ("other-candidates", "no-answer", "mode-1")


def test_turns_of_an_excluded_pull_request_leave_their_buckets(small: Path) -> None:
    write(small)
    instance = next(iter(kept(small, "final").values())).instance_id
    (small / "chain.toml").write_text(f'[generate]\nexclude_ids = ["{instance}"]\n')
    write(small)
    left = [turn.instance_id for bucket in BUCKETS for turn in kept(small, bucket).values()]
    assert left and instance not in left
    assert "excluded" in dropped(small).values()


def test_a_damaged_answer_is_named_and_the_others_are_reported(small: Path, script: Script) -> None:
    answer = Workspace(small).find_answer(stems(small)[0])
    assert answer is not None
    answer.write_bytes(answer.read_bytes()[:100])
    done = script("report.py", "--workspace", small, code=1)
    assert answer.name in done.err
    assert "59 judged turns" in done.err


def test_a_folder_in_the_place_of_the_verdict_is_told(small: Path, script: Script) -> None:
    verdict = Workspace(small).duel
    verdict.unlink()
    verdict.mkdir()
    assert "the verdict cannot be read" in script("report.py", "--workspace", small, code=2).err


def test_a_score_file_that_lost_its_score_comes_last_and_the_others_are_reported(small: Path, script: Script) -> None:
    path = Workspace(small).score_path(stems(small)[0])
    record = json.loads(path.read_bytes())
    assert record["parsed"] and record.pop("score") is not None
    path.write_text(json.dumps(record))
    done = script("report.py", "--workspace", small, code=0)
    assert "60 judged turns" in done.err
    assert f"|–|[`{path.stem}`]" in report_text(small)


def test_the_report_has_a_row_for_every_turn_best_first(small: Path) -> None:
    write(small)
    rows = re.findall(r"^\|(\d+\.\d|–)\|\[`([^`]+)`\]\(\.\./([^)]+)\)\|", report_text(small), re.MULTILINE)
    assert sorted(stem for _, stem, _ in rows) == sorted(stems(small))
    scores = [float(score) for score, _, _ in rows if score != "–"]
    assert scores == sorted(scores, reverse=True)
    assert all((small / target).exists() for _, _, target in rows)


def test_beyond_300_turns_the_report_lists_those_one_looks_at_first(tmp_path: Path) -> None:
    root = build(tmp_path / "run", 340, history=(300, 600))
    write(root)
    text = report_text(root)
    assert len(text.encode()) < 300_000
    for kind in ("### The best", "### The worst", "### The most disputed", "### Leaks"):
        assert kind in text
    parts = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    best, worst, disputed, leaks = ([line for line in part.splitlines() if "](../" in line] for part in parts)
    scores = sorted((s.score for _, s in Workspace(root).scores([]) if s.score is not None), reverse=True)
    assert [float(row.split("|")[1]) for row in best] == [pytest.approx(s, abs=0.051) for s in scores[:50]]
    assert [float(row.split("|")[1]) for row in worst] == [pytest.approx(s, abs=0.051) for s in scores[::-1][:50]]
    assert all(int(row.split("|")[-2]) > 0 for row in disputed)
    assert leaks and all("**leak**" in row for row in leaks)


def test_the_first_screen_tells_the_verdict_and_why(small: Path) -> None:
    write(small)
    screen = "\n".join(report_text(small).splitlines()[:20])
    for words in (
        "# Duel report: ",
        "points",
        "| margin ",
        "| lower bound of the margin",
        "held",
        "The challenger is ahead",
    ):
        assert words in screen


def test_what_was_not_measured_is_never_a_zero(small: Path) -> None:
    save_verdict(Workspace(small), {"format": "duel-verdict/1", "decision": "undecided"})
    write(small)
    text = report_text(small)
    assert "not measured" in text
    assert not re.search(r"\| (margin|lower bound[^|]*) *\| *[+−]?0\.0", text)


def test_a_stand_in_cannot_be_overlooked(small: Path, script: Script) -> None:
    fields = json.loads(Workspace(small).duel.read_bytes())
    save_verdict(Workspace(small), fields | {"offline": True})
    done = script("report.py", "--workspace", small, code=0)
    head = report_text(small).splitlines()[:3]
    assert "OFFLINE STAND-IN" in head[0] and "OFFLINE STAND-IN" in head[2]
    assert "<title>Duel report (OFFLINE STAND-IN)</title>" in (small / "report" / "index.html").read_text("utf-8")
    assert "OFFLINE STAND-IN" in done.err


def test_the_summary_for_scripts_is_json_on_standard_output(small: Path, script: Script) -> None:
    summary = json.loads(script("report.py", "--workspace", small, "--json", code=0).out)
    assert summary["format"] == "duel-report/1"
    assert sum(row["turns"] for row in summary["buckets"]) == 60
    assert {row["name"] for row in summary["groups"]["style"]} <= {
        "search",
        "read",
        "edit",
        "version control",
        "submit",
    }


def test_without_a_verdict_the_user_is_told_what_to_run(tmp_path: Path, script: Script) -> None:
    done = script("report.py", "--workspace", tmp_path, code=2)
    assert "validate.py" in done.err
    save_verdict(Workspace(tmp_path), verdict([]))
    assert "validate.py" in script("report.py", "--workspace", tmp_path, code=2).err
    Workspace(tmp_path).duel.write_text("{")
    assert "--regate" in script("report.py", "--workspace", tmp_path, code=2).err


def test_the_charts_are_files_of_their_own(small: Path) -> None:
    write(small)
    named = re.findall(r"^!\[[^\]]+\]\((\w+\.svg)\)$", report_text(small), re.MULTILINE)
    charts = ("score", "margin", "clusters", "metrics", "order", "length")
    assert set(named) == {f"{name}.svg" for name in charts}  # no ledger here, so none of what a turn cost
    for name in named:
        text = (small / "report" / name).read_text("utf-8")
        xml.dom.minidom.parseString(text)
        assert "prefers-color-scheme: dark" in text and "var(" not in text


def test_hostile_text_reaches_the_report_as_text(hostile: Path) -> None:
    tokens = MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(report_text(hostile))
    inline = [token for block in tokens for token in block.children or []]
    assert not {"html_block", "html_inline", "fence", "hr"} & {token.type for token in [*tokens, *inline]}
    targets = [str(token.attrs.get("href") or token.attrs.get("src")) for token in inline if token.attrs]
    assert all(
        re.fullmatch(r"(\.\./(final|refined|defeat|answer_0)/prompts_\d+_1_\d+\.json|index\.html|\w+\.svg)", t)
        for t in targets
    )
    assert {token.type for token in inline if token.attrs} <= {"link_open", "image"}
    assert not re.search(r"[\u202e\u200b\ufeff\x00\x1b\u2028]", report_text(hostile))
    for path in (hostile / "report").glob("*.svg"):
        document = xml.dom.minidom.parseString(path.read_text("utf-8"))
        assert not document.getElementsByTagName("script")


def test_hostile_text_never_meets_the_html_parser(hostile: Path) -> None:
    page = (hostile / "report" / "index.html").read_text("utf-8")
    for start in ("<script>window", "</script><script>", "<img", "<svg onload", "<https"):
        assert start not in page
    assert len(page) < 3_000_000


def test_a_title_that_names_a_field_of_the_template_gets_no_data_block(hostile: Path) -> None:
    page = (hostile / "report" / "index.html").read_text()
    before, summary, after = page.partition('<script type="application/json" id="summary">')
    assert "{{blocks}}" in before and summary
    assert 'id="data-' not in before
    assert 'id="data-' in after and "{{blocks}}\n</body>" not in after


def test_a_turn_that_two_stages_name_is_left_out_once_for_the_first_reason() -> None:
    def row(stage: str, file: str, reason: str) -> dict[str, str]:
        return {"stage": stage, "file": file, "instance_id": "i", "reason": reason}

    told = left_out(
        [
            row("validate", "t_1_1", "leak"),
            row("validate", "t_1_2", "excluded"),
            row("audit", "t_1_1", "leak"),
            row("king", "t_1_2", "king-format"),
            row("refine", "t_1_3", "refine-leak"),
            row("report", "t_1_3", "near-duplicate"),
        ]
    )
    assert {(row["stage"], row["reason"]): row["items"] for row in told} == {
        ("audit", "leak"): 1,
        ("king", "king-format"): 1,
        ("refine", "refine-leak"): 1,
        ("report", "near-duplicate"): 1,
    }
