"""What a rule can see in a conversation: the issue's words, the paths and the commands that have appeared so far."""

import hashlib
import re
from collections import Counter

from duel import turn, wordlists

ENDINGS = (
    "py|pyi|js|jsx|mjs|ts|tsx|go|rs|c|h|cc|cpp|hpp|java|kt|rb|php|cs|scala|sh|lua|ex|md|rst|txt|toml|cfg|json|ya?ml"
)
_PATH = re.compile(
    rf"(?<![\w/.~@+-])(?:\.{{1,2}}/|/)?(?:[\w@+-]+/|\.[\w-]+/)*[\w@+.-]*\w\.(?:{ENDINGS})\b(?!\(|/|\.\w)"
)
_ISSUE_START = re.compile(r"^(?:#+ *issue|<pr_description>|<issue>|\**issue\b.*)$", re.IGNORECASE | re.MULTILINE)
_ISSUE_END = re.compile(r"^(?:- )?(?:Base commit:|</pr_description>|</issue>|```bash$)", re.IGNORECASE | re.MULTILINE)
_ISSUE_CHARACTERS = 4000
_CODE_WORD = re.compile(
    r"`([A-Za-z_][\w.]{2,40})(?:\(.*?\))?`|\b([A-Za-z]+_\w{2,}|[a-z]+[A-Z]\w+|[A-Z][a-z]+[A-Z]\w+)\b"
)
_WORD = re.compile(r"[A-Za-z]{4,}")
_FAILED = re.compile(r"No such file or directory|command not found|can't read|invalid option|syntax error")


class ShownConversation:
    """`words`: the issue's telling words, those that it repeats first; `paths`: shown paths, with how often (what the
    agent itself typed does not count); `read`: paths that its `commands` name.
    """

    def __init__(self, text: str) -> None:
        self.text, self.commands = text, turn.blocks(text)
        start = _ISSUE_START.search(text)
        begin = start.end() if start else 0
        end = _ISSUE_END.search(text, begin)
        self.issue = text[begin : min(end.start() if end else len(text), begin + _ISSUE_CHARACTERS)]
        named = (a or b for a, b in _CODE_WORD.findall(self.issue))
        names = (name.rpartition(".")[2] for name in named if "." not in name or name[0].isalpha())
        self.code_words = list(dict.fromkeys(names))
        plain = {word for line in wordlists.toml(__package__, "plain_words")["in every issue"] for word in line.split()}
        counts = Counter(word for word in _WORD.findall(self.issue) if word.lower() not in plain)
        self.words = [word for word, _ in counts.most_common()]
        head, block, printed = text.rpartition("\n```\n")
        self.failed = bool(block and self.commands and head and _FAILED.search(printed[:400]))
        self.paths = Counter(path for path in paths_in(turn.BLOCK.sub(" ", text)) if path)
        self.read = {path for command in self.commands for path in paths_in(command)}

    def relevance(self, path: str) -> float:
        """How much a path has to do with the issue, as far as its name and the searches tell."""
        stem = path.rpartition("/")[2].partition(".")[0].lower()
        score = 2.0 * (stem in self.issue.lower()) + 0.5 * min(self.paths[path], 6)
        words = {word.lower() for word in [*self.code_words, *self.words[:12]]}
        score += sum(1.0 for word in words if len(stem) > 2 and (stem in word or word in stem))
        if re.search(r"test|spec", path):
            score -= 1.5
        if re.search(r"\.(md|toml|json|txt|rst|cfg|ya?ml)$", path):
            score -= 2.5
        return score


def paths_in(text: str) -> list[str]:
    return [clean(match[0]) for match in _PATH.finditer(text)]


def clean(path: str) -> str:
    return re.sub(r"^(?:\./|[ab]/(?=\w))", "", path)


def fraction(*parts: str) -> float:
    """A number in [0, 1) that depends on `parts` alone."""
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def fence_of(*labels: str) -> re.Pattern[str]:
    """What `duel.fence` puts around a text with one of these labels: label, mark, text."""
    return re.compile(rf"^=== ({'|'.join(labels)}) (\w+) ===\n(.*?)\n=== END OF \1 \2 ===$", re.MULTILINE | re.DOTALL)
