"""A workspace in which every field from outside is an attack on whoever looks at it."""

from __future__ import annotations

import random
from pathlib import Path

import orjson

from duel.records import Answer, Audit, Candidate, Made, Message, Source, fingerprint
from duel.workspace import Workspace
from tests.reporting.workspaces import dropped, made_score, save_verdict, verdict

# What a model, a dataset or a file may hold. Run, any of it would set `window.pwned` or leave the machine.
ATTACKS = (
    "<script>window.pwned=1</script>",
    "</script><script>window.pwned=2</script>",
    "<!--<script>",
    "<img src=x onerror=window.pwned=3>",
    '"><svg onload=window.pwned=4>',
    "[click](javascript:window.pwned=5)",
    "![pixel](https://evil.example/p.png)",
    "<https://evil.example> https://evil.example www.evil.example mail@evil.example",
    "| a | b |\n|---|---|\n| c | d |",
    "`code` ``more`` ```\nfence",
    "# heading\n- list\n> quote\n\n---\n",
    "\u202eesrever\u202c \u200bzero\u200d \ufeffmark \x1b[31mred\x07 \x00nul",
    "{{summary}} {{blocks}} ${window.pwned=6} \u2028\u2029 \\ \\| &lt;b&gt; &amp;",
    '=HYPERLINK("https://evil.example")',
    "a" * 3_000,
)


def build_hostile(root: Path, turns: int = 30) -> Path:
    """A workspace in which every field from outside is an attack: replies, histories, reasons, names, models."""
    workspace = Workspace(root)
    draw = random.Random(1)
    scores = []
    for number in range(turns):
        text = ATTACKS[number % len(ATTACKS)]
        answer = _hostile_answer(draw, text, number)
        stem = f"prompts_{turns}_1_{number + 1}"
        score = made_score(draw, stem, answer)
        score.style = text
        score.reason = f"{text}\n{text}"
        for vote in score.votes:
            vote.judge, vote.reason, vote.error = f"judge {text}", text, text
        workspace.save(workspace.new_answer_path(stem, number, 5000), answer)
        workspace.save(workspace.score_path(stem), score)
        scores.append(score)
    fields = verdict(scores, why=list(ATTACKS), decision=ATTACKS[1], opponent=ATTACKS[0])
    for place, judge in enumerate(fields["judges"]):
        judge["judge"] = ATTACKS[place]
    for place, metric in enumerate(fields["metrics"]):
        metric["metric"] = ATTACKS[place + 5]
    fields["gates"][0]["name"] = ATTACKS[8]
    fields["length_bias"]["bins"][0]["label"] = ATTACKS[6]
    fields["what_if"]["margins"][0]["decision"] = ATTACKS[3]
    fields["writers"] = {"opponent": list(ATTACKS), "challenger": list(ATTACKS)}
    save_verdict(workspace, fields)
    workspace.save_dropped("king", [dropped(text, text, text) for text in ATTACKS])
    workspace.save(workspace.report / "sampling.json", orjson.dumps(dict(zip(ATTACKS, ATTACKS, strict=True))))
    return root


def _hostile_answer(draw: random.Random, text: str, number: int) -> Answer:
    long = f"{text}\n" + "<b>1 MB</b> " * 90_000 if number < 3 else text
    challenger = f"{long}\n```bash\n{text}\n```"
    audit = {
        "text": fingerprint(challenger),
        "leaks": [{"kind": text, "value": text, "place": {"offset": number}, "pr_place": {"path": text, "line": 1}}],
        "leaking": bool(number % 2),
        "attempts": [text] if number % 4 == 0 else [],
        "protocol": {"ok": False, "problems": [{"rule": text, "detail": text}], "style": text},
        "license": text,
        "duplicates_of": text if number % 5 == 0 else "",
    }
    made = Made(model=text, usage={"prompt_tokens": 1})
    return Answer(
        instance_id=f"evil__{text}",
        king=f"THOUGHT: {text}\n\n```bash\ngrep {text}\n```\n",
        challenger=challenger,
        assistant=text,
        messages=[Message(role=role, content=long) for role in ("system", "user", "assistant", "tool")],
        candidates=[
            Candidate(id=text, side="king", made=made, chosen=True),
            Candidate(id="challenger-1", side="challenger", made=made, audit=Audit.model_validate(audit), chosen=True),
        ],
        repo=text,
        turn=number % 12,
        source=Source(dataset=text, file=text, row=draw.randrange(9)),
    )
