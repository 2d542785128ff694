"""The first words of what was asked for, behind the words with which harnesses open every task."""

import re

# Where harnesses and sets put the task itself: in a tag, or behind a heading.
_INSIDE = re.compile(
    r"<(pr_description|issue|issue_description|problem_statement|task|user_query)>\s*(.*?)\s*(?:</\1>|\Z)", re.DOTALL
)
_BEHIND = re.compile(
    r"(?:^|\s)(?:ISSUE|Task(?: Description)?|Problem statement|#+ (?:Task|Issue)):?[ \t]*\n[\s*]*(?:Title)?[\s*]*"
)
_BLOCKS = re.compile(
    r"<(system-reminder|uploaded_files|environment_context|user_instructions|ide_\w+|command-\w+)>.*?</\1>", re.DOTALL
)
_INTRO = re.compile(r"^(?:Consider the following PR description:|Please solve (?:this|the following) issue[^\n]*\n)\s*")


def first_words(task: str, limit: int = 60) -> str:
    """At most `limit` characters of the task, on one line."""
    if inside := _INSIDE.search(task):
        task = inside[2]
    elif behind := _BEHIND.search(task):
        task = task[behind.end() :]
    words = " ".join(_INTRO.sub("", _BLOCKS.sub(" ", task).strip()).split())
    return words[:limit] if words else " ".join(task.split())[:limit]
