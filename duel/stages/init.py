"""Write a commented chain.toml and .env.example to start from; what is there already stays.

    duel init                       in the current directory
    duel init --workspace run/

reads   nothing
writes  chain.toml with every key at its default, commented out, and .env.example
"""

from argparse import Namespace

from duel.bookkeeping import Result
from duel.command import say
from duel.settings import SETTINGS_FILE, told
from duel.workspace import Workspace

ENVIRONMENT = """\
# Copy this file to .env and fill in what you use. It stays on this machine; no key reaches a record, a log or an error.

# The endpoint's key. With this one alone, https://llm.chutes.ai/v1 is called.
CHUTES_API_KEY=
# Any other OpenAI-compatible endpoint, with or without /v1.
# CHUTES_BASE_URL=http://127.0.0.1:8000/v1
# Datasets that need it, and uploads.
# HF_TOKEN=
"""


def run(workspace: Workspace) -> Result:
    lines = ["# Every key is optional and stands here with its default. docs/settings.md has the same as a table."]
    for section, about, keys in told():
        lines += ["", f"# {about}", f"# [{section}]" if section.startswith("prices") else f"[{section}]"]
        lines += [f"# {key} = {default}".rstrip() + f"  # {words}" for key, default, words in keys]
    written = []
    for name, text in ((SETTINGS_FILE, "\n".join(lines) + "\n"), (".env.example", ENVIRONMENT)):
        path = workspace.root / name
        if path.exists():
            say(f"{path} is there already and stays as it is")
            continue
        workspace.save(path, text.encode())
        written.append(path)
        say(f"wrote {path}")
    return Result("init", found=written)


def main(arguments: Namespace) -> int:
    return run(Workspace(arguments.workspace)).exit_code
