"""Prompt templates as text files beside this one.

A template names its fields as `{{field}}`. Rendering is one pass: a missing or an unknown field is an error, and what a
value contains is never looked at again, so text from a model or a dataset cannot become a field.
"""

import hashlib
import re
from functools import cache
from importlib import resources

_FIELD = re.compile(r"\{\{(\w+)\}\}")


class Template:
    """A prompt file: its text, the fields it names, and a hash that goes into every record it made."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.fields = frozenset(_FIELD.findall(text))
        self.hash = hashlib.sha256(text.encode()).hexdigest()[:16]

    def render(self, **values: str) -> str:
        """The text with every field filled in. Raises KeyError for a missing and TypeError for an unknown field."""
        if unknown := values.keys() - self.fields:
            raise TypeError(f"prompt `{self.name}` has no field {', '.join(sorted(unknown))}")
        return _FIELD.sub(lambda match: values[match[1]], self.text)


@cache
def load(name: str) -> Template:
    """The template `<name>.txt`. Raises FileNotFoundError where there is none."""
    return Template(name, resources.files(__name__).joinpath(f"{name}.txt").read_text("utf-8"))
