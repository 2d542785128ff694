"""What an agent is asked and how it gets there: plans that meet the repository as it is, one call after the other.

A plan is a generator: it yields the calls of one reply, is sent what they gave, and returns the answer. It knows where
a definition stands, and must find out all the same: what its answer needs is checked against what was observed. What is
asked and thought is plain here; a model words it afterwards.
"""

import random
import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from duel.errors import ItemError
from duel.scaling.agent_tools import PlannedCall


@dataclass(frozen=True)
class Seen:
    """What a call gave."""

    text: str
    failed: bool


@dataclass(frozen=True)
class Place:
    """A definition whose name occurs once in the repository, and the line below its head ("": none of words)."""

    name: str
    path: str
    line: int
    text: str
    below: str = ""


@dataclass(frozen=True)
class Ground:
    """What plans may build on: the definitions, the commit that lies before them, and how the tests are run."""

    places: list[Place]
    commit: str = ""
    test: str = ""


@dataclass
class LastWords:
    """A plan's answer, and what must have been observed for it to be true."""

    answer: str
    needs: list[str] = field(default_factory=list)


Steps: TypeAlias = Generator[tuple[str, list[PlannedCall]], list[Seen], LastWords]
Request: TypeAlias = tuple[str, list[str]]
"""What is asked, and the names in it."""
Plan: TypeAlias = Callable[[Ground, random.Random], tuple[Request, Steps]]


def _grep(name: str, **more: Any) -> PlannedCall:
    return PlannedCall("grep", {"pattern": rf"\b{name}\b", **more})


def _read(path: str, first: int, count: int) -> PlannedCall:
    return PlannedCall("read", {"path": path, "offset": max(1, first), "limit": count})


def _edit(path: str, old: str, new: str, **more: Any) -> PlannedCall:
    return PlannedCall("edit", {"path": path, "old": old, "new": new, **more})


def _bash(command: str) -> PlannedCall:
    return PlannedCall("bash", {"command": command})


def _at(place: Place) -> str:
    return f"{place.path}:{place.line}:"


def _asked(text: str, **names: str) -> Request:
    return text.format(**names), [*names.values()]


def _must(holds: bool, reason: str, what: str = "") -> None:
    if not holds:
        raise ItemError(reason, what)


def _second_line(seen: Seen) -> tuple[str, str]:
    """(the line as it was shown, its code)."""
    lines = seen.text.splitlines()
    shown = lines[1] if len(lines) > 1 else ""
    cited = shown.partition("\t")[2].strip()
    _must(bool(re.search(r"\w", cited)), "nothing-to-cite", "the definition has no second line")
    return shown, cited


