"""The first words of what was asked for, behind the words with which harnesses open every task."""

from __future__ import annotations

import re

# Where harnesses and sets put the task itself: in a tag, or behind a heading.
_INSIDE = re.compile(
    r"<(pr_description|issue|issue_description|problem_statement|task|user_query)>\s*(.*?)\s*(?:</\1>|\Z)", re.DOTALL
)
_BEHIND = re.compile(r"^(?:ISSUE|Task Description|Task|Problem statement|## Task|# Task):?[ \t]*\n\s*", re.MULTILINE)
_BLOCKS = re.compile(
    r"<(system-reminder|uploaded_files|environment_context|user_instructions|ide_\w+|command-\w+)>.*?</\1>", re.DOTALL
)


def first_words(task: str, limit: int = 60) -> str:
    """At most `limit` characters of the task, on one line."""
    if inside := _INSIDE.search(task):
        task = inside[2]
    elif behind := _BEHIND.search(task):
        task = task[behind.end() :]
    words = " ".join(_BLOCKS.sub(" ", task).split())
    return words[:limit] if words else " ".join(task.split())[:limit]
