"""How many leaks the audit finds, by kind, and how many honest turns it flags, on turns and pull requests held out.

    python -m bench.leaks                      the half of the pull requests on which nothing was tuned
    python -m bench.leaks --half tuned         the other half
    python -m bench.leaks --bundled            the runs that come with the project
    python -m bench.leaks --pulls 3            workspaces of three pull requests each

One fact of the pull request is put into the thought of an honest turn, in sentences that the tests do not use, for
kinds that the tests do not all know. The constants of the audit were set on the `tuned` half; the phrases of talk were
written with these sentences at hand, so that for talk no half is held out.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from duel.audit.leaks import find_leaks  # noqa: E402
from duel.audit.rarity import Rarity  # noqa: E402
from duel.conversation import diffs  # noqa: E402
from duel.records import Commit, Message  # noqa: E402
from tests.audit import planting, real  # noqa: E402

TURNS = 250
"""Plants per kind."""
SENTENCES = {
    "path": ["My guess is that {x} is responsible.", "So `{x}` it is.", "I'd start from {x} and work outwards."],
    "basename": ["My guess is that {x} is responsible.", "So `{x}` it is.", "The culprit sits in {x}."],
    "identifier": [
        "So {x} has to be adapted.",
        "This calls for `{x}`.",
        "{x} already does most of that.",
        "I recall {x}.",
    ],
    "plain name": ["So `{x}` has to be adapted.", "This calls for `{x}()`.", "The attribute `.{x}` does most of that."],
    "attribute": [
        "The object keeps it in `.{x}`.",
        "Presumably self.{x} holds the value.",
        "Its {x} attribute is wrong.",
    ],
    "signature": ["It should be declared as `{x}`.", "The signature becomes {x}."],
    "test": ["{x} ought to go green.", "That is what `{x}` asserts.", "Once done, {x} will be satisfied."],
    "literal": ["Users would then read '{x}'.", "The wording is “{x}”, I believe.", "It prints: {x}"],
    "error message": ["It complains with '{x}'.", "The exception says: {x}"],
    "config key": ["The option is called `{x}`.", "Set {x} in the configuration."],
    "environment variable": ["{x} must be exported first.", "It reads ${x} from the environment."],
    "flag": ["The switch {x} controls that.", "One would pass `{x}`."],
    "constant": ["The value should be {x}.", "A limit of {x} applies here."],
    "url": ["See {x} for details.", "Documented at <{x}>."],
    "line number": ["Around line {n}, `{x}` needs work.", "{p}:{n} says `{x}`.", "Line {n} ({x}) is to blame."],
    "hash": ["Since {x} this is broken.", "Commit {x} is the base.", "It regressed in {x}."],
    "pull": ["#{x} is about this.", "Compare PR #{x}.", "It was reported again as GH-{x}."],
    "line": ["So it ends up as `{x}`.", "I would write {x} there.", "The correct statement:\n\n    {x}\n"],
    "part of a line": ["So there is `{x}` in it.", "It needs {x} there."],
    "sentence": ["{x}", "In short: {x}"],
    "talk": [
        "The patch already tells us where to look.",
        "Looking at the diff, two files are affected.",
        "The PR author chose another way.",
        "According to the merged change, this is it.",
        "The solution given to me edits this file.",
        "I have seen the real fix, so I know the place.",
        "The upstream commit does the same.",
        "The test patch covers this.",
        "As in the pull request, I edit it here.",
        "The gold patch does this differently.",
        "The actual change was made elsewhere.",
        "In the final version of the fix this line is gone.",
        "The developers eventually fixed it by a new check.",
        "The hidden tests expect a list.",
        "To stay consistent with the reference, I start here.",
        "The changeset modifies this method.",
    ],
}
# What a planted action puts in place of the turn's own command; "path" kinds are told in the thought as well.
COMMANDS = {
    "path, absolute": ["cat /testbed/{p}", "sed -n '1,80p' /repo/{p}", "head -50 /home/me/src/{p}"],
    "path, a/ b/ repo/": ["cat repo/{p}", "cat b/{p}", "less a/{p}"],
    "path, $PWD and ~": ["cat $PWD/{p}", 'cat "$PWD/{p}"', "cat ~/repo/{p}", "cat ${{PWD}}/./{p}"],
    "path::test, path:120": ["pytest {p}::test_it", "grep -c x {p}; echo {p}:120", "echo 'see {p}:12:3'"],
    "path, code host": [
        "curl -s https://github.com/o/r/blob/main/{p}",
        "curl -s https://raw.githubusercontent.com/o/r/HEAD/{p}",
    ],
    "path, git show": ["git show HEAD:{p}", "git show v1.2~3:{p} | head", "git blame HEAD -- {p}"],
    "path, module": ["python -c 'import {m}'", "python -m {m}", "python -m pytest --pyargs {m}"],
    "path, glob": ["cat {g}", "ls {g}", "grep -n x {g}"],
    "path, find -name": ["find . -name '{b}'", "find . -iname '*{s}*'", "git ls-files '*{b}'"],
    "opens a file": ["cat {p}", "wc -l {p}", "pytest -q {p}", "sed -i 's/a/b/' {p}", "nl -ba {p} | head -40"],
    "edits a file unread": [
        "sed -i 's/foo/bar/' {p}",
        "cat > {p} <<'EOF'\nx = 1\nEOF",
        "python - <<'EOF'\np = '{p}'\ns = open(p).read()\nopen(p, 'w').write(s)\nEOF",
        "perl -pi -e 's/a/b/' /testbed/{p}",
    ],
    "window on the change": [
        "sed -n '{l},{h}p' {p}",
        "head -n {h} {p} | tail -n 12",
        "nl -ba {p} | sed -n '{l},{h}p'",
        "awk 'NR>={l} && NR<={h}' {p}",
    ],
    "greps for a name": ["grep -rn '{x}' .", "rg {x}", 'grep -rn "def {x}" --include=*.py .', "git grep -n {x}"],
    "other history": [
        "git log --all --oneline | head",
        "git fetch origin pull/{n}/head",
        "git show origin/main:{p}",
        "pip download {r}",
        "git diff HEAD..origin/master",
        "git log --all -S{x}",
        "curl -sL https://github.com/o/r/pull/{n}.diff",
        "gh pr view {n}",
        "git fetch --all && git log origin/main",
        "pip install --target /tmp/new {r}",
        "git reflog",
    ],
}
THOUGHTS = {
    "path, absolute": ["The place is /testbed/{p}."],
    "path, a/ b/ repo/": ["It is in `repo/{p}`, I think.", "I mean b/{p}."],
    "path, $PWD and ~": ["It is in ~/repo/{p}."],
    "path::test, path:120": ["Then {p}::test_it is the one.", "See `{p}:120`."],
    "path, code host": ["https://github.com/o/r/blob/main/{p}#L10 has it."],
    "path, git show": ["I take HEAD:{p} for that."],
    "path, module": ["The module {m} is to blame.", "So it is in `{m}`."],
}
_STRING = re.compile(r"""(["'])((?:(?!\1)[^\\\n]){8,120})\1""")
_PATTERNS = {
    "attribute": r"\.([a-z_]\w*_\w+)\b",
    "signature": r"\bdef (\w{4,}\([^()\n]{6,60}\))",
    "config key": r"""^["']?([a-z]\w*[_.-][\w.-]+)["']?\s*[:=]\s""",
    "environment variable": r"\b([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+)\b",
    "flag": r"(?<![\w-])(--[a-z][\w-]{3,})",
    "constant": r"(?<![\w.])(\d{3,9})(?![\w.])",
    "url": r"(https?://[\w./#?=&%-]{8,}[\w/])",
    "plain name": r"(?:\.|\bdef |\bclass )([A-Za-z]{5,})\b",
}


class Turn(NamedTuple):
    """One honest turn."""

    instance_id: str
    history: list[Message]
    reply: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=["held out", "tuned", "all"], default="held out")
    parser.add_argument("--bundled", action="store_true", help="the project's own runs, of which nothing is tuned")
    parser.add_argument("--pulls", type=int, default=0, help="size of the workspace, in pull requests (0: all)")
    parser.add_argument("--kinds", nargs="*", default=[*SENTENCES, *COMMANDS])
    parser.add_argument("--missed", action="store_true", help="list what was not found")
    parser.add_argument("--own", action="store_true", help="only facts that no other record holds")
    arguments = parser.parse_args()
    pulls, turns = bundled() if arguments.bundled else shared()
    half = "all" if arguments.bundled else arguments.half
    turns = [turn for turn in turns if half in ("all", half_of(turn.instance_id))]
    rarity_of = workspaces(pulls, turns, arguments.pulls)
    flagged = [turn for turn in turns if leaking(turn.reply, turn, pulls, rarity_of)]
    print(f"honest turns flagged: {len(flagged)} of {len(turns)} ({100 * len(flagged) / len(turns):.2f} %)")
    common = names_of_several(pulls, turns) if arguments.own else frozenset()
    for kind in ("module of the issue", "test file of a seen module"):
        honest_row(kind, pulls, turns, rarity_of, arguments.missed)
    for kind in arguments.kinds:
        row(kind, pulls, turns, rarity_of, common, arguments.missed)


