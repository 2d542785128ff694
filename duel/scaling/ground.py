"""What plans may build on in one checkout: its definitions, the commit that it stands at, a command that tests it."""

import re
from collections import Counter

from duel.execution.executor import State
from duel.scaling.plans import Ground, Place

# What opens a definition, by the files that it stands in. What looks so in C and ends on `;` is a declaration.
_KEYWORDS = (
    r"^\s*(?:export )?(?:async )?(?:pub )?(?:def|class|func|fn|function|interface|struct|trait) +([A-Za-z_]\w{3,})"
)
_DEFINED = {
    "py js ts go rs java": re.compile(_KEYWORDS),
    "js ts": re.compile(r"^(?:export )?const ([A-Za-z_]\w{3,}) = (?:async )?\("),
    "java": re.compile(r"^\s+(?:public|private|protected|static)\b[^=;(]* ([a-z]\w{3,})\([^;]*$"),
    "sh": re.compile(r"^([a-z_]\w{3,})\(\)"),
    "c h": re.compile(r"^[a-z][\w *]* \**([a-z_]\w{3,})\([^;]*$"),
}
# Where such files are, this runs their tests and prints the same each time.
_TESTS = (
    ("grep -q '^test:' Makefile", "make -s test"),
    ("test -f test/run.sh", "sh test/run.sh"),
    ("ls test/*.test.js", "set -o pipefail; node --test 2>&1 | grep -E '^# (pass|fail)'"),
    (
        "grep -rlq unittest tests",
        "set -o pipefail; python3 -B -m unittest discover -s tests 2>&1 | grep -oE '^Ran [0-9]+ tests?|^OK|^FAILED.*'",
    ),
)


async def survey(state: State) -> Ground:
    """What there is in a checkout; its tests are run twice in it."""
    found = await state.run("git rev-parse --short=10 HEAD && git rev-parse -q --verify HEAD^")
    commit = found.stdout.text.split()[0] if found.exit == 0 else ""
    return Ground(await places_in(state), commit, await _tests(state))


async def places_in(state: State) -> list[Place]:
    """The definitions whose name occurs once, in files that are no tests."""
    suffixes = sorted({suffix for known in _DEFINED for suffix in known.split()})
    includes = " ".join(f"--include=*.{suffix}" for suffix in suffixes)
    found = await state.run(f"grep -rnE {includes} '[A-Za-z_]{{4}}' . | sort -t: -k1,1 -k2,2n")
    lines = [line.removeprefix("./").split(":", 2) for line in found.stdout.text.splitlines()]
    texts = {(path, int(number)): text for path, number, text in lines}
    places = []
    for (path, number), text in texts.items():
        for known, pattern in _DEFINED.items():
            fits = "test" not in path.lower() and path.rpartition(".")[2] in known.split()
            if fits and (name := pattern.match(text)):
                places.append(Place(name[1], path, number, text, texts.get((path, number + 1), "")))
    names = Counter(place.name for place in places)
    return [place for place in places if names[place.name] == 1]


async def _tests(state: State) -> str:
    for there, command in _TESTS:
        if (await state.run(there)).exit:
            continue
        first, second = [await state.run(command, merged=True) for _ in range(2)]
        if first.exit == second.exit == 0 and first.stdout == second.stdout and first.stdout.text.strip():
            return command
    return ""
