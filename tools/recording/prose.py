"""What the recorded agents think aloud: several ways to say each thing, so that no two rollouts read alike."""

from random import Random

PHRASES: dict[str, tuple[str, ...]] = {
    "overview": (
        "Let me start by seeing what is in this repository.",
        "First I want an overview of the files before I look for the cause.",
        "I don't know this code base yet. A listing will tell me how it is laid out.",
        "The issue says: {headline}. Before anything else I'll look at the layout of the project.",
        "I'll begin with the directory structure.",
        "To find where this happens I need to know which files there are.",
    ),
    "readme": (
        "The README may say how the pieces fit together.",
        "Let me read the README to understand what the project is for.",
        "Maybe the documentation mentions how this is supposed to work.",
    ),
    "search": (
        "The issue mentions `{term}`. Let me find where that is defined.",
        "I'll search for `{term}` to locate the code in question.",
        "`{term}` looks like the right thing to search for.",
        "Now I want to know where `{term}` is used.",
        "Searching for `{term}` should lead me to the place.",
    ),
    "search-generic": (
        "Let me search for `{term}` and see what turns up.",
        "I'm not sure what to look for, so I'll try `{term}`.",
        "Perhaps something with `{term}` in it is involved.",
        "Let me look more broadly for `{term}`.",
    ),
    "wrong-glob": (
        "Let me find the source files first.",
        "I'll look for the source files of the project.",
        "Let me look for the files that could contain the main logic.",
    ),
    "read": (
        "`{file}` is the place where this should happen. Let me read it.",
        "Let me look at `{file}`.",
        "Now I'll read `{file}` to see how this is implemented.",
        "The relevant code seems to be in `{file}`. I want to see all of it.",
        "I'll examine `{file}` next.",
        "Time to read `{file}` carefully.",
    ),
    "read-again": (
        "Let me look at `{file}` once more to be sure.",
        "I want to see `{file}` again before I decide.",
        "Let me double-check what `{file}` does.",
    ),
    "read-other": (
        "`{file}` might be involved as well.",
        "Let me check `{file}` too, to understand how it is used.",
        "I should also know what `{file}` does.",
        "Let me see if `{file}` has anything to do with it.",
    ),
    "read-test": (
        "The tests show what is expected. Let me read `{file}`.",
        "Let me check the existing tests in `{file}` so that I don't break them.",
        "I'd like to see how this is tested, in `{file}`.",
    ),
    "missing": (
        "There is probably a file with the helper functions. Let me read it.",
        "Let me check `{file}` for the implementation.",
        "I expect the logic to be in `{file}`.",
    ),
    "lost-path": (
        "That path does not exist. Let me list what is really there.",
        "No such file. I should look at the actual names first.",
        "My guess was wrong, so let me see the files.",
    ),
    "run-tests": (
        "Let me run the tests to see what fails.",
        "I'd like to reproduce the problem by running the tests.",
        "Running the test suite should show whether this works.",
    ),
    "no-tests": (
        "The tools to run tests are not installed, so I have to reason from the source.",
        "I can't execute anything here. Back to reading the code.",
        "Right, there is no interpreter in this environment. I'll go on with reading.",
    ),
    "log": (
        "The history may tell when this was introduced.",
        "Let me look at the recent commits.",
        "Let me see what was changed lately.",
    ),
    "edit": (
        "I see the cause now: `{line}` cannot be right. Let me change `{file}`.",
        "This explains the report. `{line}` is where it goes wrong, so I'll fix it in `{file}`.",
        "Found it. It comes down to `{line}`, and the fix belongs in `{file}`.",
        "`{line}` does not do what the issue asks for. I'll correct `{file}`.",
        "So this is the problem: `{line}`. I'll edit `{file}`.",
        "With `{line}` the behaviour in the issue is no surprise. Editing `{file}` now.",
    ),
    "edit-wrong": (
        "I think I can fix this with a small replacement in `{file}`.",
        "A quick change in `{file}` should do.",
        "Let me try to patch `{file}` directly.",
    ),
    "verify": (
        "Let me verify that the change is what I meant.",
        "I'll check the result of the edit.",
        "Let me look at the diff before I finish.",
        "Now I'd better re-read what I changed.",
    ),
    "submit": (
        "The change is in place and matches what the issue asks for. I'm done.",
        "Everything looks right, so I'll submit.",
        "The fix is complete. Submitting.",
        "This resolves the issue; the tests that came with it describe the same behaviour.",
    ),
    "submit-hasty": (
        "That should be enough. Submitting.",
        "I believe this fixes it.",
        "The change is made, let me finish here.",
    ),
    "wander": (
        "Let me look at the directory again to find other candidates.",
        "I may have missed something, so I'll list the files once more.",
        "Still not clear where this comes from. Let me check the structure again.",
    ),
    "size": (
        "Let me see how large these files are.",
        "How much code is there? Counting lines will help me to decide what to read.",
    ),
}
LABEL_SHARE = 0.25


class Prose:
    """Picks phrases for one rollout; a phrase comes again only when its kind has no other left."""

    def __init__(self, chance: Random, headline: str) -> None:
        self._chance = chance
        self._headline = headline
        self._left: dict[str, list[str]] = {}

    def say(self, kind: str, **slots: str) -> str:
        """A thought of that kind; some agents put the label in front, most do not."""
        if not self._left.get(kind):
            self._left[kind] = self._chance.sample(PHRASES[kind], len(PHRASES[kind]))
        text = self._left[kind].pop().format(headline=self._headline, **slots)
        label = "THOUGHT: " if self._chance.random() < LABEL_SHARE else ""
        return label + text