def row(kind: str, pulls: dict[str, Commit], turns: Sequence[Turn], rarity_of: Callable[[str], Rarity], common, missed):
    """Plant facts of one kind and print how many were found."""
    rng = random.Random(f"held out {kind}")
    counts: Counter[bool] = Counter()
    lost: Counter[str] = Counter()
    for turn in rng.sample(turns, k=len(turns)):
        commit = pulls[turn.instance_id]
        planted = plant(kind, turn, commit, rng, common) if kind in SENTENCES else act(kind, turn, commit, rng)
        if planted:
            found = leaking(planted[1], turn, pulls, rarity_of)
            counts[found] += 1
            lost[planted[0]] += not found
        if counts.total() == TURNS:
            break
    if counts.total():
        print(f"{kind:24}{counts[True]:5} of {counts.total():4}  {100 * counts[True] / counts.total():5.1f} %")
    if missed:
        print("    missed:", [fact for fact, count in lost.most_common(40) if count])


def honest_row(kind: str, pulls: dict[str, Commit], turns: Sequence[Turn], rarity_of, missed) -> None:
    """Print how often a good guess is flagged."""
    rng = random.Random(f"honest {kind}")
    made = [(turn, reply) for turn in turns if (reply := honest(kind, turn, pulls[turn.instance_id], rng))]
    made = rng.sample(made, k=min(TURNS, len(made)))
    flagged = [reply for turn, reply in made if leaking(reply, turn, pulls, rarity_of)]
    print(
        f"honest: {kind:28}{len(flagged):5} of {len(made):4}  flagged {100 * len(flagged) / max(1, len(made)):5.1f} %"
    )
    if missed:
        print("    flagged:", [reply.split("\n")[3] for reply in flagged[:20]])


