"""Configurations of trainers for each exported format: template files beside this one, filled with its figures.

Measured with TRL 1.16; axolotl, LLaMA-Factory and unsloth after their documents of 2026.
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from duel.exports.formats import Format

FILES = {
    "trl": ("trl.yaml", "trl_train.py"),
    "axolotl": ("axolotl.yaml",),
    "llamafactory": ("llamafactory.yaml",),
    "unsloth": ("unsloth_train.py",),
}
"""What each trainer's recipe writes; the template of `trl.yaml` is `trl.yaml.txt`."""
_ROLES = {f"{name}_tag": name for name in ("role", "content", "user", "assistant", "system")}
_ROLES |= {"observation_tag": "tool", "function_tag": "function_call"}


def render(form: Format, max_length: int, longest: int, counted_by: str) -> dict[str, str]:
    known = {"form": form, "dataset": dataset_name(form), "max_length": max_length, "counted_by": counted_by}
    return {
        name: template(__package__, f"{name}.txt").render(known, kind=kind, longest=f"{longest:,}")
        for trainer, kind in form.recipes.items()
        for name in FILES[trainer]
    }


@cache  # reading one takes 5 ms, and each format of an export asks for several
def template(package: str, name: str, **filters: Any) -> Template:
    kept = dict[str, Any](trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined)
    environment = Environment(**kept)  # noqa: S701 no page
    environment.filters |= filters
    return environment.from_string(resources.files(package).joinpath(name).read_text("utf-8"))


def dataset_name(form: Format) -> str:
    return f"duel_{form.name.replace('-', '_')}"


def dataset_info(forms: list[Format]) -> dict[str, Any]:
    entries = {}
    for form in [form for form in forms if "llamafactory" in form.recipes]:
        columns = [name for name in ("messages", "chosen", "rejected", "tools") if name in form.schema.model_fields]
        label = {"kto_tag": "label"} if "kto" in form.recipes.values() else {}
        entries[dataset_name(form)] = {
            "file_name": f"{form.name}/train.jsonl",
            "formatting": "openai" if "tools" in columns else "sharegpt",
            "columns": {name: name for name in columns} | label,
            "tags": _ROLES,
            **({"ranking": True} if "chosen" in columns else {}),
        }
    return entries


def readme(form: Format, figures: Mapping[str, Any], counted_by: str) -> str:
    """What the folder of a format says of itself: who reads it, who misreads it, how long its rows are."""
    lines = [f"# {form.name}", "", f"{form.summary[0].upper()}{form.summary[1:]}.", ""]
    lines += [f"- {line}" for line in notes(form, figures, counted_by)]
    commands = [name for trainer in form.recipes for name in FILES[trainer]]
    lines += ["", *(f"`{name}` says in its first line how it is run." for name in commands)]
    return "\n".join(lines).rstrip() + "\n"


def notes(form: Format, figures: Mapping[str, Any], counted_by: str, folder: bool = False) -> list[str]:
    """The same for the card, a line each; with `folder` also where its recipes lie."""
    whole = ", ".join(f"{count:,} at {int(window):,}" for window, count in figures["whole_at"].items())
    readers = ", ".join(f"{trainer} ({kind})" for trainer, kind in form.recipes.items())
    lines = [f"read by: {readers}" if readers else "no trainer reads this format: it is for " + form.purpose]
    lines += [f"**careful**: {form.caution}"] if form.caution else []
    length = f"median {figures['p50']:,}, longest {figures['longest']:,}; whole: {whole}"
    made = [f"`{form.name}/{name}`" for trainer in form.recipes for name in FILES[trainer]]
    recipes = [f"recipes: {', '.join(made)}"] if folder and made else []
    return [*lines, f"tokens a row ({counted_by}): {length}", *recipes]
