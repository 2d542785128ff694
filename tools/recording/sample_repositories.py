"""The small repositories of the sample: described in `repositories/*.toml`, built with git, one pull request a bug.

The package ships what this makes, as git bundles; users run nothing of it.

Each starts with all its bugs; each pull request repairs one, in order, so that the base commit of a pull request is the
state before it and the history behind it is real.
"""

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from duel.offline import GIT_SETTINGS

# Whatever git would take from the machine is fixed, so that the same files give the same commit ids everywhere.
GIT_ENVIRONMENT = {
    "PATH": os.defpath,
    "LC_ALL": "C",
    "TZ": "UTC",
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
}
_TEST_PATH = re.compile(r"(^|/)tests?/|(^|/)test_|_test\.\w+$|\.test\.\w+$|/src/test/")
_TEST_NAME = re.compile(
    r"^\+\s*(?:def (test_\w+)|test\(\"([^\"]+)\"|func (Test\w+)|(?:pub )?fn (\w+)\(\) \{|void (\w+)\(\)"
    r"|static void (\w+)\(void\)|(test_\w+)\(\) \{)",
    re.MULTILINE,
)


Stripped = Annotated[str, StringConstraints(strip_whitespace=True)]


class Pull(BaseModel, frozen=True):
    """One pull request: what was reported, and the edits that repair it."""

    number: int
    title: str
    created_at: str
    issue: Stripped
    description: Stripped
    interface: str = ""
    edits: tuple[dict[str, str], ...]

    def edited(self, files: Mapping[str, str], tests: bool) -> dict[str, str]:
        """The files that this pull request changes, as it leaves them: its tests, or all the rest.

        Raises ValueError for an edit that does not fit exactly once.
        """
        changed: dict[str, str] = {}
        for edit in self.edits:
            path = edit["file"]
            if bool(_TEST_PATH.search(path)) != tests:
                continue
            text = changed.get(path, files.get(path, ""))
            if "create" in edit:
                changed[path] = edit["create"]
            elif "append" in edit:
                changed[path] = text + edit["append"]
            elif text.count(edit["old"]) == 1:
                changed[path] = text.replace(edit["old"], edit["new"])
            else:
                raise ValueError(f"{path}: fits {text.count(edit['old'])} times: {edit['old']!r}")
        return changed


class SampleRepository(BaseModel, frozen=True):
    """One repository as its TOML file describes it."""

    name: str = Field(alias="repo")
    license: str
    language: str
    test_command: str
    author: str
    commits: tuple[dict[str, Any], ...]
    pulls: tuple[Pull, ...]


class SampleCheckout:
    """A repository in a folder, under git, at some point of its history."""

    def __init__(self, repository: SampleRepository, folder: Path) -> None:
        self.repository = repository
        self.folder = folder

    def begin(self) -> None:
        self.git("init", "--quiet", "--template=", "--initial-branch=main")
        for name_and_value in GIT_SETTINGS:
            self.git("config", *name_and_value.split("=", 1))
        for commit in self.repository.commits:
            self.write(commit["files"])
            self.commit(commit["message"], commit["date"])

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            path.chmod(0o755 if text.startswith("#!") else 0o644)

    def commit(self, message: str, date: str) -> None:
        """Commit everything, in the name of the repository's author."""
        self.git("add", "--all")
        name = self.repository.author
        person = {"NAME": name, "EMAIL": f"{name.split()[0].lower()}@example.org", "DATE": date}
        stamp = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in person.items()}
        self.git("commit", "--quiet", "--message", message, **stamp)

    def difference(self, files: Mapping[str, str]) -> str:
        """The diff that writing `files` would make; nothing is left of it."""
        self.write(files)
        self.git("add", "--all")
        diff = self.git("diff", "--cached", "--no-color", "--no-ext-diff")
        self.git("reset", "--quiet", "--hard")
        return diff

    def bundle(self, path: Path) -> None:
        """Write the whole history into one file."""
        self.git("-c", "pack.threads=1", "bundle", "create", "--quiet", str(path.absolute()), "main")

    def git(self, *arguments: str, **environment: str) -> str:
        done = subprocess.run(  # noqa: S603 - arguments of this package's own
            ["git", *arguments],  # noqa: S607 - the machine's git
            cwd=self.folder,
            env={**GIT_ENVIRONMENT, "PATH": os.environ.get("PATH", os.defpath), **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


@dataclass(frozen=True)
class Base:
    """A pull request that is still to be made: the checkout in the state before it."""

    checkout: SampleCheckout
    pull: Pull

    @property
    def repository(self) -> SampleRepository:
        return self.checkout.repository

    @property
    def instance_id(self) -> str:
        return f"{self.repository.name.replace('/', '__')}-{self.pull.number}"

    @cached_property
    def commit(self) -> str:
        return self.checkout.git("rev-parse", "HEAD").strip()

    @cached_property
    def files(self) -> dict[str, str]:
        """All files under git at the base commit."""
        names = self.checkout.git("ls-files").splitlines()
        return {name: (self.checkout.folder / name).read_text("utf-8") for name in names}

    @cached_property
    def tests(self) -> dict[str, str]:
        """The test files as the pull request leaves them; an agent's checkout already has them."""
        return self.pull.edited(self.files, tests=True)

    @cached_property
    def fix(self) -> dict[str, str]:
        return self.pull.edited(self.files, tests=False)


def load(only: str = "") -> list[SampleRepository]:
    """The repositories of the sample in alphabetical order, or the one that is named `only`."""
    files = sorted((Path(__file__).parent / "repositories").glob("*.toml"))
    return [
        SampleRepository.model_validate(tomllib.loads(file.read_text("utf-8")))
        for file in files
        if not only or file.name == f"{only}.toml"
    ]


def bases(repository: SampleRepository, folder: Path) -> Iterator[tuple[Base, dict[str, Any]]]:
    """Walk through the history: each pull request with its base checked out, and its row once it is made.

    The row's diffs are made before the base is handed out, and taken back, so that nobody can see what is to come.
    """
    checkout = SampleCheckout(repository, folder)
    checkout.begin()
    for pull in repository.pulls:
        base = Base(checkout, pull)
        row = pull_row(base)
        yield base, row
        checkout.write({**base.tests, **base.fix})
        checkout.commit(f"{pull.title} (#{pull.number})", pull.created_at)


def pull_row(base: Base) -> dict[str, Any]:
    """One row in the columns of nebius/SWE-rebench-V2-PRs."""
    patch, test_patch = base.checkout.difference(base.fix), base.checkout.difference(base.tests)
    return {
        "base_commit": base.commit,
        "created_at": base.pull.created_at,
        "hints_text": "",
        "instance_id": base.instance_id,
        "patch": patch,
        "pr_description": f"{base.pull.title}\n\n{base.pull.description}",
        "problem_statement": base.pull.issue,
        "pull_number": base.pull.number,
        "repo": base.repository.name,
        "test_patch": test_patch,
        "FAIL_TO_PASS": [next(filter(None, added.groups())) for added in _TEST_NAME.finditer(test_patch)],
        "PASS_TO_PASS": [],
        "interface": base.pull.interface,
        "license": base.repository.license,
        "install_config": {"test_cmd": base.repository.test_command},
        "meta": {"language": base.repository.language, "made_by": "duel.offline.recorder"},
    }
