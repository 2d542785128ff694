"""Where the logs of sessions lie."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def logs(clean_home: Path) -> Path:
    """Where Claude Code keeps its logs for the person at this machine."""
    return clean_home / ".claude" / "projects" / "-home-ada-shop"
