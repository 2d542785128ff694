"""How a part is found: an export format, a session reader, an audit check, a judge, an executor, a source.

A part is a function, an object or a module with a name. Those of this project are the modules of one package, each of
which registers what it holds; others come from any installed distribution by an entry point:

    [project.entry-points."duel.export_format"]
    my-format = "my_package.my_module:MY_FORMAT"

Whatever lists names (help, documentation, tests, the hint on a misspelled one) asks the registry.
"""

import difflib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from duel.errors import SettingsError

AnyPart = TypeVar("AnyPart")

OFFLINE = "offline-stand-in/"  # How the name of a model begins that is the rules of `--offline`, and no model


class Registry(Mapping[str, AnyPart], Generic[AnyPart]):
    """The parts of one kind by name. They are imported when they are first asked for.

    `kind` is in the singular, with underscores: it names the entry points' group, `duel.<kind>`, and stands in errors.
    `home` is the package whose modules, or the module that, registers this project's own parts, ordered by name.
    """

    def __init__(self, kind: str, home: str = "") -> None:
        self.kind, self.home = kind, home
        self._parts: dict[str, AnyPart] = {}
        self._outside: dict[str, EntryPoint] = {}
        self.own = frozenset[str]()  # those of this project, once they were looked for
        self._complete = False

    def add(self, name: str, part: AnyPart) -> AnyPart:
        """Register `part` as `name`. Raises ValueError if another part has that name."""
        if self._parts.setdefault(name, part) is not part:
            raise ValueError(f"there are two parts of the kind {self.kind} with the name {name}")
        return part

    def register(self, name: str) -> Callable[[AnyPart], AnyPart]:
        """`add` as a decorator."""
        return lambda part: self.add(name, part)

    def __getitem__(self, name: str) -> AnyPart:
        """The part `name`. Raises SettingsError, which names the nearest known one; KeyError never reaches a user."""
        self._find()
        if name in self._outside and name not in self._parts:
            entry = self._outside[name]
            try:
                self._parts[name] = entry.load()
            except Exception as error:
                source = entry.dist.name if entry.dist is not None else entry.value
                what = f"the {self.kind.replace('_', ' ')} `{name}` cannot be loaded"
                raise SettingsError(what, where=source, value=f"{type(error).__name__}: {error}") from None
        if name not in self._parts:
            near = difflib.get_close_matches(name, list(self), n=1, cutoff=0.4)
            hint = f"did you mean `{near[0]}`? " if near else ""
            known = f"known: {', '.join(self) or 'none'}"
            raise SettingsError(f"unknown {self.kind.replace('_', ' ')}", value=name, hint=hint + known)
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        self._find()
        return name in self._parts or name in self._outside

    def __iter__(self) -> Iterator[str]:
        self._find()
        return iter(list(dict.fromkeys([*self._parts, *self._outside])))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _find(self) -> None:
        """Import this project's own parts, and note those from outside."""
        if self._complete:
            return
        self._complete = True
        if self.home:
            package = import_module(self.home)
            for name in sorted(module.name for module in pkgutil.iter_modules(getattr(package, "__path__", ()))):
                import_module(f"{self.home}.{name}")
        self.own = frozenset(self._parts)
        self._outside = {entry.name: entry for entry in entry_points(group=f"duel.{self.kind}")}
