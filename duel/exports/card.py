"""The dataset card: the Hub's YAML header, and the facts of the run in the template `card.md.txt`.

Names of repositories, models and licenses come from outside: they are escaped, so that none becomes markup.
"""

import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

from duel.exports import recipes
from duel.exports.dataset import Export, Written

# Repositories that the card lists by name; rows.jsonl has them all.
LISTED_REPOSITORIES = 20
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|!])")


def render(export: Export, facts: Mapping[str, Any]) -> str:
    """The whole README.md."""
    from jinja2 import Environment

    environment = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)  # noqa: S701 Markdown
    environment.filters |= {
        "n": "{:,}".format,
        "text": escaped,
        "plain": _plain,
        "figure": _figure,
        "counted": lambda names: _counts({escaped(name): count for name, count in names.items()}),
    }
    template = environment.from_string(resources.files(__package__).joinpath("card.md.txt").read_text("utf-8"))
    title = "Coding-agent turns kept by LLM-judged duels" if facts["judges"] else "Coding-agent trajectories"
    text = template.render(
        facts=facts,
        written=export.written,
        names={done.format.name for done in export.written},
        header=_header(export, facts, title),
        title=title,
        total=sum(part["examples"] for part in facts["splits"].values()),
        notes=lambda done: _notes(done, export),
        gates=[
            (gate["name"], _figure(gate["value"]), _figure(gate["threshold"]), "yes" if gate["held"] else "no")
            for gate in facts["verdict"].get("gates") or ()
        ],
        splits=[(split, *(f"{part[k]:,}" for k in part)) for split, part in facts["splits"].items()],
        steps=[
            (count["step"], f"{count['taken']:,}", f"{count['given']:,}", _counts(count["dropped"]))
            for count in facts["handover"]
            if count["dropped"] or not count["step"].startswith("write ")
        ],
        before=[(stage, _counts(reasons)) for stage, reasons in facts["dropped_before"].items()],
        listed=LISTED_REPOSITORIES,
        **{name: [(k, f"{n:,}") for k, n in facts[name].items()] for name in ("styles", "repositories", "licenses")},
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def _header(export: Export, facts: Mapping[str, Any], title: str) -> str:
    from huggingface_hub import DatasetCardData

    rows = max(sum(done.rows.values()) for done in export.written)
    # A name with a slash can be a local path as well; local files have a revision of their own kind, or none.
    known = [source for source in facts["sources"] if source["revision"] and "/" in source["dataset"]]
    on_hub = [source["dataset"] for source in known if not source["revision"].startswith("local-")]
    data = DatasetCardData(
        language=["en"],
        license="other",
        license_name="per-repository",
        license_link="README.md#licenses",
        pretty_name=title,
        size_categories=[next((name for limit, name in _SIZES if rows < limit), "1M<n<10M")],
        task_categories=["text-generation"],
        tags=["agent", "code", "swe", *(done.format.name for done in export.written)],
        source_datasets=on_hub or None,
        configs=[_config(done, default=order == 0) for order, done in enumerate(export.written)],
        dataset_info=[_info(done, export.files) for done in export.written],
    )
    return f"{data.to_yaml()}\n"


def _config(done: Written, *, default: bool) -> dict[str, Any]:
    files = [{"split": split, "path": f"{done.format.name}/{split}.parquet"} for split in done.rows]
    return {"config_name": done.format.name, "data_files": files} | ({"default": True} if default else {})


def _info(done: Written, files: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    splits = [
        {"name": split, "num_bytes": files[f"{done.format.name}/{split}.parquet"]["bytes"], "num_examples": count}
        for split, count in done.rows.items()
    ]
    size = sum(split["num_bytes"] for split in splits)
    return {"config_name": done.format.name, "splits": splits, "download_size": size, "dataset_size": size}


def _notes(done: Written, export: Export) -> list[str]:
    """Who reads a format, who misreads it, how long its rows are, and what trains on it."""
    found = recipes.notes(done.format, done.figures(), export.measure.tokens.name)
    made = [f"`{done.format.name}/{name}`" for trainer in done.format.recipes for name in recipes.FILES[trainer]]
    return [*found, *([f"recipes: {', '.join(made)}"] if made else [])]


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())


def _figure(value: object) -> str:
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def escaped(value: object) -> str:
    """Outside text on one line, without markup."""
    line = "".join(c if c.isprintable() else " " for c in str(value))[:200]
    return _MARKUP.sub(r"\\\1", line)


def _plain(value: object) -> str:
    """Outside text between backticks."""
    return "".join(c for c in str(value) if c.isprintable() and c != "`")[:100]
