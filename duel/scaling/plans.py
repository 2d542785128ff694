"""What an agent is asked and how it gets there: plans that meet the repository as it is, one call after the other.

A plan is a generator: it yields what is asked, then the calls of one reply after the other, is sent what they gave, and
returns the answer. It knows where a definition stands, and must find out all the same: what its answer needs is checked
against what was observed. What is asked and thought is plain here; a model words it afterwards. Plans whose calls are
known beforehand are data (`plans.toml`); those whose calls depend on what is found are functions here.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

from duel.conversation.model import AgentCall
from duel.errors import require
from duel.execution.executor import State
from duel.scaling import table


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
        require(re.search(r"\w", shown.partition("\t")[2]), "nothing-to-cite", "the definition has no second line")
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


class Ground(NamedTuple):
    """What plans may build on: the definitions, the commit that lies before them, and how the tests are run."""

    places: list[Place]
    commit: str = ""
    test: str = ""


LastWords: TypeAlias = tuple[str, list[str]]  # the answer, and what must have been observed for it
Move: TypeAlias = tuple[str, list[Any]]  # first a request and the names in it, then a thought and its calls
Steps: TypeAlias = Generator[Move, list[Seen], LastWords]
TaskPlan: TypeAlias = Callable[[Ground, random.Random], Steps]


# The first argument of each tool.
_FIRST = {"read": "path", "grep": "pattern", "glob": "pattern", "edit": "path", "bash": "command"}
# A line that `grep` found; it also says "Binary file x matches".
_LINE = re.compile(r"(?m)^(?:\./)?([^:\n]+):(\d+):(.*?)\r?$")
# Which definitions a plan may be about.
_FITS: dict[str, Callable[[Place, list[str]], bool]] = {
    "": lambda place, names: True,
    "a line of code": lambda place, names: len(place.below.strip()) > 12 and "`" not in place.below,
    "a name in no other": lambda place, names: sum(place.name in name for name in names) == 1,
}


def _call(told: Mapping[str, Any], names: Mapping[str, Any] | None = None) -> AgentCall:
    made = {key: value.format_map(names) if names and isinstance(value, str) else value for key, value in told.items()}
    tool = next(iter(made))
    numbers = {key: int(made[key]) for key in ("offset", "limit") if key in made}
    return AgentCall("", tool, {_FIRST[tool]: made.pop(tool)} | made | numbers)


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


def _drawn(of: str, more: Mapping[str, Sequence[str]], ground: Ground, draw: random.Random) -> dict[str, Any]:
    """What a plan's texts name: `a`, a definition that fits, `b`, another one, and one way of each list."""
    known = [place.name for place in ground.places]
    fitting = [place for place in ground.places if _FITS[of](place, known)]
    require(fitting, "no-definitions", of)
    first = draw.choice(fitting)
    names: dict[str, Any] = {"a": _facts(first)}
    names["b"] = _facts(draw.choice([place for place in ground.places if place != first]))
    for name, ways in (table("plans")["draw"] | more).items():
        names[name] = draw.choice(ways).format_map(names)
    return names


def _told(text: Mapping[str, Any], ground: Ground, draw: random.Random) -> Steps:
    names, results = _drawn(text.get("of", ""), text.get("draw", {}), ground, draw), 0
    yield text["asked"].format_map(names), [name.format_map(names) for name in text["names"]]
    for step in text["steps"]:
        seen = yield step["say"], [_call(told, names) for told in step["calls"]]
        for one in seen:
            names[f"r{(results := results + 1)}"] = one
        require(seen[-1].failed or "fails" not in step, step.get("fails", ""), seen[-1].text)
        require(not seen[-1].failed or "works" not in step, step.get("works", ""), seen[-1].text)
        require(seen[-1].count == 1 or "one" not in step, step.get("one", ""), seen[-1].text)
    return text["answer"].format_map(names), [need.format_map(names) for need in text["needs"]]


