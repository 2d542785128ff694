"""The batches that this workspace has at providers: list them, wait for them, cancel them.

    duel batches                 what is out, and how it stands
    duel batches --wait          until all of it is back; the stages' own --batch waits, too
    duel batches --cancel ID     call a batch off (`all`: each of them); what is done by then is paid for and kept

reads and writes  .duel/ledger.sqlite, where batches and replies lie
"""

from argparse import Namespace

from duel import calls, command
from duel.calls.batches.batch_rows import Batch, BatchRows
from duel.calls.batches.batch_steps import Passage
from duel.calls.ledger import Ledger
from duel.calls.transport import NoAnswer
from duel.command import say
from duel.errors import EXIT_FINISHED, UserError, printable
from duel.settings import Settings
from duel.stages.opening import opened
from duel.synchronous import synchronous
from duel.workspace import Workspace

# A file of requests (`--batch-out`) is out until each has its reply; it can be taken in again at any time.
STILL_OUT = """state != 'done' AND
    (state != 'out' OR id IN (SELECT home FROM batch_requests WHERE outcome != 'answered'))"""


def main(arguments: Namespace) -> int:
    workspace, settings = opened(arguments)
    if not workspace.ledger.exists():
        raise UserError("no call was made in this workspace", where=workspace.root, hint="name it with --workspace")
    with workspace.lock("batches", "duel batches"), Ledger(workspace.ledger) as ledger:
        rows = BatchRows(ledger)
        running = rows.all(STILL_OUT)
        if arguments.cancel:
            chosen = [batch for batch in running if arguments.cancel in (batch.id, "all")]
            if not chosen:
                raise UserError("there is no such batch", value=arguments.cancel, hint="`duel batches` lists them")
            synchronous(cancel)(rows, workspace, settings, chosen)
        elif arguments.wait:
            synchronous(wait)(rows, workspace, settings, [batch for batch in running if batch.state != "out"])
        else:
            for batch in running:
                state, cost = batch.status or batch.state, f"at most ${batch.worst_cost:,.2f}"
                words = (batch.id, batch.stage, batch.model, batch.provider, f"{batch.requests:,} requests")
                print("\t".join(printable(word) for word in (*words, state, batch.at, cost)))
            if not running:
                print("no batch is out")
    return EXIT_FINISHED


async def wait(rows: BatchRows, workspace: Workspace, settings: Settings, running: list[Batch]) -> None:
    for role in ("writer", "judge"):
        if mine := [batch for batch in running if batch.role == role]:
            summary = calls.Summary(role)
            await Passage(rows, calls.route_for(settings, workspace, role), settings, summary).bring_home(mine)
            say(f"{summary.batched:,} replies, {summary.spent}; run the stages with --batch again to go on")


async def cancel(rows: BatchRows, workspace: Workspace, settings: Settings, chosen: list[Batch]) -> None:
    for batch in chosen:
        if batch.state == "out":
            rows.drop(batch)
        else:
            route = calls.route_for(settings, workspace, "judge" if batch.role == "judge" else "writer")
            passage = Passage(rows, route, settings, calls.Summary(""))
            try:
                async with passage.link:
                    await passage.cancel(batch)
            except NoAnswer as error:
                command.say_error(UserError(f"batch {batch.id} is not canceled", value=error.failure.told))
                continue
        say(f"batch {batch.id} is called off")
