"""Which formats are known, how a file's format is told from its content, and where agents keep their logs."""

import pkgutil
import re
from collections.abc import Iterator
from functools import cache, partial
from importlib import import_module

from duel.conversation import text_actions
from duel.environment import expanded
from duel.errors import ItemError, SourceError
from duel.registry import Registry
from duel.sources.sessions import readers
from duel.sources.sessions.log import ENDINGS, HubRows, Log, SessionReader, find

# Names by which formats are known elsewhere: of a reader, or of the one dialect that the rows of a set speak.
_ALSO = "atif=atif_documents codeact=execute_tags swe-smith=function_tags toolace=python_calls dolci= sharegpt= toucan="
ALIASES = dict(alias.split("=") for alias in _ALSO.split())
# Its rows are what other formats hold inside, so it is asked last.
_LAST = "messages"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
READERS: Registry[SessionReader] = Registry("session_reader")


@cache
def names() -> tuple[str, ...]:
    modules = [import_module(f"{readers.__name__}.{module.name}") for module in pkgutil.iter_modules(readers.__path__)]
    inside = {name: reader for module in modules for name, reader in module.FORMATS.items()}
    for name, known in inside.items():
        READERS.add(name, known)
    outside = [name for name in READERS if name not in inside]
    return (*outside, *sorted(inside, key=lambda name: (name == _LAST, name)))


@cache
def formats() -> tuple[str, ...]:
    """Every name that can be asked for: `names`, the dialects of actions in text, and what sets are known by."""
    return tuple(sorted({*names(), *(name.replace("_", "-") for name in text_actions.DIALECTS), *ALIASES}))


@cache
def reader(name: str) -> SessionReader:
    known = ALIASES.get(name, name.replace("-", "_"))
    if (named := name if name in names() else known.replace("_", "-")) in names():
        return READERS[named]
    rows = READERS[_LAST]
    return SessionReader(rows.recognizes, partial(rows.read, dialect=known))


def reader_of(log: Log, name: str = "") -> SessionReader:
    """The reader of a file: the named one, else the first that recognizes it. Raises ItemError (`not-a-session`)."""
    for known in [name] if name else names():
        if name or reader(known).recognizes(log.sample):
            return reader(known)
    keys = ", ".join(list(log.sample[0])[:8]) if log.sample else ""
    raise ItemError("not-a-session", f"no reader recognizes it{f': its rows hold {keys}' if keys else ''}")


def logs(places: list[str], split: str = "train", accept_license: bool = False) -> Iterator[Log]:
    """The candidate files of folders, files and Hub datasets; with no place given, of the agents' own folders."""
    own = [place for name in names() for place in getattr(reader(name), "FOLDERS", ()) if expanded(place).is_dir()]
    for place in places or own:
        path = expanded(place)
        if path.exists():
            yield from find(path)
        elif _HUB_ID.fullmatch(place) and not place.endswith(ENDINGS):
            rows = HubRows(path, place, split=split)
            rows.look_up(accept_license)
            yield rows
        else:
            hint = "name a session log, a folder of them, or a dataset as owner/name"
            raise SourceError("no such file, folder or dataset", where=place, hint=hint)
