"""Record the bundled sample anew: `python -m tools.recorder --out DIR`.

Builds the small repositories under `tools/recording/repositories/` with git, lets agents work on each pull request by
really executing shell commands in a checkout of its base commit, and writes

    trajectories.parquet   the rollouts, in the columns of AlienKevin/SWE-ZERO-12M-trajectories
    pulls.parquet          the pull requests, in the columns of nebius/SWE-rebench-V2-PRs
    *.bundle               the repositories with the whole of their history

Needs git and bash. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duel import command
from duel.errors import SourceError
from duel.offline import ROLLOUTS, bundle
from duel.prompts import Template

if TYPE_CHECKING:
    import pyarrow as pa

    from tools.recording.explorer import RecordedBug
    from tools.recording.sample_repositories import Base

# A rollout has 4 to 32 messages: system prompt, task, and up to 15 turns with what was observed after each.
MAX_TURNS = 15
MIN_TURNS = 4
# One reply in 40 holds a second block, as 31 of 1,250 turns of real rollouts do; the first one is what is run.
SECOND_BLOCK_SHARE = 1 / 40
SECOND_BLOCK = "\n\n```bash\ngit status --short\n```"


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.recorder",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the parquet files go")
    parser.add_argument("--only", default="", metavar="NAME", help="one repository, by the name of its file")
    given = parser.parse_args()
    for tool in ("git", "bash"):
        if not shutil.which(tool):
            raise SourceError(f"recording needs {tool}", hint="the package ships the recorded sample")
    rollouts, pulls = record(given.out, given.only)
    if not pulls:
        raise SourceError("no such repository", where="--only", value=given.only)
    write(rollouts, pulls, given.out)
    command.say(f"{len(rollouts)} rollouts of {len(pulls)} pull requests in {given.out}")


def record(out: Path, only: str = "") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of both tables, for all repositories or the one named `only`; their bundles are written into `out`."""
    from tools.recording import sample_repositories

    rollouts, pulls = [], []
    out.mkdir(parents=True, exist_ok=True)
    for one in sample_repositories.load(only):
        with tempfile.TemporaryDirectory(prefix="recorder-") as name:
            folder = Path(name)
            (folder / "repository").mkdir()
            for base, row in sample_repositories.bases(one, folder / "repository"):
                pulls.append(row)
                rollouts += [rollout(base, number, folder) for number in range(ROLLOUTS)]
            base.checkout.bundle(out / bundle(one.name).name)
    return rollouts, pulls


def rollout(base: Base, number: int, folder: Path) -> dict[str, Any]:
    """Let one agent work on a pull request in a checkout of its own; `folder` is for temporary use."""
    from tools.recording.explorer import RecordedBug, agent
    from tools.recording.shell import Shell, tools

    case = RecordedBug.of(base, number)
    checkout, allowed = folder / "checkout", folder / "tools"
    shutil.copytree(base.checkout.folder, checkout)
    try:
        for path, text in base.tests.items():
            (checkout / path).parent.mkdir(parents=True, exist_ok=True)
            (checkout / path).write_text(text, "utf-8")
        shell = Shell(checkout, allowed if allowed.is_dir() else tools(allowed))
        turns = list(_play(agent(case, number), shell, case))
    finally:
        shutil.rmtree(checkout)
    submitted = turns[-1][1] == ""
    messages = [{"role": "system", "content": _prompt("system")}, {"role": "user", "content": task(base)}]
    for reply, observation in turns:
        messages.append({"role": "assistant", "content": reply})
        if observation:
            messages.append({"role": "user", "content": observation})
    return {
        "instance_id": base.instance_id,
        "repo": base.repository.name,
        "messages": messages,
        "trajectory_format": "mini-swe-agent-1",
        "exit_status": "Submitted" if submitted else "incomplete",
        # Left out: it would be another one at every recording.
        "duration_sec": None,
    }


def task(base: Base) -> str:
    """The first user message: the issue as the pull request's row has it, and where the agent stands."""
    return Template("task", _prompt("task")).render(
        repo=base.repository.name,
        issue=base.pull.issue,
        interface=f"## Interface\n\n{base.pull.interface}\n\n" if base.pull.interface else "",
        language=base.repository.language,
        commit=base.commit,
    )


def write(rollouts: list[dict[str, Any]], pulls: list[dict[str, Any]], folder: Path) -> None:
    """Write both parquet files, each with one row group, as the datasets have."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    for name, rows, schema in (
        ("trajectories", rollouts, trajectory_schema()),
        ("pulls", pulls, pull_schema()),
    ):
        table = pa.Table.from_pylist(rows, schema=schema)
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd", compression_level=19)


def trajectory_schema() -> pa.Schema:
    """The six columns of the trajectories."""
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    return pa.schema(
        [
            ("instance_id", pa.string()),
            ("repo", pa.string()),
            ("messages", pa.list_(message)),
            ("trajectory_format", pa.string()),
            ("exit_status", pa.string()),
            ("duration_sec", pa.float64()),
        ]
    )


def pull_schema() -> pa.Schema:
    """The sixteen columns of the pull requests."""
    import pyarrow as pa

    texts = ("base_commit created_at hints_text instance_id patch pr_description problem_statement").split()
    return pa.schema(
        [
            *((name, pa.string()) for name in texts),
            ("pull_number", pa.int64()),
            ("repo", pa.string()),
            ("test_patch", pa.string()),
            ("FAIL_TO_PASS", pa.list_(pa.string())),
            ("PASS_TO_PASS", pa.list_(pa.string())),
            ("interface", pa.string()),
            ("license", pa.string()),
            ("install_config", pa.struct([("test_cmd", pa.string())])),
            ("meta", pa.struct([("language", pa.string()), ("made_by", pa.string())])),
        ]
    )


def _play(agent: Any, shell: Any, case: RecordedBug) -> Iterator[tuple[str, str]]:
    """The turns of an agent, each with its observation; none after the one that submits."""
    from tools.recording.explorer import SUBMIT

    limit = MAX_TURNS if case.chance.random() < 0.5 else case.chance.randrange(MIN_TURNS + 4, MAX_TURNS)
    thought, action = next(agent)
    for _ in range(limit):
        reply = f"{thought}\n\n```bash\n{action}\n```"
        if action == SUBMIT:
            yield reply, ""
            return
        if case.chance.random() < SECOND_BLOCK_SHARE:
            reply += SECOND_BLOCK
        observation = shell.observe(action)
        yield reply, observation
        thought, action = agent.send(observation)


def _prompt(name: str) -> str:
    return (Path(__file__).parent / "recording" / f"{name}.txt").read_text("utf-8").rstrip("\n")


if __name__ == "__main__":
    command.run(main)
