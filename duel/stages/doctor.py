"""Say what works here: Python and packages, endpoint and models, Hub, sandbox, browser, disk.

    duel doctor                     of the current directory's settings
    duel doctor --workspace run/

reads   chain.toml, .env; asks the endpoint for its models and the Hub for its state
writes  nothing; exits with 2 where something is missing that a run needs
"""

import platform
import shutil
import sys
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from duel import __version__
from duel.bookkeeping import Result
from duel.environment import environment, hub_is_off, hub_token
from duel.errors import EXIT_FINISHED, EXIT_USER, DuelError
from duel.settings import Settings
from duel.stages import command_line
from duel.synchronous import synchronous
from duel.workspace import Workspace

# A run of 2,000 turns takes about 400 MB beside the dataset's files (20 files of 100 MB).
ENOUGH_DISK = 3_000_000_000


@dataclass(frozen=True)
class DoctorFinding:
    """One thing that was looked at. `needed`: a real run cannot do without it."""

    name: str
    works: bool
    detail: str
    needed: bool = True


def run(workspace: Workspace, settings: Settings, *, offline: bool = False) -> Result:
    """Look at everything; `found` are the findings."""
    found = list(findings(workspace, settings, offline))
    healthy = all(finding.works or not finding.needed for finding in found)
    return Result("doctor", EXIT_FINISHED if healthy else EXIT_USER, found)


def findings(workspace: Workspace, settings: Settings, offline: bool) -> Iterator[DoctorFinding]:
    version = platform.python_version()
    yield DoctorFinding("Python", sys.version_info >= (3, 11), f"{version}, duel-curation {__version__}")
    if offline:
        yield DoctorFinding("endpoint", True, "the stand-in, with the bundled sample in the Hub's place")
    else:
        yield from endpoint(workspace, settings)
        yield hub(workspace)
    yield sandbox(workspace, settings)
    browser = _try(lambda: webbrowser.get().__class__.__name__)
    yield DoctorFinding(
        "browser", browser[0], "for `report.py --open`" if browser[0] else "none: open the page by hand", False
    )
    place = workspace.root
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    yield DoctorFinding("disk", free >= ENOUGH_DISK, f"{free / 1e9:,.1f} GB free at {place}")


def endpoint(workspace: Workspace, settings: Settings) -> Iterator[DoctorFinding]:
    """Key, address, and each model."""
    from duel.stages import preflight

    try:
        found = preflight.check(workspace, settings, ask_models=True)
    except DuelError as error:
        told = str(error).replace("\n\n", "; ").removesuffix(f"; hint: {preflight.ASK_DOCTOR}")
        yield DoctorFinding("endpoint", False, told)
        return
    for model, standing in found.items():
        yield DoctorFinding(f"model {model}", True, standing)


def hub(workspace: Workspace) -> DoctorFinding:
    """Whether datasets can be fetched."""
    if hub_is_off(workspace.root):
        return DoctorFinding("Hub", True, "switched off by HF_HUB_OFFLINE", needed=False)
    from urllib.parse import urlsplit
    from urllib.request import Request, urlopen

    address = environment("HF_ENDPOINT", workspace.root) or "https://huggingface.co"
    host = urlsplit(address).hostname or ""

    def reach() -> str:
        with urlopen(Request(address, method="HEAD"), timeout=10) as answer:  # noqa: S310 - the address of the Hub
            return str(answer.status)

    reached, why = _try(reach)
    token = "with a token" if hub_token(workspace.root) else "without a token: private and gated datasets stay closed"
    return DoctorFinding("Hub", reached, f"{host}, {token}" if reached else f"{host}: {why}")


def sandbox(workspace: Workspace, settings: Settings) -> DoctorFinding:
    """Whether commands can be run."""
    if settings.execute.backend == "off":
        return DoctorFinding("sandbox", True, "off ([execute] backend)", needed=False)
    return DoctorFinding("sandbox", *_try(lambda: _tried_out(workspace, settings)))


@synchronous
async def _tried_out(workspace: Workspace, settings: Settings) -> str:
    from duel.execution.backends import open_executor

    executor = open_executor(workspace, settings)
    await executor.close()
    return executor.describe()


def _try(look: Callable[[], str]) -> tuple[bool, str]:
    """Whether `look` works, and what it says."""
    try:
        return True, look()
    except Exception as error:
        return False, str(error) or type(error).__name__


def _show(found: list[DoctorFinding]) -> None:
    width = max(len(finding.name) for finding in found)
    for finding in found:
        state = "ok" if finding.works else "no" if finding.needed else "--"
        print(f"{state}  {finding.name:{width}}  {finding.detail}")


add_arguments, main = command_line(run, show=_show, begins=lambda _: True)
