"""What an agent is asked and how it gets there: plans that meet the repository as it is, one call after the other.

A plan is a generator: it yields the calls of one reply, is sent what they gave, and returns the answer. It knows where
a definition stands, and must find out all the same: what its answer needs is checked against what was observed. What is
asked and thought is plain here; a model words it afterwards. Plans whose calls are known beforehand are data
(`plans.toml`); those whose calls depend on what is found are functions here.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, TypeAlias

from duel.errors import ItemError
from duel.execution.executor import State
from duel.scaling import table
from duel.scaling.agent_tools import PlannedCall


@dataclass(frozen=True)
class Seen:
    text: str
    failed: bool

    @property
    def count(self) -> int:
        return len(self.text.splitlines())

    @property
    def listed(self) -> str:
        return ", ".join(" ".join(line.split()) for line in self.text.splitlines())

    @property
    def line(self) -> str:
        return self.text.partition("\t")[2].partition("\n")[0]

    @property
    def second(self) -> str:
        """The second line as it was shown. Raises ItemError where it has no word to cite."""
        shown = [*self.text.splitlines(), "", ""][1]
        _must(bool(re.search(r"\w", shown.partition("\t")[2])), "nothing-to-cite", "the definition has no second line")
        return shown

    @property
    def cited(self) -> str:
        return self.second.partition("\t")[2].strip()


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
    answer: str
    needs: list[str] = field(default_factory=list)


Steps: TypeAlias = Generator[tuple[str, list[PlannedCall]], list[Seen], LastWords]
Request: TypeAlias = tuple[str, list[str]]  # what is asked, and the names in it
Plan: TypeAlias = Callable[[Ground, random.Random], tuple[Request, Steps]]


def _must(holds: bool, reason: str, what: str = "") -> None:
    if not holds:
        raise ItemError(reason, what)


# The first argument of each tool.
_FIRST = {"read": "path", "grep": "pattern", "glob": "pattern", "edit": "path", "bash": "command"}


def _call(told: Mapping[str, Any], names: Mapping[str, Any] | None = None) -> PlannedCall:
    made = {key: value.format_map(names) if names and isinstance(value, str) else value for key, value in told.items()}
    tool = next(iter(made))
    numbers = {key: int(made[key]) for key in ("offset", "limit") if key in made}
    return PlannedCall(tool, {_FIRST[tool]: made.pop(tool)} | made | numbers)


def _facts(place: Place) -> SimpleNamespace:
    return SimpleNamespace(
        **vars(place),
        base=place.path.rpartition("/")[2],
        next=place.line + 1,
        above=max(1, place.line - 2),
        head=place.text.strip(),
        opening=place.text.split()[0],
        indent=place.text[: len(place.text) - len(place.text.lstrip())],
        mark="#" if place.path.endswith((".py", ".sh")) else "//",
        code=place.below.strip(),
        pattern=re.sub(r"([][().*+?{}|^$\\])", r"\\\1", place.below.strip()),
        swapped=place.name.swapcase(),
    )


def _place(ground: Ground, draw: random.Random, of: str = "") -> Place:
    """A definition: any, one with `a line of code` below its head, or one with `a name in no other`."""
    names = [place.name for place in ground.places]
    fitting = [
        place
        for place in ground.places
        if of != "a line of code" or (len(place.below.strip()) > 12 and "`" not in place.below)
        if of != "a name in no other" or sum(place.name in name for name in names) == 1
    ]
    _must(bool(fitting), "no-definitions", of)
    return draw.choice(fitting)


def _drawn(of: str, lists: Mapping[str, Sequence[str]], ground: Ground, draw: random.Random) -> dict[str, Any]:
    first = _place(ground, draw, of)
    names: dict[str, Any] = {"a": _facts(first)}
    names["b"] = _facts(draw.choice([place for place in ground.places if place != first]))
    for name, ways in lists.items():
        names[name] = draw.choice(ways).format_map(names)
    return names


def _told(text: Mapping[str, Any], ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    names = _drawn(text.get("of", ""), table("plans")["draw"] | text.get("draw", {}), ground, draw)

    def steps() -> Steps:
        results = 0
        for step in text["steps"]:
            seen = yield step["say"], [_call(told, names) for told in step["calls"]]
            for one in seen:
                names[f"r{(results := results + 1)}"] = one
            _must(seen[-1].failed or "fails" not in step, step.get("fails", ""), seen[-1].text)
            _must(not seen[-1].failed or "works" not in step, step.get("works", ""), seen[-1].text)
            _must(seen[-1].count == 1 or "one" not in step, step.get("one", ""), seen[-1].text)
        return LastWords(text["answer"].format_map(names), [need.format_map(names) for need in text["needs"]])

    return (text["asked"].format_map(names), [name.format_map(names) for name in text["names"]]), steps()


def several_files(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    place = _place(ground, draw)

    def steps() -> Steps:
        [seen] = yield "I look for the definition and its uses.", [_call({"grep": rf"\b{place.name}\b"})]
        uses = [line for line in seen.text.splitlines() if not line.startswith(f"{place.path}:")]
        _must(bool(uses), "no-use-elsewhere", place.name)
        path, number, _ = draw.choice(uses).removeprefix("./").split(":", 2)
        [here] = yield "The definition first.", [_call({"read": place.path, "offset": place.line, "limit": 3})]
        use = {"read": path, "offset": int(number), "limit": 1}
        [there] = yield f"It is used in {path}; that file next.", [_call(use)]
        begins = f"`{place.name}` begins with `{here.cited}` ({place.path}:{place.line + 1})"
        answer = f"{begins}; {path}:{number} has `{there.line.strip()}`."
        return LastWords(answer, [f"{path}:{number}:", here.second, f"{int(number):6}\t"])

    return (f"Show how {place.name} begins and one place that uses it in another file.", [place.name]), steps()


def _everywhere(ground: Ground, draw: random.Random, by_tests: bool) -> tuple[Request, Steps]:
    names = _drawn("a name in no other", table("plans")["draw"], ground, draw)
    place, new = names["a"], names["new"]
    compiler = table("ground")["compilers"].get(place.path.rpartition(".")[2], "")
    check = ground.test if by_tests else compiler.format(place.path)
    _must(bool(check), "no-tests" if by_tests else "no-compiler", place.path)

    def steps() -> Steps:
        [seen] = yield "I look for every use.", [_call({"grep": rf"\b{place.name}\b"})]
        paths = sorted({line.partition(":")[0].removeprefix("./") for line in seen.text.splitlines()})
        _must(len(paths) <= 5, "too-many-files", place.name)
        for path in paths:
            change = {"edit": path, "old": place.name, "new": new, "all": True}
            [done] = yield f"I change {path}.", [_call(change)]
            _must(not done.failed, "edit-fails", path)
        [said] = yield "Now I check that it holds.", [_call({"bash": check})]
        _must(not said.failed, "check-fails", said.text)
        last = said.text.splitlines()[-1]
        answer = f"{place.name} is {new} now in {', '.join(paths)}. The check says: {last}"
        return LastWords(answer, [seen.text, said.text])

    wish = "the tests must still pass" if by_tests else f"check that {place.path} still compiles"
    asked = f"Rename {place.name} to {new} everywhere; {wish}."
    return (asked, [place.name, new, *([] if by_tests else [place.path])]), steps()


def taken_back(ground: Ground, draw: random.Random) -> tuple[Request, Steps]:
    """A real commit, backwards: its diff is read, and every hunk is undone by hand."""
    _must(bool(ground.commit), "no-history")

    def steps() -> Steps:
        stated = {"bash": f"git show --stat --format=%s {ground.commit}"}
        [stat] = yield "What the commit touched.", [_call(stated)]
        paths = re.findall(r"^ (\S+) +\| +\d", stat.text, re.MULTILINE)
        _must(1 <= len(paths) <= 4, "no-long-task", stat.text)
        shows = [_call({"bash": f"git show --format= {ground.commit} -- {path}"}) for path in paths]
        diffs = yield "Its changes, file by file.", shows
        edits = [
            _call({"edit": path, "old": now, "new": before})
            for path, seen in zip(paths, diffs, strict=True)
            for now, before in _hunks(seen.text)
        ]
        _must(5 <= 2 + len(paths) + len(edits) <= 12, "no-long-task", f"{len(edits)} hunks")
        for number, edit in enumerate(edits, 1):
            [done] = yield f"I undo {number} of {len(edits)}.", [edit]
            _must(not done.failed, "edit-fails", done.text)
        check = {"bash": f"git diff --quiet {ground.commit}^ && echo nothing differs"}
        [left] = yield "Whether anything still differs from before the commit.", [_call(check)]
        _must(not left.failed, "check-fails", left.text)
        answer = f"{ground.commit} is undone in {', '.join(paths)}; nothing differs from the commit before it."
        return LastWords(answer, [stat.text, *(seen.text for seen in diffs), left.text])

    return (f"Undo commit {ground.commit} by hand, without git revert.", [ground.commit]), steps()


def _hunks(diff: str) -> Sequence[tuple[str, str]]:
    """(text after, text before) of every hunk of a file's diff. Raises ItemError for a file that is new or gone."""
    _must("/dev/null" not in diff and "\\ No newline" not in diff, "no-long-task", "not undone by edits")
    found = []
    for hunk in re.split(r"(?m)^@@ .*\n", diff)[1:]:
        lines = hunk.splitlines(keepends=True)
        now, before = ("".join(line[1:] for line in lines if line[0] in signs) for signs in (" +", " -"))
        found.append((now.rstrip("\n"), before.rstrip("\n")))
    return found


