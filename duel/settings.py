"""chain.toml, the environment and the flags become one frozen `Settings` object.

Precedence: flag, environment (`.env` included), chain.toml, default. `chain.toml` is optional and every key has a
default. A key that resembles one of ours is an error that names it; what only other tools read is left alone, and named
in `Settings.unused`. Keys (API tokens) are never part of the object: it knows the names of the variables
that hold them, and `duel.environment.secret` looks one up at the moment it is used.
"""

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, ValidationError
from pydantic.fields import FieldInfo

from duel import sections, wordlists
from duel.environment import environment, hand_on
from duel.errors import SettingsError
from duel.records import Side
from duel.sections import FrozenSection, Price

SETTINGS_FILE = "chain.toml"
# What the field's public validator keeps in the same file and nothing here reads: sections, and keys by section.
FOREIGN_SECTIONS = frozenset({"chain", "arch", "seed", "preeval", "files"})
FOREIGN_KEYS = {section: keys.split() for section, keys in wordlists.table("foreign_keys").items()}
# (section, key) that the field's files use -> the (section, key) of this project that means the same.
SYNONYMS = {
    (section, key): (own_section, own_key)
    for theirs, ours in wordlists.table("synonyms").items()
    for section, key, own_section, own_key in [f"{theirs} {ours}".split()]
}
# How much a name must resemble a known one to count as a misspelling of it (difflib's ratio). The closest pair of a
# public file's own key and one of ours, `or_timeout_s` and `call_timeout_s`, has 0.77; `modles` and `models` have 0.83.
MISSPELLED = 0.8
INNER: dict[str, type[FrozenSection]] = {
    "fallback": sections.Fallback, "rate_limits": sections.RateLimit, "prices": Price
}  # fmt: skip
"""Tables in tables, by the key that holds one, or one for each model."""
_ORDERED = (
    ("sample", "min_turn", "max_turn", "turns are counted from 1; the default of max_turn is 10"),
    ("report", "defeat_min", "final_min", "a turn is final from `final_min`, refined from `defeat_min`, defeat below"),
)


class Settings(FrozenSection):
    """Everything a run depends on, but for the keys."""

    sample: sections.SampleSection = Field(default_factory=sections.SampleSection)
    endpoint: sections.EndpointSection = Field(default_factory=sections.EndpointSection)
    generate: sections.GenerateSection = Field(default_factory=sections.GenerateSection)
    judge: sections.JudgeSection = Field(default_factory=sections.JudgeSection)
    duel: sections.DuelSection = Field(default_factory=sections.DuelSection)
    report: sections.ReportSection = Field(default_factory=sections.ReportSection)
    audit: sections.AuditSection = Field(default_factory=sections.AuditSection)
    execute: sections.ExecuteSection = Field(default_factory=sections.ExecuteSection)
    refine: sections.RefineSection = Field(default_factory=sections.RefineSection)
    guide: sections.GuideSection = Field(default_factory=sections.GuideSection)
    review: sections.ReviewSection = Field(default_factory=sections.ReviewSection)
    batch: sections.BatchSection = Field(default_factory=sections.BatchSection)
    store: sections.StoreSection = Field(default_factory=sections.StoreSection)
    prices: dict[str, Price] = Field(default_factory=dict)
    _unused: list[str] = PrivateAttr(default_factory=list)

    @property
    def unused(self) -> list[str]:
        """What chain.toml holds and nothing here reads: "[duel] king_chain_depth"."""
        return self._unused

    def writers(self, side: Side) -> list[str]:
        """The models of the candidates of one side of a turn: each model's first candidate, then each one's second."""
        named, one, count = (getattr(self.generate, f"{side}{end}") for end in ("_models", "_model", "s"))
        models: list[str] = (named or [one or self.generate.model]) * count
        return models

    def with_keys(self, **sections: Mapping[str, Any]) -> Self:
        """A copy with other keys: `with_keys(judge={"quorum": 1})`. They are not checked again."""
        changed = {name: getattr(self, name).model_copy(update=keys) for name, keys in sections.items()}
        return self.model_copy(update=changed)

    @property
    def most_candidates(self) -> int:
        return max(len(self.writers("king")), len(self.writers("challenger")))

    @property
    def choosers(self) -> list[str]:
        """The judges that choose among several candidates of a side; [] where nothing is to be chosen by a judge."""
        if self.most_candidates == 1 or "judge" not in self.generate.steps:
            return []
        return self.generate.select_model or self.judge.models[:1]

    @property
    def agent_model(self) -> str:
        return self.guide.agent_model or self.generate.model

    @property
    def overseer_model(self) -> str:
        return self.guide.overseer_model or next(iter(self.judge.asked_models), "")

    @property
    def quorum(self) -> int:
        """Judges that must count for a turn; never more than there are judges."""
        return min(self.judge.quorum, len(self.judge.models))


