"""prompt.py within the test's own process: the libraries it stands on take half a second to import, once."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable

import pytest

from duel import command
from tests.conftest import ROOT, Finished


@pytest.fixture
def sampler(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Run prompt.py as a user does: `sampler("--workspace", folder, code=0)`."""
    spec = importlib.util.spec_from_file_location("prompt_script", ROOT / "prompt.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def call(*arguments: object, code: int | None = None, **environment: str) -> Finished:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["prompt.py", *map(str, arguments)])
            for name, value in environment.items():
                patch.setenv(name, value)
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                command.run(script.main)
        said = capsys.readouterr()
        finished = Finished(int(ended.value.code or 0), said.out, said.err)
        if code is not None:
            assert finished.code == code, said.err
        return finished

    return call