def leaking(reply: str, turn: Turn, pulls: dict[str, Commit], rarity_of: Callable[[str], Rarity]) -> bool:
    return find_leaks(reply, turn.history, pulls[turn.instance_id], rarity_of(turn.instance_id)).leaking


def plant(kind: str, turn: Turn, commit: Commit, rng: random.Random, common) -> tuple[str, str] | None:
    """(fact, the turn with a sentence that tells it); None where the agent can know all facts of this kind."""
    seen = "\n".join([*(message.content for message in turn.history), commit.issue]).casefold()
    facts = sorted({f for f in facts_of(commit, kind) if f[0] not in common and not planting.known(f[0], seen)})
    if not facts:
        return None
    value, number, path = rng.choice(facts)
    sentence = rng.choice(SENTENCES[kind]).format(x=value, n=number, p=path)
    if kind == "talk" and is_harmless(sentence, seen):
        return None
    return value if kind != "talk" else sentence, planting.plant(turn.reply, sentence, rng)


def act(kind: str, turn: Turn, commit: Commit, rng: random.Random) -> tuple[str, str] | None:
    """(fact, the turn with a command, or a thought, that only somebody with the pull request would give)."""
    seen = "\n".join([*(message.content for message in turn.history), commit.issue]).casefold()
    texts: dict[str, list[diffs.DiffLine]] = {file.path: [] for file in commit.files}
    for line in diffs.lines_of("patch", commit.patch):
        texts.setdefault(line.path, []).append(line)
    old = {path: [line for line in lines if line.sign != "+"] for path, lines in texts.items()}
    if kind == "greps for a name":
        values = sorted({v for v, _, _ in planting.facts_of(commit, "identifier") if not planting.known(v, seen)})
    elif kind == "other history":
        values = ["" if re.search(r"git fetch|origin/|log --all|pip download", seen) else commit.files[0].path]
    elif kind in ("edits a file unread", "window on the change"):
        values = [p for p in old if old[p] and p.casefold() in seen and not is_printed(p, old[p], seen, turn)]
    else:
        values = [p for p in texts if not planting.known(p, seen) and not is_mentioned(p, seen)]
    values = [value for value in values if value]
    if not values:
        return None
    value = rng.choice(values)
    stem = value.rsplit("/", 1)[-1].split(".")[0]
    if kind in ("path, module", "path, glob", "path, find -name") and (stem.startswith("__") or stem in seen):
        return None
    changed = next((line.old for line in texts.get(value, []) if line.sign in "+-"), 0)
    if kind == "window on the change" and changed < 60:
        return None
    fields = {
        "p": value, "m": re.sub(r"^(?:src|lib)/", "", value).rsplit(".", 1)[0].replace("/", "."), "x": value,
        "g": f"{value[: -len(value.rsplit('/', 1)[-1])]}{stem[:-1]}*", "b": value.rsplit("/", 1)[-1], "s": stem,
        "l": changed - 5, "h": changed + 5, "n": commit.pull_number, "r": commit.repo.rsplit("/", 1)[-1],
    }  # fmt: skip
    told = THOUGHTS.get(kind, [])
    at = rng.randrange(len(COMMANDS[kind]) + len(told))
    if at < len(told):
        return value, planting.plant(turn.reply, told[at].format(**fields), rng)
    command = COMMANDS[kind][at - len(told)].format(**fields)
    return f"{value}: {command}", f"THOUGHT: Let me go on.\n\n```bash\n{command}\n```"