@cache
def plans() -> dict[str, tuple[int, Plan]]:
    return {
        **{kind: (text["share"], partial(_told, text)) for kind, text in table("plans").items() if kind != "draw"},
        "multi-file read": (7, several_files),
        "edit and compile": (6, partial(_everywhere, by_tests=False)),
        "edit and test": (6, partial(_everywhere, by_tests=True)),
        "long task": (6, taken_back),
    }


async def survey(state: State) -> Ground:
    """What there is in a checkout: definitions whose name occurs once, in files that are no tests; tests run twice."""
    found = await state.run("git rev-parse --short=10 HEAD && git rev-parse -q --verify HEAD^")
    commit = found.stdout.text.split()[0] if found.exit == 0 else ""
    defined = table("ground")["defined"]
    includes = " ".join(f"--include=*.{suffix}" for known in defined for suffix in known["suffixes"].split())
    found = await state.run(f"grep -rnE {includes} '[A-Za-z_]{{4}}' . | sort -t: -k1,1 -k2,2n")
    lines = [line.removeprefix("./").split(":", 2) for line in found.stdout.text.splitlines()]
    texts = {(path, int(number)): text for path, number, text in lines}
    places = []
    for (path, number), text in texts.items():
        for known in defined:
            fits = "test" not in path.lower() and path.rpartition(".")[2] in known["suffixes"].split()
            if fits and (name := re.match(known["head"], text)):
                places.append(Place(name[1], path, number, text, texts.get((path, number + 1), "")))
    names = Counter(place.name for place in places)
    places = [place for place in places if names[place.name] == 1]
    for known in table("ground")["tests"]:
        if (await state.run(known["there"])).exit == 0:
            first, second = [await state.run(known["run"], merged=True) for _ in range(2)]
            if first.exit == second.exit == 0 and first.stdout == second.stdout and first.stdout.text.strip():
                return Ground(places, commit, known["run"])
    return Ground(places, commit)
