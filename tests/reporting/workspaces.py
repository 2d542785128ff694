"""Workspaces for the tests and the benchmark: seeded, of any size, as the stages before report.py leave them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson

from duel.records import (
    DIMENSIONS,
    Answer,
    Audit,
    Candidate,
    ChangedFile,
    Commit,
    Made,
    Message,
    Score,
    Side,
    Source,
    Vote,
    fingerprint,
)
from duel.workspace import Workspace

JUDGES = ("lab-one/arbiter-v3", "lab-two/referee-thinking", "lab-three/umpire-k2")
REPOS = ("quillworks/inkwell", "northpier/tidal", "osprey-tools/fathom", "hexlane/carapace", "mossgate/larder", "a/b")
LICENSES = ("MIT", "Apache-2.0", "BSD-3-Clause", "")
SYSTEM = """You are a helpful assistant that works on a software repository in a shell.
Your reply must contain exactly ONE bash code block with ONE command, and a THOUGHT before it.
Do not use `cd`, interpreters, build tools or test runners.
ALLOWED: ls, find, grep, rg, sed, head, tail, cat, wc, git, echo, tee, mkdir, mv, cp, rm
When you are done: echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"""
NOUNS = "parser window buffer cursor header token route session cache queue worker bucket ledger column schema".split()
VERBS = "flush merge split parse render drop resolve encode decode rotate reload validate".split()
COMMANDS = {
    "search": ("grep -rn '{verb}_{noun}' src/ --include='*.py' | head -40", 'rg -n "class {Noun}" src tests'),
    "read": ("sed -n '{a},{b}p' src/{noun}/{verb}.py", "cat src/{noun}/__init__.py | head -80"),
    "edit": (
        "cat <<'EOF' > src/{noun}/{verb}.py\ndef {verb}_{noun}(rows, limit={a}):\n    # keep the newest {b}\n"
        "    return [row for row in rows if row.fresh][:limit]\nEOF",
        "sed -i 's/{verb}({noun})/{verb}({noun}, strict=True)/' src/{noun}/{verb}.py",
    ),
    "version control": ("git log --oneline -n 20 -- src/{noun}", "git diff HEAD~1 --stat"),
    "submit": ("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && git add -A && git diff --cached",),
}
THOUGHTS = (
    "The traceback points at `{verb}_{noun}`, so I want to see where it is called before I change anything.",
    "I have seen how `{Noun}.{verb}` handles an empty {noun}. The off-by-one is at the upper bound, not the lower one.",
    "Nothing in the listing mentions {noun}s, so the next thing to read is the module that owns them.",
    "The issue says the {noun} is lost after a {verb}. I will look at the code that writes it back.",
)
REASONS = (
    "The second reply reads the file that the traceback names; the first repeats a search whose output is there.",
    "Both would run, but only one narrows the search to the module in question.",
    "One reply edits a function it has not read, which is a guess.",
    "Near-equal; the shorter one gets there with less output.",
)


def build(root: Path, turns: int, *, seed: int = 0, history: tuple[int, int] = (3_000, 9_000), size: float = 7) -> Path:
    """A workspace of `turns` judged turns under `root`; each history is between `history` characters long.

    `size` is the mean number of turns a pull request has.
    """
    draw = random.Random(seed)
    workspace = Workspace(root)
    instances = max(round(turns / size), 1)
    scores: list[Score] = []
    for number in range(turns):
        stem = f"prompts_{turns}_{number // 200 + 1}_{number % 200 + 1}"
        instance = draw.randrange(instances)
        repo = REPOS[instance % len(REPOS)]
        instance_id = f"{repo.replace('/', '__')}-{1000 + instance}"
        answer = _answer(draw, instance_id, repo, history)
        score = made_score(draw, stem, answer)
        answer.examine("challenger", _audit(draw, answer, instance))
        workspace.save(workspace.new_answer_path(stem, number, 5000), answer)
        workspace.save(workspace.score_path(stem), score)
        scores.append(score)
        if not workspace.commit_path(instance_id).exists():
            workspace.save(workspace.commit_path(instance_id), _commit(instance_id, repo, instance))
    save_verdict(workspace, verdict(scores))
    workspace.save_dropped("king", [dropped("prompts_x_1", "cut"), dropped("prompts_x_2", "several-blocks")])
    return root


def dropped(file: str, reason: str, detail: str = "") -> dict[str, str]:
    """A row of report/dropped.jsonl."""
    return {"file": file, "instance_id": "quillworks__inkwell-1", "reason": reason, "detail": detail}


def save_verdict(workspace: Workspace, fields: dict[str, Any]) -> None:
    """Write `_duel.json`."""
    workspace.save(workspace.duel, orjson.dumps(fields, option=orjson.OPT_INDENT_2))


def _words(draw: random.Random) -> dict[str, Any]:
    noun, verb, start = draw.choice(NOUNS), draw.choice(VERBS), draw.randrange(1, 300)
    return {"noun": noun, "Noun": noun.title(), "verb": verb, "a": start, "b": start + draw.randrange(10, 80)}


def _reply(draw: random.Random, words: dict[str, Any]) -> str:
    thought = " ".join(t.format(**words) for t in draw.sample(THOUGHTS, draw.choice((1, 1, 2))))
    style = draw.choices(list(COMMANDS), (8, 9, 4, 2, 1))[0]
    return f"THOUGHT: {thought}\n\n```bash\n{draw.choice(COMMANDS[style]).format(**words)}\n```\n"


def _observation(draw: random.Random, length: int) -> str:
    lines, written = [], 0
    while written < length:
        words = _words(draw)
        line = draw.choice(
            (
                "src/{noun}/{verb}.py:{a}:    def {verb}_{noun}(self, rows, limit={b}):",
                "src/{noun}/{verb}.py:{b}:        return self.{noun}.{verb}(limit)  # {a}",
                "tests/test_{noun}.py:{a}:    assert {verb}({noun}) == {b}",
                "  {a} | raise ValueError(f'cannot {verb} {{{noun}!r}}')",
            )
        ).format(**words)
        lines.append(line)
        written += len(line) + 1
    return "\n".join(lines)


def _answer(draw: random.Random, instance_id: str, repo: str, history: tuple[int, int]) -> Answer:
    turn = draw.randrange(1, 11)
    words = _words(draw)
    issue = f"The {words['noun']} is lost after a {words['verb']}.\n\n" + _observation(draw, 600)
    messages = [
        Message(role="system", content=SYSTEM),
        Message(role="user", content=f"{issue}\n\n- Repo: {repo}\n- Base commit: {draw.getrandbits(160):040x}"),
    ]
    each = draw.randrange(*history) // turn
    for _ in range(turn - 1):
        messages.append(Message(role="assistant", content=_reply(draw, _words(draw))))
        messages.append(Message(role="user", content="Observation: " + _observation(draw, each)))
    king = _reply(draw, words)
    challenger = _reply(draw, words) if draw.random() < 0.7 else king.replace("src/", "./src/")
    return Answer(
        instance_id=instance_id,
        king=king,
        challenger=challenger,
        assistant=_reply(draw, words),
        messages=messages,
        candidates=[_written("king"), _written("challenger")],
        repo=repo,
        turn=turn,
        source=Source(dataset="sample", file="train-00000.parquet", row=draw.randrange(10_000)),
    )


def _written(side: Side) -> Candidate:
    made = Made(model=f"lab-four/{side}-writer", usage={"prompt_tokens": 4100, "completion_tokens": 180})
    return Candidate(id=f"{side}-1", side=side, made=made, chosen=True)


def made_score(draw: random.Random, stem: str, answer: Answer) -> Score:
    strength = draw.betavariate(3.2, 2.0)
    votes, counting = [], []
    for judge in JUDGES:
        unread = draw.random() < 0.1
        pair = []
        for order in ("king_first", "challenger_first"):
            drawn = {name: _verdict(draw, strength) for name in DIMENSIONS}
            vote = Vote(judge=judge, order=order, reason=draw.choice(REASONS), usage={"total_tokens": 5000}, **drawn)
            if unread:
                vote = Vote(judge=judge, order=order, error="no verdict in the reply")
            pair.append(vote)
        votes += pair
        counting += [] if unread else [pair]
    parsed = len(counting) >= 2
    metrics = {
        name: 100 * sum(getattr(vote, name) for pair in counting for vote in pair) / (2 * len(counting))
        for name in DIMENSIONS
        if parsed
    }
    value = sum(metrics.values()) / 5 if parsed else None
    flips = sum((_mean(a) - 0.5) * (_mean(b) - 0.5) < 0 for a, b in counting)
    reasons = "\n".join(f"{vote.judge} ({vote.order}): {vote.reason}" for vote in votes if vote.reason)
    return Score(
        file=stem,
        instance_id=answer.instance_id,
        parsed=parsed,
        score=value,
        delta=None if value is None else value / 100 - 0.5,
        metrics=metrics,
        votes=votes,
        flips=flips,
        style=draw.choices(list(COMMANDS), (8, 9, 4, 2, 1))[0],
        reason=reasons if parsed else "1 of 3 judges could be read, 2 are needed",
    )


def _verdict(draw: random.Random, strength: float) -> float:
    return draw.choices((1.0, 0.5, 0.0), (strength, 0.25, 1 - strength))[0]


def _mean(vote: Vote) -> float:
    return sum(getattr(vote, name) for name in DIMENSIONS) / len(DIMENSIONS)


def _audit(draw: random.Random, answer: Answer, instance: int) -> Audit:
    start = answer.challenger.find("src/")
    leaking = draw.random() < 0.05 and start >= 0
    value = answer.challenger[max(start, 0) :].split()[0].rstrip("'\"")
    finding = {
        "kind": "path",
        "value": value,
        "place": {"offset": max(start, 0), "line": 3, "text": value},
        "pr_place": {"part": "patch", "path": value, "line": 41},
        "rarity": 0.97,
        "weight": 1.3,
    }
    return Audit.model_validate(
        {
            "text": fingerprint(answer.challenger),
            "leaks": [finding] if leaking else [],
            "leak_score": 1.3 if leaking else 0.0,
            "leaking": leaking,
            "protocol": {"ok": True, "style": "search"},
            "license": LICENSES[instance % len(LICENSES)],
        }
    )


def _commit(instance_id: str, repo: str, instance: int) -> Commit:
    return Commit(
        instance_id=instance_id,
        repo=repo,
        issue="The window is lost.",
        commit=f"{instance:040x}",
        files=[ChangedFile(path="src/window/flush.py", additions=3, deletions=1)],
        patch="--- a/src/window/flush.py\n+++ b/src/window/flush.py\n",
        license=LICENSES[instance % len(LICENSES)],
    )


def verdict(scores: list[Score], **changes: Any) -> dict[str, Any]:
    """A `_duel.json` with every key: the means are those of `scores`, the rest is plausible."""
    parsed = [score for score in scores if score.score is not None]
    mean = sum(score.score for score in parsed) / len(parsed) if parsed else 50.0
    margin, clusters = 2 * mean - 100, len({score.instance_id for score in parsed})
    se = 0.28 / max(clusters, 1) ** 0.5
    lcb = margin / 200 - 1.66 * se
    share = len(parsed) / len(scores) if scores else None
    accepted = bool(parsed) and margin >= 2 and lcb > 0 and clusters >= 30
    gates = [
        {"name": "parsed_fraction", "value": share, "threshold": 0.5, "held": (share or 0) >= 0.5},
        {"name": "margin", "value": margin, "threshold": 2.0, "held": margin >= 2},
        {"name": "lcb", "value": lcb, "threshold": 0.0, "held": lcb > 0},
        {"name": "clusters", "value": clusters, "threshold": 30, "held": clusters >= 30},
    ]
    judges = [
        {
            "judge": judge,
            "family": judge.split("/")[0],
            "votes": 2 * len(scores),
            "parse_rate": 0.98,
            "score": mean + shift,
            "by_metric": dict.fromkeys(DIMENSIONS, mean + shift),
            "flip_rate": 0.21 + shift / 50,
            "first_shown_lean": 0.04 * shift,
            "agreement": 0.74,
            "calls": 2 * len(scores),
            "input_tokens": 4900 * len(scores),
            "output_tokens": 160 * len(scores),
            "cost": 0.004 * len(scores),
            "errors": {"no-verdict": 3},
        }
        for judge, shift in zip(JUDGES, (-2.0, 0.5, 2.5), strict=True)
    ]
    bins = [(-1, -0.6), (-0.6, -0.2), (-0.2, 0.2), (0.2, 0.6), (0.6, 1)]
    fields = {
        "format": "duel-verdict/1",
        "accepted": accepted,
        "decision": "accepted" if accepted else "rejected" if clusters >= 30 else "undecided",
        "gates": gates,
        "why": ["The challenger is ahead by more than the margin asked for, and the lower bound is above zero."],
        "mode": 2,
        "opponent": "king",
        "challenger_score": mean,
        "king_score": 100 - mean,
        "margin": margin,
        "mean_delta": margin / 200,
        "se": se,
        "lcb": lcb,
        "lcb_t": lcb - 0.0006,
        "lcb_iid": lcb + 0.006,
        "lcb_strict": lcb - 0.02,
        "alpha": 0.001,
        "alpha_used": 0.05,
        "gate_alpha": 0.05,
        "resamples": 10_000,
        "seed": 0,
        "turns": len(scores),
        "parsed": len(parsed),
        "parsed_fraction": share,
        "clusters": clusters,
        "worst_case_margin": margin - 200 * (1 - (share or 0)) * 0.5,
        "win_margin": 2.0,
        "wins": sum(score.score > 50 for score in parsed),
        "ties": sum(score.score == 50 for score in parsed),
        "losses": sum(score.score < 50 for score in parsed),
        "win_rate": 0.7,
        "pseudo_turn": clusters < 200,
        "minimum_detectable_margin": 498 * se,
        "power": 0.8,
        "turns_needed": 60,
        "effective_votes": 1.9,
        "krippendorff_alpha": dict.fromkeys(DIMENSIONS, 0.41),
        "judges": judges,
        "metrics": [
            {"metric": name, "counted": True, "score": mean + i - 2, "margin": margin, "lcb": lcb, "alpha": 0.4}
            for i, name in enumerate(DIMENSIONS)
        ],
        "family_bias": [],
        "length_bias": {
            "unit": "characters",
            "longer_won": 0.56,
            "correlation": 0.11,
            "bins": [
                {
                    "label": f"{100 * a:+.0f} to {100 * b:+.0f} %",
                    "low": a,
                    "high": b,
                    "turns": 40,
                    "win_rate": 0.5 + b / 9,
                }
                for a, b in bins
            ],
        },
        "what_if": {
            "thresholds": [
                {
                    "final_min": high,
                    "defeat_min": low,
                    "final": sum(s.score >= high for s in parsed),
                    "refined": sum(low <= s.score < high for s in parsed),
                    "defeat": sum(s.score < low for s in parsed),
                    "current": (high, low) == (80, 66),
                }
                for high in (75, 80, 85)
                for low in (60, 66)
            ],
            "margins": [
                {"win_margin": m, "accepted": margin >= m, "decision": "accepted", "current": m == 2} for m in (0, 2, 5)
            ],
        },
        "looks": {
            "planned": 1,
            "challengers": 1,
            "total": 1,
            "this": 1,
            "alpha_spent": 0.05,
            "method": "",
            "false_accept_bound": 0.05,
            "false_accept_chance": 0.05,
        },
        "noise_floor": None,
        "asked": {"strategy": "full", "votes_full": 6, "votes_asked": 6, "saved_share": 0.0},
        "attempts": {"turns": 0, "kinds": {}, "files": []},
        "writers": {"opponent": ["lab-four/king-writer"], "challenger": ["lab-four/challenger-writer"]},
        "calls": 6 * len(scores),
        "tokens": {"input": 29_400 * len(scores), "output": 960 * len(scores)},
        "cost": 0.012 * len(scores),
        "missing_votes": 4,
        "offline": False,
        "made_with": {"rubric": "r" * 12, "panel": "p" * 12, "settings": "s" * 12},
    }
    return fields | changes
