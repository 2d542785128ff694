"""Judges that say what a test wants, and answers for them: what the tests of the panel have in common."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from duel.bookkeeping import Stage
from duel.calls.request import Reply, Request
from duel.errors import ItemError
from duel.judging.panel import Panel
from duel.judging.survey import Survey
from duel.records import DIMENSIONS, Answer, Made, Message, Score
from duel.settings import Settings
from duel.workspace import Workspace

TURN = "THOUGHT: look at {}.\n\n```bash\nls {}\n```"


JUDGES = ["a/one", "b/two", "c/three"]


def settings_of(**sections: dict[str, Any]) -> Settings:
    return Settings.model_validate({**sections, "judge": {"models": JUDGES, **sections.get("judge", {})}})


def write_answers(workspace: Workspace, count: int, **fields: Any) -> None:
    for number in range(1, count + 1):
        answer = Answer(
            instance_id=f"o__r-{number}",
            king=TURN.format("src", "src"),
            challenger=TURN.format("lib", "lib -l"),
            assistant=TURN.format("docs", "docs"),
            messages=[
                Message(role="system", content="One bash block."),
                Message(role="user", content=f"Task {number}"),
            ],
            made={"king": Made(model="x/king"), "challenger": Made(model="x/challenger", template_hash="t")},
        )
        workspace.save(workspace.root / "answer_0" / f"prompts_9_1_{number}.json", answer.model_copy(update=fields))


class Judges:
    """Stands in for the client: answers every request with a rule, counts, and remembers what was rejected."""

    def __init__(self, rule: Callable[[Request], str] | None = None) -> None:
        self.rule = rule or (lambda request: verdict(2 if " lib" in shown(request, 2) else 1))
        self.asked: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.rejected: list[str] = []

    async def __call__(self, request: Request) -> Reply:
        self.asked[request.model] += 1
        assert request.key not in self.keys, "the same request twice"
        self.keys.add(request.key)
        text = self.rule(request)
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        return Reply(text, model=request.model, usage=usage, cost=0.5, key=request.key)

    def reject(self, reply: Reply, reason: str) -> None:
        self.rejected.append(reason)


def shown(request: Request, number: int) -> str:
    found = re.search(rf"=== REPLY {number} \w+ ===\n(.*?)\n=== END", request.messages[-1]["content"], re.DOTALL)
    assert found is not None
    return found[1]


def verdict(choice: int, reason: str = "because") -> str:
    return json.dumps({**dict.fromkeys(DIMENSIONS, choice), "reason": reason})


def run(workspace: Workspace, settings: Settings, judges: Judges, again: bool = False) -> tuple[Stage, list[ItemError]]:
    stage = Stage("validate", workspace, settings, again=again)
    panel = Panel(stage)
    failed = []
    for turn in panel.open_turns(Survey(stage).judgeable()):
        try:
            asyncio.run(turn.work(judges))
        except ItemError as error:
            failed.append(error)
    return stage, failed


def scores(workspace: Workspace) -> dict[str, Score]:
    return {path.stem: score for path, score in workspace.scores([])}
