"""Training formats: what is kept, in the shapes that trainers, vendors and the Hub read."""

from importlib.metadata import entry_points

from duel import wordlists


def names() -> list[str]:
    """Every format, by the tables and entry points alone: for `--help` none is imported."""
    return [*wordlists.toml(__name__, "formats/formats"), *(e.name for e in entry_points(group="duel.export_format"))]
