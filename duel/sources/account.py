"""The account of a draw, on the screen and in report/sampling.json: from what, what was left out, and why."""

from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from duel.audit.contamination import Benchmarks
from duel.command import say
from duel.errors import SourceError, printable
from duel.settings import Settings
from duel.sources.admission import Admission
from duel.sources.draw import shuffled
from duel.sources.output import Output, read_mark
from duel.sources.parquet_tables import ParquetTable
from duel.sources.sampling import Pool

NARROWED_BY = set(
    "min_turn max_turn per_instance per_repo exit_status max_history_tokens per_rollout skip_loops".split()
)


def page(
    pool: Pool, choice: Admission, pulls: ParquetTable | None, benchmarks: Benchmarks, huge: Mapping[str, int]
) -> dict[str, Any]:
    sample, table = pool.settings.sample, pool.table
    files = [{"file": name, "probability": odds} for name, odds in sorted(pool.file_odds.items())]
    counts = {"rows": pool.rows, "rollouts": pool.eligible.total(), "pull_requests": len(pool.best)}
    narrowed = sample.model_dump(mode="json", include=NARROWED_BY)
    return {
        "format": "duel-sampling/1",
        "asked": sample.n,
        "prompts": len(choice.turns),
        "pull_requests": len(choice.ids),
        "repositories": len({turn.repo for turn in choice.turns}),
        "seed": sample.seed,
        "mode": pool.settings.duel.mode,
        "trajectories": _named(table) | {"files_in_all": len(table.names), "files": files},
        "pulls": _named(pulls) if pulls else None,
        "candidates": counts | {"pull_requests_looked_at": len(choice.looked_at)},
        "left_out": {"rows": dict(sorted(pool.reasons.items())), "turns": dict(sorted(choice.reasons.items()))},
        "huge": dict(sorted(huge.items())),
        "contamination": {"checked": benchmarks.checked, "unchecked": benchmarks.unchecked},
        "narrowed_by": narrowed | sample.model_dump(mode="json", include={"phase", "weights"}, exclude_defaults=True),
    }


def _named(table: ParquetTable) -> dict[str, Any]:
    return {"dataset": table.name, "revision": table.revision}


def say_drawn(pool: Pool, choice: Admission, benchmarks: Benchmarks, huge: Mapping[str, int]) -> None:
    turns, asked = len(choice.turns), pool.settings.sample.n
    say(f"{_count(turns, 'turn')} from {_count(len(choice.ids), 'pull request')}")
    if turns < asked:
        hint = "; --files draws from more of them" if len(pool.table.names) > len(pool.file_odds) else ""
        say(f"that is fewer than the {asked:,} asked for: the files hold no more that are eligible{hint}")
    for line in _left_out(pool, choice, " left out"):
        say(f"  {line}")
    if huge:
        say(f"too large for the challenger's prompt: {_count(len(huge), 'pull request')} (report/hugePR.md)")
    for why in sorted(set(benchmarks.unchecked.values())):
        names = ", ".join(name for name, reason in benchmarks.unchecked.items() if reason == why)
        say(f"not checked against {printable(names, 200)}: {printable(why, 200)} (--again tries anew)")


def _left_out(pool: Pool, choice: Admission, what: str = "") -> Iterator[str]:
    lines = resources.files(__package__).joinpath("left_out.txt").read_text("utf-8").splitlines()
    meanings = dict(line.split(": ", 1) for line in lines)
    for kind, reasons in (("row", pool.reasons), ("turn", choice.reasons)):
        for reason, count in sorted(reasons.items()):
            yield f"{_count(count, kind)}{what}: {meanings.get(reason, printable(reason, 60))}"


def nothing_drawn(pool: Pool, choice: Admission) -> SourceError:
    hint = ""
    if choice.reasons["no-pull-request"]:
        hint = "are these the trajectories' pull requests? In mode 1 (DUEL_MODE=1) turns without one are sampled too"
    if choice.reasons["contaminated"]:
        hint = "set `decontaminate = []` in [audit] to sample benchmark instances on purpose"
    why = "; ".join(_left_out(pool, choice)) or "there are no rows"
    return SourceError("no turn can be drawn", where=pool.table.name, value=why, hint=hint)


def say_finished(output: Output) -> bool:
    files = output.finished_files()
    changed = [name for name, unchanged in files.items() if not unchanged]
    for name in changed[:10]:
        say(f"changed or gone since it was drawn: {printable(name)}")
    if changed:
        say(f"{len(changed):,} of {len(files):,} files are not as they were drawn, and are drawn again")
    elif files:
        say(f"nothing to do: the {len(files):,} files of this draw are there; `--again` draws anew")
    return bool(files) and not changed


def say_other_draws(output: Output) -> None:
    """Name prompt files from elsewhere: the next stages read them as well. Those of an older draw are replaced."""
    others = [path.name for path in output.workspace.prompt_files() if not output.is_ours(path)]
    if others and not read_mark(output.workspace):
        shown = ", ".join(others[:4]) + (" …" if len(others) > 4 else "")
        say(f"prompt/ also holds prompts from elsewhere ({shown}): the next stages take both")


def say_plan(trajectories: ParquetTable, pulls: ParquetTable | None, settings: Settings) -> None:
    sample = settings.sample
    first = shuffled(sample.seed, "file", trajectories.names)[: sample.files]
    for table, names in ((trajectories, first), (pulls, pulls.names if pulls else [])):
        if table is None:
            continue
        missing = [name for name in names if table.missing(name)]
        size = sum(table.size(name) for name in missing)
        say(f"{table.name} at {table.revision[:18]}: {len(names):,} of {len(table.names):,} files")
        say(f"  to download: {len(missing):,} files, {size / 1e6:,.0f} MB; the others are on this machine")
        for name in missing:
            say(f"  {table.size(name) / 1e6:10,.1f} MB  {printable(name, 120)}")
    say(f"then {sample.n:,} prompts; no model is called")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
