"""Parts are found by name: those of the project, those of a program, and those of another distribution."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from duel.errors import SettingsError
from duel.registry import Registry

ENTRY_POINTS = """
[duel.toy]
outside = toy_parts:greet
broken = toy_parts:missing
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution `toy-parts` that offers two parts of the kind `toy`."""
    (tmp_path / "toy_parts.py").write_text("def greet():\n    return 'hello'\n")
    about = tmp_path / "toy_parts-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-parts\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("toy_parts", None)


def test_a_part_is_found_by_its_name_wherever_it_comes_from(installed: None) -> None:
    toys = Registry[object]("toy")
    toys.register("inside")(len)
    assert list(toys) == ["inside", "outside", "broken"]
    assert toys["inside"] is len
    assert toys["outside"]() == "hello"  # type: ignore[operator]


def test_an_unknown_name_is_told_with_the_nearest(installed: None) -> None:
    with pytest.raises(SettingsError, match="unknown toy: outsite") as caught:
        Registry[object]("toy")["outsite"]
    assert "did you mean `outside`? known: outside, broken" in caught.value.hint


def test_a_part_that_cannot_be_loaded_names_its_distribution(installed: None) -> None:
    toys = Registry[object]("toy")
    assert "broken" in toys
    with pytest.raises(SettingsError, match="`broken` cannot be loaded, in `toy-parts`: AttributeError"):
        toys["broken"]


def test_a_name_stands_for_one_part() -> None:
    toys = Registry[object]("toy")
    toys.add("a", len)
    toys.add("a", len)
    with pytest.raises(ValueError, match="two parts of the kind toy with the name a"):
        toys.add("a", print)
