"""Running shell forms for real: each in a folder of its own, all by one bash and one Python.

A start of Python costs 16 ms, so bash hands the script that a form pipes to `python3 -` on to one that runs them all.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_KEPT = 'python3() { [ "$*" = - ] && cat > ../$i.py; }; '
_RUN = """
import os, pathlib, runpy
root = pathlib.Path.cwd()
for script in root.glob("*.py"):
    os.chdir(root / script.stem)
    try:
        runpy.run_path(str(script), run_name="__main__")
    except BaseException as error:
        print("failed:", script.stem, repr(error))
"""


@dataclass(frozen=True)
class ShellCase:
    """A command, the file that it works on, its content before (None: there is none) and what must be there after."""

    name: str
    command: str
    file: str
    before: str | None
    after: str


def wrong(cases: list[ShellCase], root: Path, in_repositories: bool = False) -> list[str]:
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
    loop = f"for ((i = 0; i < {len(cases)}; i++)); do (cd $i && {begin}. ../$i.sh) || echo failed: $i; done"
    done = subprocess.run(["bash", "-c", _KEPT + loop], cwd=root, capture_output=True, text=True, check=True)
    ran = subprocess.run([sys.executable, "-c", _RUN], cwd=root, capture_output=True, text=True, check=True)
    bad = [
        case.name
        for number, case in enumerate(cases)
        if not (root / str(number) / case.file).is_file()
        or (root / str(number) / case.file).read_bytes() != case.after.encode()
    ]
    return bad + [line for line in (done.stdout + ran.stdout).splitlines() if line.startswith("failed")]
