"""What every back end speaks: a state of a repository, commands that run in it, what they printed and changed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from duel.errors import ItemError

Found = TypeVar("Found")
Held = TypeVar("Held", bound="Closable")

MAX_COMMAND_BYTES = 131_000  # Linux takes at most 128 KiB as one argument
PLACE = "/repo"  # where a checkout lies for its commands, unless the recorded history shows another place


@dataclass(frozen=True, slots=True)
class Limits:
    """What one command may use. Sizes in MiB; `keep` characters of each end of a stream are kept."""

    seconds: float = 30.0
    memory_mb: int = 1024
    processes: int = 64
    disk_mb: int = 512
    output_mb: int = 64
    keep: int = 65_536


@dataclass(frozen=True, slots=True)
class Start:
    """Where a task starts: a repository (`owner/name`) at a commit, with the tests of the pull request laid over it."""

    repository: str
    commit: str
    test_patch: str = ""
    place: str = field(default=PLACE, compare=False)
    instance: Mapping[str, object] = field(default_factory=dict, compare=False)  # further columns, for an image's name
    history: int = 1  # commits that the checkout holds, as far as there are any; one of the sample holds all


@dataclass(frozen=True, slots=True)
class Printed:
    """What a command wrote to one stream, or both ends of it, and how many characters it wrote in all."""

    text: str = ""
    total: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    stdout: Printed = Printed()
    stderr: Printed = Printed()
    exit: int = 0  # 124 where its time was over, 137 where it exceeded another limit
    ended_by: str = ""  # the limit that ended it: "time", "memory", "output", "disk"
    seconds: float = 0.0

    @property
    def printed(self) -> str:
        """Standard output, then standard error on lines of its own."""
        return "\n".join(stream.text for stream in (self.stdout, self.stderr) if stream.text)


class State:
    """One state of a checkout. Commands change it; nothing else does, and nothing of it outlives `close`.

    A back end says how by what blocks (`_run`, `_fork`, `_changes`, `discard`), or makes a class with these methods.
    """

    start: Start
    limits: Limits
    _run: Callable[[str, Limits, bool], Outcome]
    _fork: "Callable[[], State]"
    _changes: Callable[[], str]
    discard: Callable[[], None]

    async def run(self, command: str, *, merged: bool = False, seconds: float | None = None) -> Outcome:
        """Run one command in a fresh shell at the root of the checkout.

        `merged` sends standard error to standard output, as it comes; `seconds` replaces the limit of the settings.
        Raises ExecutionError (`not-a-command`) for what no shell can be given (a NUL byte, a megabyte of text).
        """
        if "\0" in command:
            raise ExecutionError("not-a-command", "the command holds a NUL byte")
        if len(command.encode("utf-8", "surrogatepass")) > MAX_COMMAND_BYTES:
            raise ExecutionError("not-a-command", f"the command is longer than {MAX_COMMAND_BYTES} bytes")
        limits = replace(self.limits, seconds=seconds) if seconds else self.limits
        return await in_thread(self._run, command.encode("utf-8", "replace").decode(), limits, merged)

    async def fork(self) -> "State":
        """A state that starts where this one stands and goes its own way."""
        return await in_thread(self._fork)

    async def changes(self) -> str:
        """A diff of what changed since the last fork, or since the start; read from outside, running nothing inside."""
        return await in_thread(self._changes)

    async def close(self) -> None:
        await in_thread(self.discard)


class Executor(Protocol):
    """A back end. `name` says in records which one ran a command; `describe` also says how."""

    name: str

    async def state(self, start: Start) -> State:
        """A fresh state at the start of a task. Raises ExecutionError where it cannot be had, with why."""

    def describe(self) -> str:
        """The back end with what it stands on ("bubblewrap 0.8.0, overlay forks")."""

    async def close(self) -> None:
        """Give back everything."""


class Closable(Protocol):
    async def close(self) -> None: ...


@asynccontextmanager
async def closing(held: Held) -> AsyncIterator[Held]:
    """An executor, a state or a verifier while the body runs; what it holds is given back then."""
    try:
        yield held
    finally:
        await held.close()


class ExecutionError(ItemError):
    """One turn cannot be executed (`no-repository`, `no-commit`, `sandbox`, …): it is recorded, the others go on."""


async def in_thread(work: Callable[..., Found], *given: Any) -> Found:
    """What blocks, off the loop. Raises ExecutionError (`sandbox`) where this machine has no room, handle, process."""
    try:
        return await asyncio.to_thread(work, *given)
    except OSError as error:
        raise ExecutionError("sandbox", str(error)) from None