def locate(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(ground.places)

    def steps() -> Steps:
        yield "I search for the name.", [_grep(place.name)]
        return LastWords(f"`{place.name}` is defined in {place.path}, line {place.line}.", [_at(place)])

    return _asked("Where is {n} defined?", n=place.name), steps()


def whose_line(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice([place for place in ground.places if len(place.below.strip()) > 12] or ground.places)
    code = place.below.strip()
    _must(bool(code) and "`" not in code, "nothing-to-cite")

    def steps() -> Steps:
        pattern = re.sub(r"([][().*+?{}|^$\\])", r"\\\1", code)
        [seen] = yield "I search for the line itself.", [PlannedCall("grep", {"pattern": pattern})]
        _must(len(seen.text.splitlines()) == 1, "line-not-unique", code)
        yield "What stands above it says whose it is.", [_read(place.path, place.line - 2, 4)]
        head = f"{place.line:6}\t{place.text}"
        return LastWords(f"`{code}` belongs to `{place.name}` ({place.path}, line {place.line}).", [seen.text, head])

    return _asked("Which definition does the line `{c}` belong to?", c=code), steps()


def explain(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(ground.places)

    def steps() -> Steps:
        yield "First I find where it stands.", [_grep(place.name)]
        [seen] = yield "Now the code itself.", [_read(place.path, place.line, draw.randrange(4, 12))]
        shown, cited = _second_line(seen)
        answer = f"{place.path}, line {place.line + 1}, right below the head of `{place.name}`: `{cited}`"
        return LastWords(answer, [_at(place), shown])

    return _asked("What does {n} do first? Cite the line.", n=place.name), steps()


def count(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(ground.places)

    def steps() -> Steps:
        command = f"grep -rlw --exclude-dir=.git {place.name} . | sort"
        [seen] = yield "I list the files that hold the word.", [_bash(command)]
        files = seen.text.split()
        return LastWords(f"{len(files)}: {', '.join(files)}.", files)

    return _asked("How many files mention {n}?", n=place.name), steps()


def parallel(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    first, second = draw.sample(ground.places, 2)

    def steps() -> Steps:
        yield "Two searches that do not depend on each other.", [_grep(first.name), _grep(second.name)]
        reads = [_read(place.path, place.line, 3) for place in (first, second)]
        seen = yield "And both bodies at once.", reads
        cited = [_second_line(one) for one in seen]
        where = (
            f"`{p.name}` ({p.path}:{p.line}) `{code}`" for p, (_, code) in zip((first, second), cited, strict=True)
        )
        needs = [_at(first), _at(second), *(shown for shown, _ in cited)]
        return LastWords("First lines: " + "; ".join(where) + ".", needs)

    return _asked("Compare the first lines of {a} and {b}.", a=first.name, b=second.name), steps()


def several_files(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(ground.places)

    def steps() -> Steps:
        [seen] = yield "I look for the definition and its uses.", [_grep(place.name)]
        uses = [line for line in seen.text.splitlines() if not line.startswith(f"{place.path}:")]
        _must(bool(uses), "no-use-elsewhere", place.name)
        path, number, _ = draw.choice(uses).removeprefix("./").split(":", 2)
        [here] = yield "The definition first.", [_read(place.path, place.line, 3)]
        [there] = yield f"It is used in {path}; that file next.", [_read(path, int(number), 1)]
        shown, cited = _second_line(here)
        used = there.text.partition("\t")[2].strip()
        answer = f"`{place.name}` begins with `{cited}` ({place.path}:{place.line + 1}); {path}:{number} has `{used}`."
        return LastWords(answer, [f"{path}:{number}:", shown, f"{int(number):6}\t"])

    return _asked("Show how {n} begins and one place that uses it in another file.", n=place.name), steps()


def wrong_path(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(ground.places)
    base = place.path.rpartition("/")[2]
    wrong = draw.choice([f"lib/{base}", f"core/{base}", f"old/{place.path}"])

    def steps() -> Steps:
        [seen] = yield "I open it.", [_read(wrong, 1, 40)]
        _must(seen.failed, "path-exists", wrong)
        yield "There is no such file; I look for its name.", [PlannedCall("glob", {"pattern": base})]
        yield "That is the one.", [PlannedCall("grep", {"pattern": place.name, "path": place.path})]
        answer = f"{wrong} does not exist. `{place.name}` is in {place.path}, line {place.line}."
        return LastWords(answer, [f"./{place.path}", f"{place.line}:"])

    return _asked("In {w}, on which line does {n} start?", n=place.name, w=wrong), steps()


def missing_command(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(ground.places)
    tool = draw.choice(["rg", "ag", "ack"])

    def steps() -> Steps:
        [seen] = yield "As you say.", [_bash(f"{tool} {place.name}")]
        _must(seen.failed, "command-exists", tool)
        yield "It is not installed here; grep does the same.", [_grep(place.name)]
        return LastWords(f"{tool} is not installed; with grep: {place.path}, line {place.line}.", [_at(place)])

    return _asked("Use {t} to find {n}.", n=place.name, t=tool), steps()


def wrong_flag(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(ground.places)

    def steps() -> Steps:
        command = f"grep -r --files-only --exclude-dir=.git {place.name} ."
        [seen] = yield "Names only.", [_bash(command)]
        _must(seen.failed, "flag-exists", command)
        yield "That is no option; the help knows its name.", [_bash("grep --help | grep -i files-with")]
        right = command.replace("--files-only", "--files-with-matches") + " | sort"
        [seen] = yield "With the right one.", [_bash(right)]
        return LastWords(f"{', '.join(seen.text.split())}.", ["--files-with-matches", *seen.text.split()])

    return _asked("List the names of the files that hold {n}.", n=place.name), steps()


def _renaming(ground: Ground, draw: random.Random) -> tuple[Place, str]:
    """A definition whose name is no part of another's, and what it shall be called."""
    names = [place.name for place in ground.places]
    alone = [place for place in ground.places if sum(place.name in name for name in names) == 1]
    place = draw.choice(alone or ground.places)
    return place, draw.choice(["{}_v2", "new_{}", "{}_inner", "do_{}", "{}_once"]).format(place.name)


def rename(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    place, new = _renaming(ground, draw)

    def steps() -> Steps:
        [before] = yield "First its lines in that file.", [_grep(place.name, path=place.path)]
        yield "I change all of them.", [_edit(place.path, place.name, new, all=True)]
        [seen] = yield "And check.", [_grep(new, path=place.path)]
        old, now = (len(text.splitlines()) for text in (before.text, seen.text))
        answer = f"Done: {old} lines of {place.path} held {place.name}, {now} hold {new} now."
        return LastWords(answer, [before.text, seen.text])

    return _asked("Rename {n} to {m} in {p} only.", n=place.name, m=new, p=place.path), steps()


# What checks a file without running it, and says so.
COMPILERS = {
    "py": "python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' {} && echo it parses",
    "js": "node --check {} && echo it parses",
    "sh": "bash -n {} && echo it parses",
    "c": "gcc -std=c11 -fsyntax-only -I. -Iinclude {} && echo it compiles",
    "java": "javac -d /tmp/classes -sourcepath src/main/java:. {} && echo it compiles",
}


def _everywhere(ground: Ground, draw: random.Random, by_tests: bool) -> tuple[Request, Steps]:
    place, new = _renaming(ground, draw)
    check = ground.test if by_tests else COMPILERS.get(place.path.rpartition(".")[2], "").format(place.path)
    _must(bool(check), "no-tests" if by_tests else "no-compiler", place.path)

    def steps() -> Steps:
        [seen] = yield "I look for every use.", [_grep(place.name)]
        paths = sorted({line.partition(":")[0].removeprefix("./") for line in seen.text.splitlines()})
        _must(len(paths) <= 5, "too-many-files", place.name)
        for path in paths:
            [done] = yield f"I change {path}.", [_edit(path, place.name, new, all=True)]
            _must(not done.failed, "edit-fails", path)
        [said] = yield "Now I check that it holds.", [_bash(check)]
        _must(not said.failed, "check-fails", said.text)
        last = said.text.splitlines()[-1]
        answer = f"{place.name} is {new} now in {', '.join(paths)}. The check says: {last}"
        return LastWords(answer, [seen.text, said.text])

    wish = "the tests must still pass" if by_tests else "check that {p} still compiles"
    named = {"n": place.name, "m": new, **({} if by_tests else {"p": place.path})}
    return _asked("Rename {n} to {m} everywhere; " + wish + ".", **named), steps()


def _note(ground: Ground, draw: random.Random, place: Place) -> str:
    mark = "#" if place.path.endswith((".py", ".sh")) else "//"
    return f"{mark} {draw.choice(['see', 'used by', 'tested with', 'compare'])} {draw.choice(ground.places).name}"


def ambiguous(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(ground.places)
    note = _note(ground, draw, place)

    def steps() -> Steps:
        short = place.text.split()[0] + " "
        [seen] = yield "I put it there.", [_edit(place.path, short, f"{note}\n{short}")]
        _must(seen.failed, "not-ambiguous", "the text stands there once")
        [more] = yield "That text stands in several places; I read more of it.", [_read(place.path, place.line, 2)]
        old, indent = place.text, place.text[: len(place.text) - len(place.text.lstrip())]
        yield "With the whole line it is clear.", [_edit(place.path, old, f"{indent}{note}\n{old}")]
        [seen] = yield "How it looks now.", [_read(place.path, place.line, 2)]
        needs = [more.text, seen.text]
        return LastWords(f"The comment stands above `{place.name}` in {place.path}, line {place.line}.", needs)

    return _asked("In {p}, put the comment `{c}` above {n}.", n=place.name, c=note, p=place.path), steps()


def stale_read(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    place, new = _renaming(ground, draw)
    note = _note(ground, draw, place)

    def steps() -> Steps:
        [first] = yield "I read the place.", [_read(place.path, place.line, 2)]
        yield "The name first.", [_edit(place.path, place.name, new, all=True)]
        indent = place.text[: len(place.text) - len(place.text.lstrip())]
        [lost] = yield "Now the comment.", [_edit(place.path, place.text, f"{indent}{note}\n{place.text}")]
        _must(lost.failed, "not-stale", place.path)
        [more] = yield "My copy is older than my own change; I read again.", [_read(place.path, place.line, 1)]
        line = more.text.partition("\t")[2]
        yield "With the line as it is now.", [_edit(place.path, line, f"{indent}{note}\n{line}")]
        answer = f"`{new}` it is called, with the comment on line {place.line} of {place.path}."
        return LastWords(answer, [first.text, more.text])

    asked = "In {p}, rename {n} to {m} and put the comment `{c}` above it."
    return _asked(asked, n=place.name, m=new, p=place.path, c=note), steps()


def nothing_to_do(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    name = f"{draw.choice(ground.places).name}_{draw.choice(['legacy', 'old', 'debug', 'tmp'])}"

    def steps() -> Steps:
        [seen] = yield "I look for its uses.", [_grep(name)]
        _must(seen.failed, "name-exists", name)
        return LastWords(f"Nothing in the repository is called {name}, so there was nothing to remove.", [seen.text])

    return _asked("Remove {n} everywhere.", n=name), steps()


def ask_back(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(ground.places)

    def steps() -> Steps:
        want = draw.choice(["What should it be instead", "Before I touch it: what exactly should become of it"])
        return LastWords(f"{want}? You name `{place.name}`, but not what you want in its place.")
        yield "", []  # a generator without a call

    return _asked("Change {n}.", n=place.name), steps()


def taken_back(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    """A real commit, backwards: its diff is read, and every hunk is undone by hand."""
    _must(bool(ground.commit), "no-history")

    def steps() -> Steps:
        [stat] = yield "What the commit touched.", [_bash(f"git show --stat --format=%s {ground.commit}")]
        paths = re.findall(r"^ (\S+) +\| +\d", stat.text, re.MULTILINE)
        _must(1 <= len(paths) <= 4, "no-long-task", stat.text)
        shows = [_bash(f"git show --format= {ground.commit} -- {path}") for path in paths]
        diffs = yield "Its changes, file by file.", shows
        edits = [_edit(path, *hunk) for path, seen in zip(paths, diffs, strict=True) for hunk in _hunks(seen.text)]
        _must(5 <= 2 + len(paths) + len(edits) <= 12, "no-long-task", f"{len(edits)} hunks")
        for number, edit in enumerate(edits, 1):
            [done] = yield f"I undo {number} of {len(edits)}.", [edit]
            _must(not done.failed, "edit-fails", done.text)
        check = f"git diff --quiet {ground.commit}^ && echo nothing differs"
        [left] = yield "Whether anything still differs from before the commit.", [_bash(check)]
        _must(not left.failed, "check-fails", left.text)
        answer = f"{ground.commit} is undone in {', '.join(paths)}; nothing differs from the commit before it."
        return LastWords(answer, [stat.text, *(seen.text for seen in diffs), left.text])

    return _asked("Undo commit {c} by hand, without git revert.", c=ground.commit), steps()


def _hunks(diff: str) -> Sequence[tuple[str, str]]:
    """(text after, text before) of every hunk of a file's diff. Raises ItemError for a file that is new or gone."""
    _must("/dev/null" not in diff and "\\ No newline" not in diff, "no-long-task", "not undone by edits")
    found = []
    for hunk in re.split(r"(?m)^@@ .*\n", diff)[1:]:
        lines = hunk.splitlines(keepends=True)
        now, before = ("".join(line[1:] for line in lines if line[0] in signs) for signs in (" +", " -"))
        found.append((now.rstrip("\n"), before.rstrip("\n")))
    return found


PLANS: dict[str, tuple[int, Plan]] = {
    "locate": (9, locate),
    "locate by its code": (9, whose_line),
    "explain with citation": (9, explain),
    "inventory": (8, count),
    "parallel reads": (9, parallel),
    "multi-file read": (8, several_files),
    "edit and check": (8, rename),
    "edit and compile": (7, partial(_everywhere, by_tests=False)),
    "edit and test": (6, partial(_everywhere, by_tests=True)),
    "long task": (6, taken_back),
    "nothing to do": (3, nothing_to_do),
    "ask back": (8, ask_back),
    "failed path": (4, wrong_path),
    "missing command": (4, missing_command),
    "wrong flag": (3, wrong_flag),
    "ambiguous edit": (4, ambiguous),
    "stale read": (3, stale_read),
}
"""Share of the tries: about a fifth of what is kept holds a failed call, and 7 % none at all."""
