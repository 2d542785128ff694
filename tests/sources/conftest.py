"""prompt.py as a user runs it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.conftest import Finished, run_command


@pytest.fixture
def sampler() -> Callable[..., Finished]:
    """Run prompt.py: `sampler("--workspace", folder, code=0)`."""
    return partial(run_command, "prompt.py")
