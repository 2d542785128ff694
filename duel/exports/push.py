"""Upload to the Hub: private by default, never over a repository without a yes, never the token in a message."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from duel.environment import hub_token
from duel.errors import SettingsError, UserError
from duel.workspace import Workspace

if TYPE_CHECKING:
    from huggingface_hub.hf_api import DatasetInfo

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def push(
    folder: Path, files: list[str], repository: str, workspace: Workspace, *, public: bool, agree: Callable[[str], bool]
) -> str:
    """Upload `files` of `folder` as one commit and return its address.

    `agree` is asked before an existing repository is overwritten. Raises UserError: no token, a refusal, a repository
    that is public where a private one was asked for.
    """
    from huggingface_hub import HfApi, errors
    from huggingface_hub.utils.tqdm import disable_progress_bars

    check(repository)
    token = hub_token(workspace.root)
    if not token:
        raise SettingsError("there is no token for the Hub", hint="set HF_TOKEN in the environment or in .env")
    if not sys.stderr.isatty():
        disable_progress_bars()
    api = HfApi(token=token)
    try:
        try:
            _must_be_wanted(api.dataset_info(repository), repository, public, agree)
        except errors.RepositoryNotFoundError:
            api.create_repo(repository, repo_type="dataset", private=not public, exist_ok=True)
            # One that came into being meanwhile keeps its own visibility: look before anything is uploaded.
            if not public and not api.dataset_info(repository).private:
                what = "the Hub made the repository public"
                raise UserError(what, where="--push", value=repository, hint="nothing was uploaded") from None
        commit = api.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=files,
            commit_message="Export of a duel",
        )
    except (errors.HfHubHTTPError, _connection_error(), OSError) as error:
        raise _refused(error, repository, token) from None
    return str(commit.commit_url)


def asker(yes: bool) -> Callable[[str], bool]:
    """Who agrees to an overwrite: the flag, or the person at the terminal; in a pipe nobody does."""
    return lambda question: yes or (sys.stdin.isatty() and input(f"{question} [y/N] ").strip().lower() in {"y", "yes"})


def check(repository: str) -> None:
    """Raise UserError where `repository` is no Hub id."""
    if not _REPOSITORY.fullmatch(repository):
        raise UserError("not a repository of the Hub", where="--push", value=repository, hint="write it as owner/name")


def _connection_error() -> type[Exception]:
    """What the Hub's client raises where no answer came: its own HTTP library's error, whichever version uses which."""
    from huggingface_hub import errors

    found = getattr(errors, "HTTPError", OSError)
    return found if isinstance(found, type) and issubclass(found, Exception) else OSError


def _must_be_wanted(existing: DatasetInfo, repository: str, public: bool, agree: Callable[[str], bool]) -> None:
    if not existing.private and not public:
        what = "the repository is public, and a private one was asked for"
        hint = "make it private on the Hub, choose another name, or say --public"
        raise UserError(what, where="--push", value=repository, hint=hint)
    if not agree(f"{repository} is there already: overwrite its files?"):
        what, hint = "the repository exists and was not overwritten", "--yes overwrites it without a question"
        raise UserError(what, where="--push", value=repository, hint=hint)


def _refused(error: Exception, repository: str, token: str) -> UserError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    hints = {
        401: "the token is not valid: make a new one with write access",
        403: "the token may not write there: it needs write access to this owner",
        429: "the Hub asks to wait: run the same command again later",
    }
    said = str(error).replace(token, "<token>").strip().split("\n")[0]
    hint = hints.get(status or 0, "what was exported stays in export/")
    return UserError("the Hub refused the upload", where=repository, value=said, hint=hint)
