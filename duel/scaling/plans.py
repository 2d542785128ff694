"""What an agent is asked and how it gets there: plans that meet the repository as it is, one call after the other.

A plan is a generator: it yields the calls of one reply, is sent what they gave, and returns the answer. It knows where
a definition stands, and must find out all the same: what its answer needs is checked against what was observed.
"""

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from duel.errors import ItemError


@dataclass(frozen=True)
class PlannedCall:
    """One call of one of our tools."""

    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """What a call gave."""

    text: str
    failed: bool


@dataclass(frozen=True)
class Place:
    """A definition whose name occurs once in the repository."""

    name: str
    path: str
    line: int
    text: str


@dataclass
class LastWords:
    """A plan's answer, and what must have been observed for it to be true."""

    answer: str
    needs: list[str] = field(default_factory=list)


Steps: TypeAlias = Generator[tuple[str, list[PlannedCall]], list[Seen], LastWords]
Request: TypeAlias = tuple[str, list[str]]
"""What is asked, and the names in it."""
Plan: TypeAlias = Callable[[list[Place], random.Random], tuple[Request, Steps]]


def _grep(name: str, **more: Any) -> PlannedCall:
    return PlannedCall("grep", {"pattern": rf"\b{name}\b", **more})


def _read(path: str, first: int, count: int) -> PlannedCall:
    return PlannedCall("read", {"path": path, "offset": max(1, first), "limit": count})


def _at(place: Place) -> str:
    return f"{place.path}:{place.line}:"