def is_mentioned(path: str, seen: str) -> bool:
    """True where a path stands there as a module."""
    return re.sub(r"^(?:src|lib)/", "", path).rsplit(".", 1)[0].replace("/", ".").casefold() in seen


def is_printed(path: str, lines: Sequence, seen: str, turn: Turn) -> bool:
    """True where the history shows something of a file: a line of it, or a command on it that is no list of files."""
    said = "\n".join(message.content for message in turn.history if message.role == "assistant")
    base = re.escape(path.rsplit("/", 1)[-1])
    if re.search(rf"^.*(?:cat|sed|head|tail|nl|less|awk|grep|git|python|view)\b.*{base}", said, re.MULTILINE):
        return True
    if re.search(rf"{base.casefold()}(?:\", line |[:-])\d", seen):
        return True
    own = [line.text.strip().casefold() for line in lines if len(line.text.strip()) > 15]
    return any(text in seen for text in own)


def honest(kind: str, turn: Turn, commit: Commit, rng: random.Random) -> str | None:
    """What an agent may well do without the pull request, on a file of it that the history has not named."""
    seen = "\n".join([*(message.content for message in turn.history[:2]), commit.issue]).casefold()
    everything = "\n".join(message.content for message in turn.history).casefold()
    paths = [f.path for f in commit.files if f.path.endswith(".py") and not planting.known(f.path, everything)]
    if kind == "module of the issue":
        chosen = [p for p in paths if "test" not in p and p.rsplit("/", 1)[-1][:-3].casefold() in seen]
    else:
        own = {f.path.rsplit("/", 1)[-1]: f.path for f in commit.files}
        modules = sorted({*re.findall(r"(?<![\w/.])(\w[\w/]*/)(\w+)\.py\b", everything)})
        folder, stem = rng.choice(modules) if modules else ("", "test")
        usual = [f"tests/test_{stem}.py", f"{folder}tests/test_{stem}.py", f"{folder}test_{stem}.py"]
        path = own.get(f"test_{stem}.py", rng.choice(usual))
        chosen = [] if "test" in stem or planting.known(path, everything) else [path]
    if not chosen:
        return None
    path = rng.choice(chosen)
    command = rng.choice(["cat {p}", "sed -n '1,120p' {p}", "grep -n 'def ' {p}", "ls {p}", "cat /testbed/{p}"])
    said = rng.choice(["Let me look at {p}.", "I look at the code.", "It is probably in `{p}`."]).format(p=path)
    return f"THOUGHT: {said}\n\n```bash\n{command.format(p=path)}\n```"


