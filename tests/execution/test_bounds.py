"""Whatever a command does, it is bounded and named, and the next one runs as if nothing had been."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duel.errors import UserError
from duel.execution import bubblewrap
from duel.execution.bubblewrap import Bubblewrap
from duel.execution.executor import ExecutionError, Limits, Outcome, Start
from duel.execution.supervision import resident_bytes
from tests.execution.conftest import ROOT, in_sandbox

LIMITS = Limits(seconds=3, memory_mb=150, processes=40, disk_mb=48, output_mb=2)
SOON = replace(LIMITS, seconds=0.7)
As = Callable[[Callable[[], Any]], Any]


def run(mirrors: Path, start: Start, *commands: str, limits: Limits = LIMITS, **how: Any) -> list[Outcome]:
    async def work(executor: Bubblewrap) -> list[Outcome]:
        state = await executor.state(start)
        try:
            return [await state.run(command) for command in commands]
        finally:
            await state.close()

    return list(in_sandbox(mirrors, work, limits, **how))


FORK_BOMB = ":(){ :|:& };:"


def out_of_time(outcome: Outcome) -> bool:
    return outcome.ended_by == "time" and outcome.exit == 124


BAD: dict[str, tuple[str, Callable[[Outcome], bool]]] = {
    "endless output": ("yes", lambda o: o.ended_by == "output" and o.exit == 137 and len(o.stdout.text) <= 131_072),
    "endless errors": ("yes >&2", lambda o: o.ended_by == "output" and o.stderr.total > 131_072),
    "too long": ("sleep 60", out_of_time),
    "too long behind closed streams": ("exec >&- 2>&-; sleep 60", out_of_time),
    "busy for ever": ("while :; do :; done", out_of_time),
    "a fork bomb": (f"{FORK_BOMB}\nsleep 1", lambda o: "Resource temporarily unavailable" in o.stderr.text),
    "2 GB into the checkout": ("dd if=/dev/zero of=big bs=1M count=2000", lambda o: o.exit != 0 and o.seconds < 3),
    "many files into the checkout": (
        "for n in 1 2 3 4; do head -c 20000000 /dev/zero > f$n; done",
        lambda o: "No space left" in o.stderr.text,
    ),
    "2 GB into /tmp": ("head -c 2000000000 /dev/zero > /tmp/big", lambda o: o.exit != 0 and o.seconds < 3),
    "many files into /tmp": (
        "for n in 1 2 3; do head -c 40000000 /dev/zero > /tmp/$n; done",
        lambda o: "No space left" in o.stderr.text,
    ),
    "2 GB into /dev/shm": (
        "for n in 1 2 3; do head -c 40000000 /dev/zero > /dev/shm/$n; done",
        lambda o: "No space left" in o.stderr.text,
    ),
    "2 GB into /dev": ("head -c 2000000000 /dev/zero > /dev/big", lambda o: "Read-only" in o.stderr.text),
    "memory of one process": ("tail -c 2000000000 /dev/zero", lambda o: o.exit != 0 and o.seconds < 3),
    "memory of many processes": (
        "for n in 1 2 3 4 5 6 7 8; do (x=$(head -c 30000000 /dev/zero | tr '\\0' x); sleep 9) & done; wait",
        lambda o: o.ended_by == "memory",
    ),
}


def test_a_command_is_bounded_and_named(mirrors: Path, small: Start, user: As) -> None:
    async def work(executor: Bubblewrap) -> dict[str, tuple[Outcome, Outcome]]:
        found = {}
        for what, (command, expected) in BAD.items():
            state = await executor.state(small)
            state.limits = SOON if expected is out_of_time else LIMITS
            found[what] = (await state.run(command), await state.run("cat src/b.py"))
            await state.close()
        return found

    for what, (bad, next_one) in user(lambda: in_sandbox(mirrors, work, LIMITS)).items():
        assert BAD[what][1](bad), f"{what}: {bad}"
        assert bad.seconds < 6
        assert next_one.stdout.text == "x = 1\n", what


def test_everything_removed_is_only_the_checkout(mirrors: Path, small: Start, user: As) -> None:
    removed, after, again = user(
        lambda: [
            *run(mirrors, small, "rm -rf --no-preserve-root / 2>/dev/null; rm -rf /repo/* /repo/.git", "ls -A"),
            *run(mirrors, small, "ls -A"),
        ]
    )
    assert removed.ended_by == ""
    assert after.stdout.text == ""
    assert set(again.stdout.text.split()) == {".git", "a.txt", "src"}


def test_a_daemon_dies_with_its_command(mirrors: Path, small: Start, user: As) -> None:
    sleeper = "9173.5"
    done, after = user(
        lambda: run(
            mirrors, small, f"(setsid sleep {sleeper} &) ; (sleep 0.6; echo late > late) & echo started", "sleep 1; ls"
        )
    )
    assert done.stdout.text == "started\n"
    assert done.seconds < 1.5
    assert "late" not in after.stdout.text
    assert not _running(sleeper)


@pytest.mark.parametrize(
    ("command", "problem"),
    [("echo a\0b", "NUL byte"), ("echo " + "x" * 140_000, "longer than")],
    ids=["a NUL byte", "longer than the kernel takes"],
)
def test_what_no_shell_can_be_given_is_refused_by_name(mirrors: Path, small: Start, command: str, problem: str) -> None:
    with pytest.raises(ExecutionError, match=problem) as raised:
        run(mirrors, small, command)
    assert raised.value.reason == "not-a-command"


def test_bytes_that_are_no_text_are_replaced(mirrors: Path, small: Start) -> None:
    lone, binary = run(mirrors, small, "echo '\ud800'", r"printf 'a\xffb'")
    assert lone.stdout.text == "?\n"
    assert binary.stdout.text == "a\ufffdb"


def test_both_ends_of_a_long_output_are_kept_and_the_rest_is_counted(mirrors: Path, small: Start) -> None:
    (outcome,) = run(mirrors, small, "for n in 1 2 3 4 5 6 7 8 9; do head -c 100000 /dev/zero | tr '\\0' $n; done")
    assert outcome.stdout.total == 900_000
    assert outcome.stdout.text == "1" * 65_536 + "9" * 65_536


@pytest.mark.parametrize("forks", ["overlay", "copy"])
def test_forks_start_alike_and_go_their_own_ways(mirrors: Path, small: Start, user: As, forks: str) -> None:
    async def work(executor: Bubblewrap) -> list[str]:
        first = await executor.state(small)
        await first.run("echo three >> a.txt; rm src/c.py; mkdir -p new/deep; echo n > new/deep/f")
        history = await first.changes()
        second = await first.fork()
        untouched = [await first.changes(), await second.changes()]
        await first.run(
            "rm -r src && mkdir src && echo 'x = 2' > src/b.py && ln -s /etc/passwd link && chmod 600 a.txt"
        )
        await second.run("echo second > a.txt; printf '\\0\\1' > binary; head -c 100000 /dev/zero > large; mkfifo pipe")
        third = await second.fork()
        seen = (await third.run("cat a.txt new/deep/f")).stdout.text
        # What a fork's parent changed before it was forked is the fork's start.
        changed = [await first.changes(), await second.changes(), await third.changes()]
        for state in (first, second, third):
            await state.close()
        return [history, *untouched, seen, *changed]

    history, one, two, seen, first, second, third = user(
        lambda: in_sandbox(mirrors, work, Limits(processes=20, seconds=5), forks=forks)
    )
    assert history == (
        "--- a/a.txt\n+++ b/a.txt\n@@ -1,2 +1,3 @@\n one\n two\n+three\n"
        "--- /dev/null\n+++ b/new/deep/f\n@@ -0,0 +1 @@\n+n\ndeleted: src/c.py\n"
    )
    assert (one, two, seen, second, third) == ("", "", "second\nn\n", "", "")
    assert first == (
        "mode: a.txt 644 -> 600\nlink: link -> /etc/passwd\n"
        "--- a/src/b.py\n+++ b/src/b.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n"
    )


@pytest.mark.parametrize("forks", ["overlay", "copy"])
def test_changes_that_are_no_text_are_named(mirrors: Path, small: Start, forks: str) -> None:
    async def work(executor: Bubblewrap) -> str:
        state = await executor.state(small)
        await state.run(
            "printf '\\0\\1' > binary; head -c 100000 /dev/zero > large; mkdir -p d; : > empty; printf x > a.txt"
        )
        changed = await state.changes()
        await state.close()
        return changed

    changed = in_sandbox(mirrors, work, forks=forks)
    assert "new, not shown: binary (2 bytes)\n" in changed
    assert "new, not shown: large (100000 bytes)\n" in changed
    assert "new, empty: empty\n" in changed
    assert "+x\n\\ No newline at end of file\n" in changed


def test_a_state_leaves_nothing_even_when_its_process_is_killed(mirrors: Path, small: Start) -> None:
    code = (
        "import asyncio, sys, time\n"
        "from pathlib import Path\n"
        "from duel.execution.bubblewrap import Bubblewrap\n"
        "from duel.execution.checkouts import Sources\n"
        "from duel.execution.executor import Start\n"
        "async def main():\n"
        f"    executor = Bubblewrap(Sources(Path({str(mirrors.parent / 'cache')!r}), {str(mirrors)!r}, offline=True))\n"
        f"    state = await executor.state(Start({small.repository!r}, {small.commit!r}))\n"
        "    print(executor.scratch, flush=True)\n"
        "    await state.run('sleep 7431.5')\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout
    scratch = Path(process.stdout.readline().strip())
    deadline = time.monotonic() + 20
    while not _running("7431.5") and time.monotonic() < deadline:
        pass
    assert _running("7431.5")
    process.kill()
    process.wait()
    process.stdout.close()
    while _running("7431.5") and time.monotonic() < deadline:
        pass
    assert not _running("7431.5"), "the command outlived the process that started it"
    mine = bubblewrap.new_scratch()  # the next run sweeps what the dead one left, unless another one has
    assert not scratch.exists()
    mine.rmdir()


def test_two_runs_may_sweep_what_a_dead_one_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The other was quicker: a folder that was listed is gone when it is looked at."""
    listed = Path.glob
    gone = tmp_path / "duel-execution-999999999-gone"
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: [*listed(folder, pattern), gone])
    bubblewrap.new_scratch().rmdir()


