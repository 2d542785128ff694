"""Small jobs, and a run of them against an endpoint: what the tests of this room have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duel import settings as settings_module
from duel.calls import Ask, Provider, Reply, Request, Route, Summary, drive
from duel.sections import EndpointSection
from duel.settings import Settings
from duel.stages.asking import limited
from duel.synchronous import synchronous
from duel.workspace import Workspace

MODEL = "some/writer"
FAST = {"retry_initial_backoff_s": 0.01, "max_429_wait_s": 0.03, "timeout_s": 5.0, "stall_timeout_s": 1.0}


def a_route(provider: Provider, **changes: Any) -> Route:
    """With `changes` of its own, and of its `[endpoint]`."""
    own = {name: changes.pop(name) for name in [*changes] if name in Route.__dataclass_fields__}
    return Route(provider, endpoint=EndpointSection(**changes), **own)


@dataclass
class Question:
    """One job: ask one question, save the text."""

    item: str
    text: str
    workspace: Workspace
    model: str = MODEL
    more: dict[str, Any] = field(default_factory=dict)
    replies: list[Reply] = field(default_factory=list)

    def request(self) -> Request:
        messages = [{"role": "system", "content": "Reply."}, {"role": "user", "content": self.text}]
        given = {"max_tokens": 200, **self.more}
        return Request("king", self.item, self.model, messages, **given)

    def requests(self) -> Sequence[Request]:
        return [self.request()]

    async def work(self, ask: Ask) -> None:
        reply = await ask(self.request())
        self.replies.append(reply)
        self.workspace.save(self.workspace.root / "answer_0" / f"{self.item}.json", reply.text.encode())


@dataclass
class House:
    """A workspace, and runs in it."""

    workspace: Workspace
    settings: Settings

    def questions(self, count: int, **more: Any) -> list[Question]:
        return [Question(f"prompts_{count}_{i}", f"question number {i}", self.workspace, **more) for i in range(count)]

    def route(self, base_url: str, **changes: Any) -> Route:
        return a_route(Provider(base_url, "cpk_very_secret"), **{**FAST, **changes})

    def drive(self, jobs: Iterable[Any], base_url: str, **options: Any) -> Summary:
        own = {key: options.pop(key) for key in ("again", "total") if key in options}
        settings = limited(self.workspace, options.pop("settings", self.settings), options.pop("budget", None))
        return synchronous(drive)(
            jobs,
            workspace=self.workspace,
            settings=settings,
            route=self.route(base_url, **options),
            stage="king",
            **own,
        )

    @property
    def saved(self) -> list[str]:
        return sorted(path.stem for path in self.workspace.answer_paths())


def house(root: Path, chain: str = "") -> House:
    """A fresh workspace with this chain.toml."""
    (root / "chain.toml").write_text(chain)
    return House(Workspace(root), settings_module.load(root))