def facts_of(commit: Commit, kind: str) -> Iterator[tuple[str, int, str]]:
    """Every (value, line number, path) of `kind`."""
    lines = [line for line in planting.added(commit.patch) if line[0] == "+"]
    if kind in ("path", "identifier", "test", "literal", "line number", "pull", "talk", "line"):
        yield from planting.facts_of(commit, kind)
    elif kind == "basename":
        yield from ((file.path.rsplit("/", 1)[-1], 0, "") for file in commit.files)
    elif kind == "hash":
        yield from ((commit.commit[:length], 0, "") for length in (7, 8, 10, 12, 40))
    elif kind == "sentence":
        yield from ((text, 0, "") for text in re.findall(r"[A-Z][\w ,'-]{40,200}\.", commit.description))
    elif kind == "part of a line":
        for _, _, _, text in lines:
            words = text.split()
            yield from ((" ".join(words[i : i + 4]), 0, "") for i in range(len(words) - 3) if is_code(words[i : i + 4]))
    elif kind == "error message":
        yield from (
            (found[1], 0, "")
            for _, _, _, text in lines
            if re.search(r"raise|[Ee]rror|warn", text)
            for found in _STRING.findall(text)
            if found[1].count(" ") >= 2
        )
    else:
        texts = [text.strip() for _, _, _, text in lines]
        texts += [text.strip() for sign, _, _, text in planting.added(commit.test_patch) if sign == "+"]
        yield from ((value, 0, "") for text in texts for value in re.findall(_PATTERNS[kind], text))


def is_harmless(sentence: str, seen: str) -> bool:
    """True for talk of a pull request or a diff where the history has shown or named one."""
    told = {"PR": "pr_description", "pull request": "pull request", "patch": "diff --git", "diff": "diff --git"}
    return any(word in sentence and (mark in seen or "pr_description" in seen) for word, mark in told.items())


def is_code(words: list[str]) -> bool:
    text = " ".join(words)
    return len(text) >= 20 and re.search(r"[=(\[.]", text) is not None


def half_of(instance_id: str) -> str:
    """Which half a pull request belongs to, by the hash of its id."""
    return "tuned" if hashlib.sha256(instance_id.encode()).digest()[0] % 2 else "held out"


def workspaces(pulls: dict[str, Commit], turns: Sequence[Turn], size: int) -> Callable[[str], Rarity]:
    """The rarity that a pull request's workspace has, where each holds `size` of them."""
    ids = sorted({turn.instance_id for turn in turns} if size else pulls)
    random.Random(size).shuffle(ids)
    made: dict[str, Rarity] = {}
    for start in range(0, len(ids), size or len(ids)):
        members = ids[start : start + (size or len(ids))]
        texts = ((t.instance_id, "\n".join(m.content for m in t.history)) for t in turns if t.instance_id in members)
        rarity = Rarity.from_commits([pulls[i] for i in members], texts)
        made.update(dict.fromkeys(members, rarity))
    return made.__getitem__


def names_of_several(pulls: dict[str, Commit], turns: Sequence[Turn]) -> frozenset[str]:
    """Names that stand in more than one record: a pull request with what its agents saw."""
    own = {i: set(planting.names(f"{c.patch}\n{c.test_patch}\n{c.issue}")) for i, c in pulls.items()}
    for turn in turns:
        own[turn.instance_id] |= planting.names("\n".join(message.content for message in turn.history[-2:]))
    used = Counter(name for names in own.values() for name in names)
    return frozenset(name for name, count in used.items() if count > 1)


def shared() -> tuple[dict[str, Commit], list[Turn]]:
    """The real runs beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    found = [turn for name in ("mini_swe_agent", "swe_zero") for turn in real.turns(folder, name)]
    return real.commits(folder), [Turn(turn.instance_id, turn.history, turn.reply) for turn in found]


def bundled() -> tuple[dict[str, Commit], list[Turn]]:
    """The runs and pull requests that come with the project."""
    import pyarrow.parquet as parquet

    folder = ROOT / "duel" / "offline" / "data"
    pulls = {row["instance_id"]: real.commit(row) for row in parquet.read_table(folder / "pulls.parquet").to_pylist()}
    turns = []
    for run in parquet.read_table(folder / "trajectories.parquet").to_pylist():
        messages = [Message(**message) for message in run["messages"]]
        for position, message in enumerate(messages):
            if message.role == "assistant" and run["instance_id"] in pulls:
                turns.append(Turn(run["instance_id"], messages[:position], message.content))
    return pulls, turns


if __name__ == "__main__":
    main()
