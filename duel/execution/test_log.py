"""Which tests passed and which failed, read off what a test command printed."""

import re
from collections.abc import Sequence

# One line a test: pytest -rA and -v, unittest -v, go test -v, cargo test, node --test and TAP, mocha and vitest, ctest.
_LINES = (
    re.compile(r"^(?P<state>PASSED|FAILED|ERROR|XFAIL|XPASS|SKIPPED) (?:\[\d+\] )?(?P<name>\S+(?:\[.*\])?)(?: - .*)?$"),
    re.compile(r"^(?P<name>\S+::\S.*?) (?P<state>PASSED|FAILED|ERROR|XFAIL|XPASS|SKIPPED)\b.*$"),
    re.compile(r"^(?P<name>\w+) \([\w.]+\)(?: \.\.\.| .*\.\.\.) (?P<state>ok|FAIL|ERROR|skipped\b.*)$"),
    re.compile(r"^\s*--- (?P<state>PASS|FAIL|SKIP): (?P<name>\S+)"),
    re.compile(r"^test (?P<name>\S+)(?: - should panic)? \.\.\. (?P<state>ok|FAILED|ignored)$"),
    re.compile(r"^\s*(?P<state>not ok|ok) \d+ (?:- )?(?P<name>.*?)(?: # .*)?$"),
    re.compile(r"^\s*(?P<state>[✓✔√✖✗×]) (?P<name>.*?)(?: \(?\d[\d.]* ?m?s\)?)?$"),
    re.compile(r"^\s*\d+/\d+ Test +#\d+: (?P<name>\S+) \.+ +(?P<state>Passed|\*\*\*Failed)\b"),
    re.compile(r"^(?P<state>ok|PASS|FAIL|not ok):? (?P<name>\w[\w.-]*)$"),
)
_GOOD = frozenset({"PASSED", "XFAIL", "ok", "PASS", "✓", "✔", "√", "Passed"})
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def results(printed: str) -> dict[str, bool]:
    """Each test's name and whether it passed; a test that is told twice passed if it passed each time."""
    found: dict[str, bool] = {}
    for line in _ESCAPES.sub("", printed).splitlines():
        for pattern in _LINES:
            if match := pattern.match(line):
                name = match["name"].strip()
                found[name] = found.get(name, True) and match["state"] in _GOOD
                break
    return found


def passed(name: str, found: dict[str, bool]) -> bool | None:
    """Whether the test `name` passed; None where nothing tells. A name may be the last part of the printed one."""
    if name in found:
        return found[name]
    ends = [good for told, good in found.items() if re.split(r"::|[./]", told)[-1] == name or told.endswith(f" {name}")]
    return all(ends) if ends else None


def judged(asked: Sequence[str], found: dict[str, bool]) -> tuple[list[str], list[str], list[str]]:
    """The asked tests that (passed, failed, are not told of)."""
    told = {name: passed(name, found) for name in asked}
    return (
        [name for name, good in told.items() if good],
        [name for name, good in told.items() if good is False],
        [name for name, good in told.items() if good is None],
    )
