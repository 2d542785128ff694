"""Upload to the Hub: private by default, never over a repository without a yes, never the token in a message."""

import sys
from pathlib import Path

from duel.environment import HUB_ID, hub_token
from duel.errors import SettingsError, UserError

_HINTS = {
    401: "the token is not valid: make a new one with write access",
    403: "the token may not write there: it needs write access to this owner",
    429: "the Hub asks to wait: run the same command again later",
}


def check(repository: str) -> None:
    if not HUB_ID.fullmatch(repository):
        raise UserError("not a repository of the Hub", where="--push", value=repository, hint="write it as owner/name")


def push(folder: Path, files: list[str], repository: str, home: Path, *, public: bool, yes: bool) -> str:
    """Upload `files` of `folder` as one commit and return its address; `home` may hold the token's `.env`.

    Without `yes` the person at the terminal is asked before an existing repository is overwritten; in a pipe nobody
    agrees. Raises UserError: no token, a refusal, a repository that is public where a private one was asked for.
    """
    from huggingface_hub import HfApi, errors
    from huggingface_hub.utils.tqdm import disable_progress_bars

    token = hub_token(home)
    if not token:
        raise SettingsError("there is no token for the Hub", hint="set HF_TOKEN in the environment or in .env")
    if not sys.stderr.isatty():
        disable_progress_bars()

    def refuse(what: str, hint: str) -> UserError:
        return UserError(what, where="--push", value=repository, hint=hint)

    api = HfApi(token=token)
    # Raised where no answer came: the error of the client's own HTTP library, whichever version uses which.
    lost: type[Exception] = getattr(errors, "HTTPError", OSError)
    try:
        try:
            if not api.dataset_info(repository).private and not public:
                hint = "make it private on the Hub, choose another name, or say --public"
                raise refuse("the repository is public, and a private one was asked for", hint)
            question = f"{repository} is there already: overwrite its files? [y/N] "
            if not (yes or (sys.stdin.isatty() and input(question).strip().lower() in {"y", "yes"})):
                raise refuse("the repository exists and was not overwritten", "--yes overwrites it without a question")
        except errors.RepositoryNotFoundError:
            api.create_repo(repository, repo_type="dataset", private=not public, exist_ok=True)
            # One that came into being meanwhile keeps its own visibility: look before anything is uploaded.
            if not public and not api.dataset_info(repository).private:
                raise refuse("the Hub made the repository public", "nothing was uploaded") from None
        told = "Export of a duel"
        done = api.upload_folder(
            repo_id=repository, repo_type="dataset", folder_path=folder, allow_patterns=files, commit_message=told
        )
        return str(done.commit_url)
    except (errors.HfHubHTTPError, lost, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        said = str(error).replace(token, "<token>").strip().split("\n")[0]
        hint = _HINTS.get(status or 0, "what was exported stays in export/")
        raise UserError("the Hub refused the upload", where=repository, value=said, hint=hint) from None