def locate(places: list[Place], draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(places)
    asks = "Where is {n} defined?|find {n} for me pls|Which file declares `{n}`, and on what line?|Locate {n}."
    asks += "|I can't find the definition of {n}.|On which line does {n} start?|{n}: where does it live?"

    def steps() -> Steps:
        yield draw.choice(["I search for it.", "Searching for the name.", "Let me look."]), [_grep(place.name)]
        return LastWords(f"`{place.name}` is defined in {place.path}, line {place.line}.", [_at(place)])

    return _asked(asks, draw, n=place.name), steps()


def explain(places: list[Place], draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(places)
    asks = "What does {n} do first?|Quote the line after the head of {n}.|How does `{n}` begin? Cite the code.|Show me"
    asks += " how {n} starts, with file and line."

    def steps() -> Steps:
        yield "First I find where it stands.", [_grep(place.name)]
        [seen] = yield "Now the code itself.", [_read(place.path, place.line, draw.randrange(4, 12))]
        lines = seen.text.splitlines()
        if len(lines) < 2 or not (cited := lines[1].partition("\t")[2].strip()):
            raise ItemError("nothing-to-cite", "the definition has no second line")
        answer = f"{place.path}, line {place.line + 1}, right below the head of `{place.name}`: `{cited}`"
        return LastWords(answer, [_at(place), lines[1]])

    return _asked(asks, draw, n=place.name), steps()


def count(places: list[Place], draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(places)
    asks = "How many files mention {n}?|In how many files does `{n}` appear?|count the files that use {n}"

    def steps() -> Steps:
        command = f"grep -rlw --exclude-dir=.git {place.name} . | sort"
        [seen] = yield "I list the files that hold the word.", [PlannedCall("bash", {"command": command})]
        files = seen.text.split()
        return LastWords(f"{len(files)}: {', '.join(files)}.", files)

    return _asked(asks, draw, n=place.name), steps()


def compare(places: list[Place], draw: random.Random) -> tuple[Request, Steps]:
    first, second = draw.sample(places, 2)
    asks = "Are {a} and {b} in the same file?|{a} and {b}: same file or not?|Tell me where {a} and {b} are."

    def steps() -> Steps:
        yield "Two searches that do not depend on each other.", [_grep(first.name), _grep(second.name)]
        where = f"`{first.name}` is in {first.path}, `{second.name}` in {second.path}"
        same = "the same file" if first.path == second.path else "two files"
        return LastWords(f"{where}: {same}.", [_at(first), _at(second)])

    return _asked(asks, draw, a=first.name, b=second.name), steps()


def wrong_path(places: list[Place], draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(places)
    base = place.path.rpartition("/")[2]
    wrong = draw.choice([f"lib/{base}", f"core/{base}", f"old/{place.path}"])
    asks = "Open {w} and tell me the line of {n}.|In {w}, where does {n} start?|look at {w}: line of {n}?"

    def steps() -> Steps:
        [seen] = yield "I open it.", [_read(wrong, 1, 40)]
        if not seen.failed:
            raise ItemError("path-exists", wrong)
        yield "There is no such file; I look for its name.", [PlannedCall("glob", {"pattern": base})]
        [seen] = yield "That is the one.", [PlannedCall("grep", {"pattern": place.name, "path": place.path})]
        answer = f"{wrong} does not exist. `{place.name}` is in {place.path}, line {place.line}."
        return LastWords(answer, [f"./{place.path}", f"{place.line}:"])

    return _asked(asks, draw, n=place.name, w=wrong), steps()


def missing_command(places: list[Place], draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(places)
    tool = draw.choice(["rg -n", "ag", "ack"])
    asks = "Use `{t}` to find {n}.|Run {t} for {n} and tell me the file.|{t} {n}, please: where is it?"

    def steps() -> Steps:
        [seen] = yield "As you say.", [PlannedCall("bash", {"command": f"{tool} {place.name}"})]
        if not seen.failed:
            raise ItemError("command-exists", tool)
        yield "It is not installed here; grep does the same.", [_grep(place.name)]
        return LastWords(
            f"{tool.split()[0]} is not installed; with grep: {place.path}, line {place.line}.", [_at(place)]
        )

    return _asked(asks, draw, n=place.name, t=tool.split()[0]), steps()


def wrong_flag(places: list[Place], draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(places)
    asks = "List the files with {n} in them, names only.|Only the names of the files that hold {n}.|files with {n}?"

    def steps() -> Steps:
        command = f"grep -r --files-only --exclude-dir=.git {place.name} ."
        [seen] = yield "Names only.", [PlannedCall("bash", {"command": command})]
        if not seen.failed:
            raise ItemError("flag-exists", command)
        help_ = PlannedCall("bash", {"command": "grep --help | grep -i files-with"})
        yield "That is no option; the help knows its name.", [help_]
        right = command.replace("--files-only", "--files-with-matches") + " | sort"
        [seen] = yield "With the right one.", [PlannedCall("bash", {"command": right})]
        return LastWords(f"{', '.join(seen.text.split())}.", ["--files-with-matches", *seen.text.split()])

    return _asked(asks, draw, n=place.name), steps()


def rename(places: list[Place], draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(places)
    new = draw.choice(["{}_v2", "new_{}", "{}_inner"]).format(place.name)
    asks = "In {p}, {n} should be called {m}; change it there only.|Rename {n} to {m} in {p}.|{p}: {n} -> {m} please"

    def steps() -> Steps:
        [before] = yield "First its lines in that file.", [_grep(place.name, path=place.path)]
        edit = {"path": place.path, "old": place.name, "new": new, "all": True}
        yield "I change all of them.", [PlannedCall("edit", edit)]
        [seen] = yield "And check.", [_grep(new, path=place.path)]
        old, now = (len(text.splitlines()) for text in (before.text, seen.text))
        return LastWords(
            f"Done: {old} lines of {place.path} held {place.name}, {now} hold {new} now.", [before.text, seen.text]
        )

    return _asked(asks, draw, n=place.name, m=new, p=place.path), steps()


def ambiguous(places: list[Place], draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(places)
    note = f"# {draw.choice(['see', 'used by', 'tested with'])} {draw.choice(places).name}"
    asks = "Add the comment `{c}` above {n} in {p}.|In {p}, put `{c}` on the line before {n}.|{p}: `{c}` above {n}"

    def steps() -> Steps:
        short = place.text.split()[0] + " "
        [seen] = yield (
            "I put it there.",
            [PlannedCall("edit", {"path": place.path, "old": short, "new": f"{note}\n{short}"})],
        )
        if not seen.failed:
            raise ItemError("not-ambiguous", "the text stands there once")
        [more] = yield "That text stands in several places; I read more of it.", [_read(place.path, place.line, 2)]
        old, indent = place.text, place.text[: len(place.text) - len(place.text.lstrip())]
        wide = PlannedCall("edit", {"path": place.path, "old": old, "new": f"{indent}{note}\n{old}"})
        yield "With the whole line it is clear.", [wide]
        [seen] = yield "How it looks now.", [_read(place.path, place.line, 2)]
        needs = [more.text, seen.text]
        return LastWords(f"The comment stands above `{place.name}` in {place.path}, line {place.line}.", needs)

    return _asked(asks, draw, n=place.name, c=note, p=place.path), steps()


def nothing_to_do(places: list[Place], draw: random.Random) -> tuple[Request, Steps]:
    name = f"{draw.choice(places).name}_{draw.choice(['legacy', 'old', 'debug', 'tmp'])}"
    asks = "Remove {n} everywhere.|Delete all uses of `{n}`.|Get rid of {n}, it is no longer needed."

    def steps() -> Steps:
        [seen] = yield "I look for its uses.", [_grep(name)]
        if not seen.failed:
            raise ItemError("name-exists", name)
        return LastWords(f"Nothing in the repository is called {name}, so there was nothing to remove.", [seen.text])

    return _asked(asks, draw, n=name), steps()


def ask_back(places: list[Place], draw: random.Random) -> tuple[Request, Steps]:
    place = draw.choice(places)
    asks = "Rename {n}.|Give {n} a better name.|Please move {n} to another file.|{n} should return something else"

    def steps() -> Steps:
        want = draw.choice(["What should it be instead", "Before I touch it: what exactly should become of it"])
        return LastWords(f"{want}? You name `{place.name}`, but not what you want in its place.")
        yield "", []  # a generator without a call

    return _asked(asks, draw, n=place.name), steps()


def _asked(asks: str, draw: random.Random, **names: str) -> Request:
    return draw.choice(asks.split("|")).format(**names), [*names.values()]


PLANS: dict[str, tuple[int, Plan]] = {
    "locate": (14, locate),
    "explain with citation": (14, explain),
    "inventory": (12, count),
    "parallel searches": (12, compare),
    "edit and check": (14, rename),
    "nothing to do": (5, nothing_to_do),
    "ask back": (7, ask_back),
    "failed path": (6, wrong_path),
    "missing command": (5, missing_command),
    "wrong flag": (5, wrong_flag),
    "ambiguous edit": (6, ambiguous),
}
"""Share of the tries in percent: about a fifth of what is kept holds a failed call, and 7 % none at all."""
