"""Running shell forms for real: each in a folder of its own, all by one bash."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """A command, the file that it works on, its content before (None: there is none) and what must be there after."""

    name: str
    command: str
    file: str
    before: str | None
    after: str


def wrong(cases: list[Case], root: Path, in_repositories: bool = False) -> list[str]:
    """The names of the cases whose file does not hold, byte for byte, what it should."""
    begin = "git init -q . && " if in_repositories else ""
    for number, case in enumerate(cases):
        folder = root / str(number)
        file = folder / case.file
        if case.before is None:
            folder.mkdir()
        else:
            file.parent.mkdir(parents=True)
            file.write_bytes(case.before.encode())
        (root / f"{number}.sh").write_bytes(case.command.encode())
    loop = f"for ((i = 0; i < {len(cases)}; i++)); do (cd $i && {begin}bash ../$i.sh) || echo failed: $i; done"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", loop], cwd=root, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )
    bad = [
        case.name
        for number, case in enumerate(cases)
        if not (root / str(number) / case.file).is_file()
        or (root / str(number) / case.file).read_bytes() != case.after.encode()
    ]
    return bad + [line for line in done.stdout.splitlines() if line.startswith("failed")]