def _running(word: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"sleep\0{word}".encode() in path.read_bytes():
                return True
        except OSError:
            continue
    return False


def test_where_bubblewrap_is_missing_the_message_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bubblewrap.BARE_ENVIRONMENT, "PATH", str(tmp_path))
    with pytest.raises(UserError, match="bubblewrap is not installed") as raised:
        bubblewrap.bwrap_version()
    assert "apt-get install bubblewrap" in raised.value.hint


def test_where_the_kernel_forbids_it_the_message_says_what_bubblewrap_said(
    mirrors: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = place / "bin"
    refusing.mkdir()
    (refusing / "bwrap").write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo bubblewrap 0.8.0 && exit\n'
        "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1\n"
    )
    (refusing / "bwrap").chmod(0o755)
    monkeypatch.setitem(bubblewrap.BARE_ENVIRONMENT, "PATH", f"{refusing}:{bubblewrap.BARE_ENVIRONMENT['PATH']}")
    with pytest.raises(UserError) as raised:
        in_sandbox(mirrors, lambda executor: None)  # type: ignore[arg-type, return-value]
    assert "setting up uid map" in str(raised.value)
    assert "apparmor_restrict_unprivileged_userns" in str(raised.value)


def test_memory_of_a_tree_of_processes_is_counted() -> None:
    own = resident_bytes(os.getpid())
    assert own > 10 << 20
    assert resident_bytes(2**22 - 1) == 0


def test_a_state_is_forked_also_while_what_was_killed_still_holds_its_tree(mirrors: Path, small: Start) -> None:
    async def work(executor: Bubblewrap) -> str:
        first = await executor.state(small)
        held = (first._room.outside / first.folder / "a.txt").open()
        asyncio.get_running_loop().call_later(0.2, held.close)
        second = await first.fork()
        return (await second.run("cat a.txt")).printed

    assert in_sandbox(mirrors, work).startswith("one\ntwo\n")
