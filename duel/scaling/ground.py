"""What plans may build on in one checkout: its definitions, the commit that it stands at, a command that tests it."""

import re
from collections import Counter

from duel.execution.executor import State
from duel.scaling import table
from duel.scaling.plans import Ground, Place


async def survey(state: State) -> Ground:
    """What there is in a checkout; its tests are run twice in it."""
    found = await state.run("git rev-parse --short=10 HEAD && git rev-parse -q --verify HEAD^")
    commit = found.stdout.text.split()[0] if found.exit == 0 else ""
    return Ground(await places_in(state), commit, await _tests(state))


async def places_in(state: State) -> list[Place]:
    """The definitions whose name occurs once, in files that are no tests."""
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
    return [place for place in places if names[place.name] == 1]


async def _tests(state: State) -> str:
    for known in table("ground")["tests"]:
        if (await state.run(known["there"])).exit:
            continue
        first, second = [await state.run(known["run"], merged=True) for _ in range(2)]
        if first.exit == second.exit == 0 and first.stdout == second.stdout and first.stdout.text.strip():
            return str(known["run"])
    return ""
