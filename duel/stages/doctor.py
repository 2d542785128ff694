"""Say what works here: Python and packages, endpoint and models, Hub, sandbox, browser, disk.

reads   chain.toml, .env; asks the endpoint for its models and the Hub for its state
writes  nothing; exits with 2 where something is missing that a run needs
"""

import os
import platform
import shutil
import sys
import urllib.request
import webbrowser
from argparse import Namespace
from collections.abc import Iterator
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from duel import __version__, calls
from duel.bookkeeping import Result
from duel.calls import transport, wire
from duel.calls.failures import Failure, Meaning, down_error
from duel.environment import environment, hub_is_off, hub_token
from duel.errors import EXIT_FINISHED, EXIT_USER, DuelError
from duel.execution.backends import open_executor
from duel.records import RULE
from duel.settings import Settings
from duel.synchronous import synchronous
from duel.workspace import Workspace

ENOUGH_DISK = 3_000_000_000  # a run of 2,000 turns takes 400 MB beside the dataset's files (20 files of 100 MB)
ANSWER_S = 60.0  # an endpoint answers within seconds; a thinking model may take longer for its first token
REFUSALS = {401, 402, 403, 404}  # key, money, right, model: every further call would be refused as well
ASK_DOCTOR = "`duel doctor` tells what works here"


class DoctorFinding(NamedTuple):
    """One thing that was looked at. `needed`: a real run cannot do without it."""

    name: str
    works: bool
    detail: str
    needed: bool = True


def run(workspace: Workspace, settings: Settings, *, offline: bool = False) -> Result:
    found = list(findings(workspace, settings, offline))
    return Result("doctor", EXIT_FINISHED if all(one.works or not one.needed for one in found) else EXIT_USER, found)


def findings(workspace: Workspace, settings: Settings, offline: bool) -> Iterator[DoctorFinding]:
    version = platform.python_version()
    yield DoctorFinding("Python", sys.version_info >= (3, 11), f"{version}, duel-curation {__version__}")
    if offline:
        yield DoctorFinding("endpoint", True, "the stand-in, with the bundled sample in the Hub's place")
    else:
        try:
            for model, found in check(workspace, settings, ask_models=True).items():
                yield DoctorFinding(f"model {model}", not found.startswith("no answer"), found)
        except DuelError as error:
            told = str(error).replace("\n\n", "; ").removesuffix(f"; {ASK_DOCTOR}")
            yield DoctorFinding("endpoint", False, told)
        yield hub(workspace)
    try:
        sandbox = "off ([execute] backend)"
        if settings.execute.backend != "off":
            executor = open_executor(workspace, settings)
            synchronous(executor.close)()
            sandbox = executor.describe()
        yield DoctorFinding("sandbox", True, sandbox, needed=settings.execute.backend != "off")
    except Exception as error:
        yield DoctorFinding("sandbox", False, str(error) or type(error).__name__)
    try:
        webbrowser.get()
        yield DoctorFinding("browser", True, "for `report.py --open`", needed=False)
    except webbrowser.Error:
        yield DoctorFinding("browser", False, "none: open the page by hand", needed=False)
    place = next(folder for folder in (workspace.root, *workspace.root.parents) if folder.exists())
    free, open_to_us = shutil.disk_usage(place).free, os.access(place, os.W_OK)
    told = f"{free / 1e9:,.1f} GB free at {place}{'' if open_to_us else ', where nothing can be written'}"
    yield DoctorFinding("disk", free >= ENOUGH_DISK and open_to_us, told)


def hub(workspace: Workspace) -> DoctorFinding:
    if hub_is_off(workspace.root):
        return DoctorFinding("Hub", True, "switched off by HF_HUB_OFFLINE", needed=False)
    address = environment("HF_ENDPOINT", workspace.root) or "https://huggingface.co"
    host = urlsplit(address).hostname or ""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=10):  # noqa: S310 (the Hub)
            closed = "without a token: private and gated datasets stay closed"
            return DoctorFinding("Hub", True, f"{host}, {'with a token' if hub_token(workspace.root) else closed}")
    except (OSError, ValueError) as error:
        return DoctorFinding("Hub", False, f"{host}: {error}")


@synchronous
async def check(workspace: Workspace, settings: Settings, *, ask_models: bool = False) -> dict[str, str]:
    """What was found of each model: "listed", "not listed", "answers" or why not; before anything is paid.

    The endpoint is asked once for the models it lists. One that it does not list is asked for one token, because some
    answer under further names; with `ask_models` each model is.
    Raises SettingsError for a missing key or address, EndpointError for a model that the endpoint does not have.
    """
    writers = [*settings.writers("king"), *settings.writers("challenger"), settings.audit.auditor]
    judges = [*settings.judge.asked_models, *(model for model in settings.choosers if not model.startswith(RULE))]
    wanted: dict[Literal["writer", "judge"], list[str]] = {"writer": writers, "judge": judges}
    found: dict[str, str] = {}
    routes = {role: calls.route_for(settings, workspace, role) for role in wanted}
    plain = settings.endpoint.model_copy(update={"timeout_s": ANSWER_S, "stream": False})
    async with transport.HttpTransport(plain) as line:
        for role, models in wanted.items():
            provider = routes[role].provider
            listed = await line.models(provider)
            for model in filter(None, dict.fromkeys(models)):
                found[model] = "listed" if model in listed else "not listed"
                if not ask_models and (model in listed or any("*" in name for name in listed)):
                    continue
                request = calls.Request("check", model, model, [{"role": "user", "content": "Say ok."}], max_tokens=1)
                outcome, _ = await line.send(provider, wire.encode(request, model, 1))
                if isinstance(outcome, Failure) and (outcome.unsent or outcome.no_model or outcome.status in REFUSALS):
                    error = down_error(outcome, provider, model, listed)
                    error.hint += f"; {ASK_DOCTOR}"
                    raise error
                found[model] = "answers"
                if isinstance(outcome, Failure) and outcome.kind != "empty" and outcome.meaning is not Meaning.ITEM:
                    found[model] = f"no answer now: {outcome.told}"
    return found


def show(found: list[DoctorFinding], _: Namespace) -> None:
    width = max(len(finding.name) for finding in found)
    for one in found:
        print(f"{'ok' if one.works else 'no' if one.needed else '--'}  {one.name:{width}}  {one.detail}")
