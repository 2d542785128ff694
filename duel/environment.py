"""Environment variables and `.env` files: where keys and addresses are looked up, and nowhere else."""

import codecs
import os
import re
import sys
from functools import cache
from io import StringIO
from pathlib import Path

from duel.errors import SettingsError, printable

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)  # of a dataset or model of the Hub
# What the libraries underneath look up by themselves, so that a `.env` file must reach them too.
_READ_BY_LIBRARIES = re.compile(r"(?i)HF_\w+|(https?|all|no)_proxy|SSL_CERT_(FILE|DIR)")
# What the environment holds of the last workspace's `.env`: in a notebook no token of one reaches another's endpoint.
_HANDED_ON: dict[str, str] = {}


def environment(name: str, workspace: Path) -> str:
    """The value of an environment variable, else of the same name in the workspace's or the current `.env`; else ""."""
    own = os.environ.get(name)
    return (own if own != _HANDED_ON.get(name) else "") or _from_files(workspace).get(name) or ""


def secret(name: str, workspace: Path) -> str:
    """The key in variable `name`, or "". Read when used, never kept: it must reach no record, log or error."""
    return environment(name, workspace).strip()


def hub_token(workspace: Path) -> str:
    """The Hub token, from HF_TOKEN or HUGGINGFACE_API_KEY; "" if there is none."""
    return secret("HF_TOKEN", workspace) or secret("HUGGINGFACE_API_KEY", workspace)


def hub_is_off(workspace: Path) -> bool:
    return environment("HF_HUB_OFFLINE", workspace).lower() in {"1", "true", "yes", "on"}


def hand_on(workspace: Path) -> None:
    """Put what libraries look up (proxies, HF_HUB_OFFLINE) from `.env` into the environment, for `workspace` alone."""
    for name in list(_HANDED_ON):
        if os.environ.get(name) == _HANDED_ON.pop(name):
            del os.environ[name]
    for name, value in _from_files(workspace).items():
        if _READ_BY_LIBRARIES.fullmatch(name) and name not in os.environ:
            os.environ[name] = _HANDED_ON[name] = value


def expanded(path: Path | str) -> Path:
    """`path` with `~` for the home folder; as it is where there is none (containers)."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises without a home folder


def _from_files(workspace: Path) -> dict[str, str]:
    return {**_dotenv(Path(".env")), **_dotenv(workspace / ".env")}


def _dotenv(file: Path) -> dict[str, str]:
    """The names in one file. Raises SettingsError for a file that is not UTF-8."""
    try:
        raw = file.read_bytes()
    except OSError:
        return {}
    if not raw:
        return {}
    from dotenv.parser import parse_stream

    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        utf_16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        value = "it is UTF-16" if utf_16 else f"it is not UTF-8, at byte {error.start}"
        what, where = "cannot read the environment file", file.absolute()
        raise SettingsError(what, where=where, value=value, hint="save it as UTF-8") from None
    found = {}
    for line in parse_stream(StringIO(text)):
        if line.error:
            _say_passed_over(file, line.original.line)
        elif line.key and line.value:
            found[line.key] = line.value
    return found


@cache  # a process reads the file often
def _say_passed_over(file: Path, line: int) -> None:
    print(f"{printable(file)}: line {line} is no NAME=value and is passed over", file=sys.stderr)