def load(
    workspace: Path,
    flags: Mapping[tuple[str, str], Any] | None = None,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """The settings of `workspace`.

    `flags` holds what the command line set, keyed by (section, key); None values are left out. `defaults` are tables
    that chain.toml overrides. Raises SettingsError.
    """
    hand_on(workspace)
    file = workspace / SETTINGS_FILE
    written, unused = _from_file(file)
    mode = environment("DUEL_MODE", workspace)
    if mode not in {"", "1", "2"}:
        raise SettingsError("DUEL_MODE must be 1 or 2", where="DUEL_MODE", value=mode)
    usual = defaults or {}
    tables = {name: {**usual.get(name, {}), **written.get(name, {})} for name in [*usual, *written]}
    for (section, key), value in {("duel", "mode"): int(mode or 0) or None, **(flags or {})}.items():
        if value is not None:
            tables.setdefault(section, {})[key] = value
    try:
        settings = Settings.model_validate(tables)
    except ValidationError as error:
        raise _explain(error, file, flags or {}) from None
    for section, least, most, hint in _ORDERED:
        low, high = (getattr(getattr(settings, section), key) for key in (least, most))
        if low > high:
            where, what = f"{file.name} [{section}]", f"`{least}` is above `{most}`"
            raise SettingsError(what, where=where, value=f"{low:g} > {high:g}", hint=hint)
    others = [model for model in settings.judge.models if model not in settings.choosers]
    if settings.choosers and others:  # who chose among a turn's candidates does not judge the duel
        settings = settings.with_keys(generate={"select_model": settings.choosers}, judge={"models": others})
    settings._unused.extend(unused)
    return settings


def _from_file(file: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What this project reads of chain.toml, by its own names, and what nothing here reads."""
    try:
        tables = tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        raise SettingsError("cannot read the settings", where=file, value=error.strerror) from None
    except UnicodeDecodeError as error:
        raise SettingsError("the settings are not UTF-8", where=file, value=f"byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        hint = "strings need quotes, tables need [brackets]"
        raise SettingsError("the settings are not valid TOML", where=file, value=error, hint=hint) from None
    for section in [*Settings.model_fields, "dataset"]:
        if not isinstance(tables.get(section, {}), dict):
            hint = f"write it as a section: [{section}]"
            raise SettingsError(f"`{section}` must be a table", where=file, value=tables[section], hint=hint)
    tables = {section: table for section, table in tables.items() if section not in FOREIGN_SECTIONS}
    moved = {
        own: tables[section].pop(key) for (section, key), own in SYNONYMS.items() if key in tables.get(section, ())
    }
    unknown = [["dataset", key] for key in tables.pop("dataset", ())]
    try:
        Settings.model_validate(tables)
    except ValidationError as error:
        extra = (one["loc"] for one in error.errors(include_url=False) if one["type"] == "extra_forbidden")
        unknown += [[str(part) for part in path] for path in extra]
    for path in unknown:
        inside: Any = tables
        for part in path[:-1]:
            inside = inside.get(part, {})
        _refuse_misspelled(path, inside.pop(path[-1], {}), file)
    for (section, key), value in moved.items():
        tables.setdefault(section, {}).setdefault(key, value)
    return tables, [f"[{'.'.join(path[:-1])}] {path[-1]}" if path[1:] else f"[{path[0]}]" for path in unknown]


def _refuse_misspelled(path: list[str], value: Any, file: Path) -> None:
    """Raise SettingsError where an unknown key resembles a known one: it is meant for this project."""
    *above, name = path
    if name in FOREIGN_KEYS.get(where := ".".join(above), ()):
        return
    known = [key for section, key in SYNONYMS if section == where] if above else ["dataset"]
    known += [] if above[:1] == ["dataset"] else keys_of(_section_at(above))
    begun = [key for key in known if key.startswith(f"{name}_")]  # `budget` for `budget_usd`
    if near := difflib.get_close_matches(name, known, n=1, cutoff=MISSPELLED) or begun:
        place = f"{file.name} [{where}]" if above else file.name
        hint = f"did you mean `{near[0]}`?"
        raise SettingsError(f"unknown {'key' if above else 'section'}", where=place, value=name, hint=hint)
    homes = [section for section in Settings.model_fields if name in keys_of(_section_at([section]))]
    if not above and homes and not isinstance(value, dict):
        hint = f"put it under {' or '.join(f'[{home}]' for home in homes)}"
        raise SettingsError("a key stands outside of any section", where=file, value=name, hint=hint)


def keys_of(section: type[FrozenSection]) -> dict[str, FieldInfo]:
    """The keys of a section as chain.toml spells them: `from` is no name that Python takes."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def _section_at(path: list[str]) -> type[FrozenSection]:
    inner = (INNER[part] for part in path if part in INNER)
    kind: Any = next(inner, Settings.model_fields[path[0]].annotation if path else Settings)
    return kind  # type: ignore[no-any-return]


def _explain(error: ValidationError, file: Path, flags: Mapping[tuple[str, str], Any]) -> SettingsError:
    """The first thing pydantic minds, in the words of chain.toml, or of the flag that set it."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    by_flag = len(path) == 2 and flags.get((path[0], path[1])) is not None
    where = "the command line" if by_flag else f"{file.name} [{'.'.join(path[:-1]) or path[0]}]"
    message = first["msg"].removeprefix("Value error, ")
    return SettingsError(f"`{path[-1]}`: {message[:1].lower()}{message[1:]}", where=where, value=first["input"])


def reference() -> str:
    """Every key with its default and what it does, as Markdown: `docs/settings.md`, which a test holds against this."""
    about = "Made by `python -m duel.settings` from the code. Every key of `chain.toml` is optional."
    lines = ["# Settings", "", about, ""]
    for name, about, keys in told():
        lines += [f"## [{name}]", "", about, "", "| key | default | what it does |", "|---|---|---|"]
        rows = ((key, default and f"`{default}`", words.replace("|", "\\|")) for key, default, words in keys)
        lines += [*(f"| `{key}` | {default} | {words} |" for key, default, words in rows), ""]
    return "\n".join(lines)


def told() -> Iterator[tuple[str, str, list[tuple[str, str, str]]]]:
    """Each section: its name, what it is about, and its keys as (key, default in TOML or "", what it does)."""
    words = wordlists.toml(wordlists.__name__, "settings")
    for section in Settings.model_fields:
        kind = _section_at([section])
        known = words["sampling"] | words[section] if issubclass(kind, sections.Sampling) else words[section]
        keys = []
        for key, entry in keys_of(kind).items():
            value = None if entry.is_required() else entry.get_default(call_default_factory=True)
            default = "" if value is None or isinstance(value, dict | FrozenSection) else json.dumps(value)
            keys.append((key, default, known[key]))
        yield section if section != "prices" else 'prices."model"', known["about"], keys


if __name__ == "__main__":
    print(reference(), end="")