def several_files(ground: Ground, draw: random.Random) -> Steps:
    place = draw.choice(ground.places)
    yield f"Show how {place.name} begins and one place that uses it in another file.", [place.name]
    [seen] = yield "I look for the definition and its uses.", [_call({"grep": rf"\b{place.name}\b"})]
    uses = [(path, number) for path, number, _ in _LINE.findall(seen.text) if path != place.path]
    require(uses, "no-use-elsewhere", place.name)
    path, number = draw.choice(uses)
    [here] = yield "The definition first.", [_call({"read": place.path, "offset": place.line, "limit": 3})]
    use = {"read": path, "offset": int(number), "limit": 1}
    [there] = yield f"It is used in {path}; that file next.", [_call(use)]
    begins = f"`{place.name}` begins with `{here.cited}` ({place.path}:{place.line + 1})"
    answer = f"{begins}; {path}:{number} has `{there.line.strip()}`."
    return answer, [f"{path}:{number}:", here.second, f"{int(number):6}\t"]


def _everywhere(ground: Ground, draw: random.Random, by_tests: bool) -> Steps:
    names = _drawn("a name in no other", {}, ground, draw)
    place, new = names["a"], names["new"]
    compiler = table("ground")["compilers"].get(place.path.rpartition(".")[2], "")
    check = ground.test if by_tests else compiler.format(place.path)
    require(check, "no-tests" if by_tests else "no-compiler", place.path)
    wish = "the tests must still pass" if by_tests else f"check that {place.path} still compiles"
    asked = f"Rename {place.name} to {new} everywhere; {wish}."
    yield asked, [place.name, new, *([] if by_tests else [place.path])]
    [seen] = yield "I look for every use.", [_call({"grep": rf"\b{place.name}\b"})]
    paths = sorted({line.partition(":")[0].removeprefix("./") for line in seen.text.splitlines()})
    require(len(paths) <= 5, "too-many-files", place.name)
    for path in paths:
        change = {"edit": path, "old": place.name, "new": new, "all": True}
        [done] = yield f"I change {path}.", [_call(change)]
        require(not done.failed, "edit-fails", path)
    [said] = yield "Now I check that it holds.", [_call({"bash": check})]
    require(not said.failed, "check-fails", said.text)
    answer = f"{place.name} is {new} now in {', '.join(paths)}. The check says: {said.text.splitlines()[-1]}"
    return answer, [seen.text, said.text]


def taken_back(ground: Ground, draw: random.Random) -> Steps:
    """A real commit, backwards: its diff is read, and every hunk is undone by hand."""
    require(ground.commit, "no-history")
    yield f"Undo commit {ground.commit} by hand, without git revert.", [ground.commit]
    stated = {"bash": f"git show --stat --format=%s {ground.commit}"}
    [stat] = yield "What the commit touched.", [_call(stated)]
    paths = re.findall(r"^ (\S+) +\| +\d", stat.text, re.MULTILINE)
    require(1 <= len(paths) <= 4, "no-long-task", stat.text)
    shows = [_call({"bash": f"git show --format= {ground.commit} -- {path}"}) for path in paths]
    diffs = yield "Its changes, file by file.", shows
    edits = [
        _call({"edit": path, "old": now, "new": before})
        for path, seen in zip(paths, diffs, strict=True)
        for now, before in _hunks(seen.text)
    ]
    require(5 <= 2 + len(paths) + len(edits) <= 12, "no-long-task", f"{len(edits)} hunks")
    for number, edit in enumerate(edits, 1):
        [done] = yield f"I undo {number} of {len(edits)}.", [edit]
        require(not done.failed, "edit-fails", done.text)
    check = {"bash": f"git diff --quiet {ground.commit}^ && echo nothing differs"}
    [left] = yield "Whether anything still differs from before the commit.", [_call(check)]
    require(not left.failed, "check-fails", left.text)
    answer = f"{ground.commit} is undone in {', '.join(paths)}; nothing differs from the commit before it."
    return answer, [stat.text, *(seen.text for seen in diffs), left.text]


def _hunks(diff: str) -> Sequence[tuple[str, str]]:
    """(text after, text before) of every hunk of a file's diff. Raises ItemError for a file that is new or gone."""
    require("/dev/null" not in diff and "\\ No newline" not in diff, "no-long-task", "not undone by edits")
    found = []
    for hunk in re.split(r"(?m)^@@ .*\n", diff)[1:]:
        lines = hunk.splitlines(keepends=True)
        now, before = ("".join(line[1:] for line in lines if line[0] in signs) for signs in (" +", " -"))
        found.append((now.rstrip("\n"), before.rstrip("\n")))
    return found


@cache
def plans() -> dict[str, tuple[int, TaskPlan]]:
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
    texts = {(path, int(number)): text for path, number, text in _LINE.findall(found.stdout.text)}
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
