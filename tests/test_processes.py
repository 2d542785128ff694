"""Work in processes of its own, from wherever it is started."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
from pathlib import Path

import pytest

from duel.processes import spread
from tests.conftest import ROOT

SCRIPT = "from duel.processes import spread\nprint('once', list(spread(len, ['a', 'bb', 'ccc'], 2)))\n"


@pytest.mark.parametrize("piped", [False, True])
def test_a_script_without_a_guard_is_run_once(clean_home: Path, piped: bool) -> None:
    """Its processes would import it, and start all of it anew; one that comes from a pipe has no file to import."""
    script = clean_home / "mine.py"
    script.write_text(SCRIPT)
    words, given = ([], SCRIPT) if piped else ([str(script)], "")
    found = subprocess.run(
        [sys.executable, *words],
        input=given,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout, found.stderr, found.returncode) == ("once [1, 2, 3]\n", "", 0)


def test_where_one_core_may_be_used_no_process_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that is given one of the machine's cores would only wait for them."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    here: list[int] = []
    list(spread(operator.iadd, [[1], [2]], 8, lambda: here))
    assert here == [1, 2]  # another process would have a list of its own
