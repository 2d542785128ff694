"""Folders of at most so many files: the first lie in the folder itself, further ones in `1/`, `2/`, … inside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class NumberedFolders:
    """Where files lie; readers find them also where `most` was another when they were written."""

    most: int = 5000
    """Files in one folder: `[store] answers_per_dir`."""
    _last: dict[Path, int] = field(default_factory=dict)

    def place(self, folder: Path, file: str, position: int) -> Path:
        """Where `file` lies, else where it goes as the one at `position`, from 0."""
        number = max(position, 0) // self.most
        wanted = folder / str(number) / file if number else folder / file
        if wanted.exists():
            return wanted
        return next((path for inside in self.inside(folder) if (path := inside / file).exists()), wanted)

    def inside(self, folder: Path) -> list[Path]:
        """`folder`, and the numbered ones in it."""
        last = self._last.get(folder, 0)
        while (folder / str(last + 1)).is_dir():
            last += 1
        self._last[folder] = last
        return [folder, *(folder / str(number) for number in range(1, last + 1))]

    def make(self, folder: Path) -> None:
        """Make `folder`; the numbered ones before it as well, so that none is missed by counting up."""
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, int(folder.name) if folder.name.isdecimal() else 0):
            (folder.parent / str(number)).mkdir(exist_ok=True)
