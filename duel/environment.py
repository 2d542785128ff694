"""Environment variables and `.env` files: where keys and addresses live, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path


def environment(name: str, workspace: Path) -> str:
    """The value of an environment variable, else of the same name in the workspace's or the current `.env`; else ""."""
    if os.environ.get(name):
        return os.environ[name]
    for folder in (workspace, Path.cwd()):
        value = _dotenv(folder / ".env").get(name)
        if value:
            return value
    return ""


def secret(name: str, workspace: Path) -> str:
    """The key in variable `name`, or "". Read when used, never kept: it must reach no record, log or error."""
    return environment(name, workspace).strip()


def hub_token(workspace: Path) -> str:
    """The Hub token, from HF_TOKEN or HUGGINGFACE_API_KEY; "" where there is none."""
    return secret("HF_TOKEN", workspace) or secret("HUGGINGFACE_API_KEY", workspace)


def _dotenv(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    values = {}
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if not equals or name.startswith("#"):
            continue
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        else:
            value = value.split(" #", 1)[0].rstrip()
        values[name.strip()] = value
    return values
