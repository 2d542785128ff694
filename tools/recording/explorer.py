"""The recorded agents: three temperaments, from careful to lost, that decide by what they have observed.

An agent is a generator: it yields a turn (thought and command) and is sent the observation.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from random import Random

from tools.recording import edits
from tools.recording.prose import Prose
from tools.recording.sample_repositories import Base

SUBMIT = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
# Words that say nothing about where a bug is.
PLAIN = frozenset(
    "this that with from have been should would could when then than what which while only also same other there "
    "their they them here does gives returns instead expected example comes every never first last second after "
    "before because between something again into over once more most such very name names line lines file files "
    "value values number text list true false".split()
)
GENERIC = ("TODO", "return", "error", "main", "import", "config", "def ", "null", "test")
GUESSES = ("src/utils{suffix}", "src/main{suffix}", "lib/helpers{suffix}", "core{suffix}", "src/core/index{suffix}")
EXTENSIONS = {
    "Python": ".py",
    "JavaScript": ".js",
    "TypeScript": ".ts",
    "Go": ".go",
    "Rust": ".rs",
    "C": ".c",
    "Java": ".java",
    "Shell": ".sh",
}

Turn = tuple[str, str]
Agent = Generator[Turn, str, None]


@dataclass(frozen=True)
class RecordedBug:
    """What one rollout works on, and how it makes its choices."""

    base: Base
    chance: Random
    prose: Prose

    @classmethod
    def of(cls, base: Base, rollout: int) -> RecordedBug:
        """The case of one rollout; its choices depend on the pull request and the rollout's number alone."""
        chance = Random(f"{base.instance_id}/{rollout}")
        headline = base.pull.issue.splitlines()[0].rstrip(".")
        return cls(base, chance, Prose(chance, headline[:1].lower() + headline[1:]))

    @property
    def suffix(self) -> str:
        """The extension of the repository's source files."""
        return EXTENSIONS[self.base.repository.language]

    @property
    def targets(self) -> list[str]:
        """The files that have to change."""
        return list(self.base.fix)

    def terms(self) -> list[str]:
        """Words of the issue that stand in a file to be changed, the rarest first."""
        text = "\n".join(self.base.files.get(path, "") for path in self.targets)
        words = dict.fromkeys(re.findall(r"[A-Za-z_]\w{3,}", self.base.pull.issue))
        found = [word for word in words if word in text and word.lower() not in PLAIN]
        return sorted(found, key=lambda word: (text.count(word), word)) or [self.targets[0].rpartition("/")[2]]

    def others(self) -> list[str]:
        """Source files that have nothing to do with it."""
        return sorted(path for path in self.base.files if path not in self.targets)

    def tests(self) -> list[str]:
        """The test files that belong to it."""
        return list(self.base.tests)


def agent(case: RecordedBug, rollout: int) -> Agent:
    """The agent of a rollout: of three, about one solves its issue, one tries, one is lost."""
    temperaments = [careful, hasty, lost]
    Random(case.base.instance_id).shuffle(temperaments)
    return temperaments[rollout % 3](case)


def careful(case: RecordedBug) -> Agent:
    """Looks, searches, reads, changes what has to change, checks, submits."""
    say, chance = case.prose.say, case.chance
    yield from _overview(case)
    if chance.random() < 0.3:
        yield from _blind_alley(case)
    term = chance.choice(case.terms()[:3])
    yield say("search", term=term), _search(case, term)
    for path in case.targets:
        yield say("read", file=path), _read(case, path)
    if chance.random() < 0.6:
        path = chance.choice(case.tests())
        yield say("read-test", file=path), _read(case, path)
    if chance.random() < 0.25:
        yield from _failing_run(case)
    for path, text in case.base.fix.items():
        yield say("edit", file=path, line=_culprit(case, path)), edits.command(path, case.base.files[path], text)
    yield say("verify"), chance.choice(["git diff", "git diff --stat", f"cat {case.targets[0]}"])
    yield say("submit"), SUBMIT


def hasty(case: RecordedBug) -> Agent:
    """Reads little, tries a replacement that does not fit, repairs half of it, submits."""
    say, chance = case.prose.say, case.chance
    path = case.targets[0]
    yield from _overview(case)
    if chance.random() < 0.5:
        yield from _wrong_glob(case)
    if chance.random() < 0.6:
        term = chance.choice([*GENERIC[:3], *case.terms()[:2]])
        yield say("search-generic", term=term), _search(case, term)
    else:
        yield from _wrong_path(case)
    yield say("read", file=path), _read(case, path)
    before = case.base.files[path]
    line = chance.choice([line for line in before.splitlines() if len(line.split()) > 2])
    yield say("edit-wrong", file=path), edits.without_match(path, line)
    observed = yield say("verify"), "git diff"
    if path not in observed and chance.random() < 0.7:
        yield say("read-again", file=path), _read(case, path)
        yield say("edit", file=path, line=_culprit(case, path)), edits.command(path, before, case.base.fix[path])
    elif chance.random() < 0.6:
        yield from _wander(case)
    yield say("submit-hasty"), SUBMIT


