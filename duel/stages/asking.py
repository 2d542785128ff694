"""What every stage that asks models shares: its flags, its drive through the endpoint, its plan."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from duel import calls
from duel.bookkeeping import Result, Stage
from duel.command import say
from duel.errors import EXIT_FINISHED
from duel.stages import opened
from duel.workspace import SHARDS_FOLDER

if TYPE_CHECKING:
    from duel.calls import Job, Plan, Summary

Given = ParamSpec("Given")
Found = TypeVar("Found")


def main(arguments: Namespace, run: Callable[..., Result], plan: Callable[..., Plan]) -> int:
    """The command line of a stage with `with_offline` and `with_spending`."""
    workspace, settings = opened(arguments)
    offline = arguments.offline
    if arguments.plan:
        plan(workspace, settings, offline=offline).say()
        return EXIT_FINISHED
    return run(workspace, settings, again=arguments.again, budget=arguments.budget, offline=offline).exit_code


async def drive(
    jobs: Iterable[Job],
    stage: Stage,
    *,
    role: Literal["writer", "judge", "guide"] = "writer",
    name: str = "",
    total: int | None = None,
    budget: float | None = None,
    url: str = "",
    outdated: Path | None = None,
) -> Summary:
    """Have the models of `role` answer `jobs`. If there are none, no key and no endpoint is needed.

    `name` is the stage's name in the ledger (default: its own), `budget` in dollars, `url` the stand-in's address,
    `outdated` a file that goes before the first new reply comes.
    """
    jobs = iter(jobs)
    first = next(jobs, None)
    name = name or stage.name
    if first is None:
        return calls.Summary(name)
    if (stage.workspace.root / SHARDS_FOLDER).is_dir():
        say("this workspace is split: what its shards have paid for is known here after `duel shard merge`")
    from duel.calls.batches import prefill

    route = calls.route_for(stage.settings, stage.workspace, role, url)
    if outdated is not None:
        outdated.unlink(missing_ok=True)  # noqa: ASYNC240 (one file, before the first call)
    options: dict[str, Any] = {
        "workspace": stage.workspace,
        "settings": stage.settings,
        "route": route,
        "stage": name,
        "total": total,
        "passed": lambda: stage.finished + len(stage.dropped),
        "again": stage.again,
        "budget": budget,
    }
    if stage.settings.batch.provider != "off" and role != "guide":  # an agent waits for each of its steps
        return await prefill.drive_by_batch(chain([first], jobs), role=role, **options)
    return await calls.drive_async(chain([first], jobs), asker=prefill.unless_out, **options)


def in_rounds(run: Callable[Given, Coroutine[Any, Any, Found]]) -> Callable[Given, Coroutine[Any, Any, Found]]:
    """`run`, once more as long as requests went out in batches: each round takes in what the last one asked for."""

    @wraps(run)
    async def rounds(*arguments: Given.args, **named: Given.kwargs) -> Found:
        while True:
            found = await run(*arguments, **named)
            summary: Summary | None = found.calls if isinstance(found, Result) else found  # type: ignore[assignment]
            if summary is None or not summary.waiting:
                return found
            if isinstance(budget := named.get("budget"), float):
                named["budget"] = max(0.0, budget - summary.cost)

    return rounds
