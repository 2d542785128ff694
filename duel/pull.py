"""The hidden pull request as text: what a challenger is shown, how long it is, and when it is too long to show."""

from duel.history import estimate_tokens
from duel.records import Commit
from duel.settings import Settings

# Half of the context window is left for the conversation, the rules and the reply. Of 39 real pull requests the longest
# took 5,000 tokens, so with the default window of 32,768 only generated files and vendored code are refused.
SHARE_OF_WINDOW = 0.5


def render(commit: Commit) -> str:
    """The pull request as sections of plain, untrusted text: whoever puts it into a prompt fences it."""
    number = f" #{commit.pull_number}" if commit.pull_number is not None else ""
    sections = {
        "Repository": f"{commit.repo}{number}".strip(),
        "Base commit": commit.commit,
        "Issue": commit.issue,
        "Description": commit.description,
        "Files": "\n".join(f"{f.status} {f.path} (+{f.additions} -{f.deletions})" for f in commit.files),
        "Patch": commit.patch,
        "Test patch": commit.test_patch,
    }
    shown = {title: body.strip("\n") for title, body in sections.items() if body.strip()}
    return "\n\n".join(f"## {title}\n\n{body}" for title, body in shown.items())


def tokens(commit: Commit) -> int:
    return estimate_tokens(render(commit))


def token_limit(settings: Settings) -> int:
    """The most tokens that a pull request may take in the challenger's prompt."""
    return int(settings.generate.max_model_len * SHARE_OF_WINDOW)


def is_huge(commit: Commit, settings: Settings) -> bool:
    """True where the pull request is too large for the challenger's prompt; every stage skips it."""
    return tokens(commit) > token_limit(settings)