def lost(case: RecordedBug) -> Agent:
    """Does not find what it looks for."""
    yield from _overview(case)
    yield from _wrong_glob(case)
    yield from _wander(case)


# -- what they have in common --------------------------------------------------------------------------------------


def _wander(case: RecordedBug) -> Agent:
    """Generic searches, wrong paths, files that have nothing to do with it. Never ends by itself."""
    say, chance = case.prose.say, case.chance
    while True:
        match chance.randrange(9):
            case 0 | 1:
                path = chance.choice(case.others())
                yield say("read-other", file=path), _read(case, path)
            case 2:
                term = chance.choice(GENERIC)
                yield say("search-generic", term=term.strip()), _search(case, term)
            case 3:
                yield say("wander"), chance.choice(["ls", "ls -R . | head -40", "find . -maxdepth 2 -type d | sort"])
            case 4:
                yield from _blind_alley(case)
            case 5:
                yield say("log"), chance.choice(["git log --oneline", "git log --oneline -5", "git status --short"])
            case 6:
                term = chance.choice(case.terms())
                yield say("search", term=term), _search(case, term)
            case 7:
                path = chance.choice([*case.targets, *case.tests()])
                yield say("read", file=path), _read(case, path)
            case _:
                folder = case.targets[0].rpartition("/")[0] or "."
                yield say("size"), f"wc -l {folder}/*{case.suffix}"


def _overview(case: RecordedBug) -> Agent:
    say, chance = case.prose.say, case.chance
    looks = [
        "ls",
        "ls -R",
        'find . -type f -not -path "./.git/*" | sort',
        "find . -maxdepth 2 -not -path '*/.git*' | sort",
    ]
    yield say("overview"), chance.choice(looks)
    if chance.random() < 0.25:
        yield say("readme"), chance.choice(["cat README.md", "head -20 README.md"])


def _blind_alley(case: RecordedBug) -> Agent:
    detours = [_wrong_path, _failing_run, _wrong_glob]
    yield from case.chance.choice(detours)(case)


def _wrong_path(case: RecordedBug) -> Agent:
    path = case.chance.choice(GUESSES).format(suffix=case.suffix)
    yield case.prose.say("missing", file=path), f"cat {path}"
    yield case.prose.say("lost-path"), f'find . -name "*{case.suffix}" | sort'


def _failing_run(case: RecordedBug) -> Agent:
    yield case.prose.say("run-tests"), case.base.repository.test_command
    path = case.chance.choice([*case.targets, *case.tests()])
    yield case.prose.say("no-tests"), f"head -30 {path}"


def _wrong_glob(case: RecordedBug) -> Agent:
    wrong = case.chance.choice([ending for ending in (".py", ".js", ".go", ".rb") if ending != case.suffix])
    yield case.prose.say("wrong-glob"), f'find . -name "*{wrong}" | sort | head -20'


def _search(case: RecordedBug, term: str) -> str:
    """A search; where it walks through folders its lines are sorted, since a file system has no order of its own."""
    folder = case.chance.choice([".", case.targets[0].split("/")[0] if "/" in case.targets[0] else "."])
    flags = case.chance.choice(["-rn", "-rn", "-rin", "-rl"])
    return f'grep {flags} "{term}" {folder} --include="*{case.suffix}" | sort -V'


def _read(case: RecordedBug, path: str) -> str:
    lines = case.base.files.get(path, case.base.tests.get(path, "")).count("\n")
    half = max(10, lines // 2 // 10 * 10)
    ways = [f"cat {path}", f"cat {path}", f"nl -ba {path}", f"sed -n '1,{half}p' {path}", f"head -{half} {path}"]
    return case.chance.choice(ways)


def _culprit(case: RecordedBug, path: str) -> str:
    """The first line of a file that the fix does away with, or the one behind which it adds something."""
    before, after = (text.splitlines() for text in (case.base.files[path], case.base.fix[path]))
    first = next((i for i, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), len(before) - 1)
    for line in [*before[first:], *reversed(before[:first])]:
        if len(line.split()) > 1 and "`" not in line:
            return line.strip()
    return path
