"""The system calls that a sandboxed command may not make, as the filter program that bubblewrap installs.

Namespaces do not cover everything: the keys of the user's session are in reach of whatever runs under it (`keyctl`
reads them through bubblewrap alone), and memory that is no process's (`memfd_create`, `shmget`) escapes every count.
"""

import platform
import struct

from duel import wordlists

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000  # refused: EPERM
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_X32 = 0x40000000


def program(machine: str = "") -> bytes:
    """The classic BPF program for this (or the named) machine; b"" for one whose numbers are not listed.

    A call of another architecture ends the process: its numbers would mean other calls.
    """
    machine = machine or platform.machine()
    if machine not in _MACHINES:
        return b""
    column, architecture = _MACHINES[machine]
    numbers = [int(both[column]) for _name, *both in wordlists.rows("duel.execution", "system_calls.txt")]
    lines = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    lines.append((_AT_LEAST, len(numbers) + 1, 0, _X32))
    lines += [(_EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
