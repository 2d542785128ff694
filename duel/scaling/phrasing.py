"""Requests and thoughts in a model's words: names, paths and numbers survive, and a thought knows what was observed.

A thought is asked for with what stands before it and the call behind it; the rest of the row is the hidden side of the
same leak audit that the duel's turns go through. What no retry words well costs the row, for a reason that is counted.
"""

import asyncio
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from duel import calls, chat_tokens, fence, prompts
from duel.audit.leaks import find_leaks
from duel.audit.rarity import Rarity
from duel.bookkeeping import LeftOut
from duel.calls import Ask, Occurrences, Request
from duel.errors import ItemError, require
from duel.records import Commit, Message
from duel.scaling.scaled_rows import ScaledRow
from duel.settings import Settings

LONGEST = 1_500  # characters of a request that is worded anew, and of what a model may say for one
SHOWN = 3_000  # characters of a message that whoever words a thought is shown
_KEPT = re.compile(
    r"`[^`\n]+`|[\w.-]*\w/[\w./-]*\w|\w+(?:_\w+)+|\w*[a-z][A-Z]\w*|(?<![\w.])\d+(?:\.\d+)*(?!\w)"
    r"|[\w-]+\.(?:py|js|ts|tsx|go|rs|java|c|h|sh|md|toml|json|ya?ml|txt)\b"
)
_MANNERS = (
    "terse|polite|in a hurry|with what led up to it|as a newcomer|as a reviewer|lower case|as an order|as a question",
    "under ten words|about fifteen words|about thirty words|two sentences",
)


def names_in(text: str) -> list[str]:
    """What must survive in other words: names of code, paths, numbers, and whatever stands in backticks."""
    return list(dict.fromkeys(found.strip("`") for found in _KEPT.findall(text)))


class TextAsked(NamedTuple):
    """One text that is to be worded: its message, what stands there, and what the words may name."""

    place: int
    request: Request
    kept: Sequence[str]
    known: str
    before: Sequence[Message] = ()
    hidden: Sequence[str] = ()

    def check(self, said: str, leak_max: float, about: str) -> None:
        """Raises ItemError for words that will not do."""
        require(said and len(said) <= LONGEST and "```" not in said, "wording-has-no-form", about)
        require(all(name in said for name in self.kept), "wording-loses-a-name", about)
        require(all(name in self.known for name in names_in(said)), "wording-names-more", about)
        lines = "".join(f"+{line}\n" for text in self.hidden for line in text.splitlines())
        patch = f"--- a/what.follows\n+++ b/what.follows\n@@ -1 +1 @@\n{lines}"
        later = Commit(instance_id=self.request.item, description="\n".join(self.hidden), patch=patch)
        leaks = bool(self.hidden) and find_leaks(said, self.before, later, Rarity(), leak_max).leaking
        require(not leaks, "thought-tells-what-follows", about)


@dataclass
class PhrasedRow:
    """A row that waits for its words; a `Job`. `row` has them once the work is done, and is None where it failed."""

    draft: ScaledRow
    settings: Settings
    wanted: list[TextAsked]
    drops: LeftOut
    row: ScaledRow | None = None
    refused: bool = False

    @property
    def item(self) -> str:
        return self.draft.id

    def requests(self) -> list[Request]:
        return [wanted.request for wanted in self.wanted]

    async def work(self, ask: Ask) -> bool:
        async def one(wanted: TextAsked) -> str:
            def read(reply: str) -> str:
                said = re.sub(r"^[\"“]|[\"”]$", "", reply.strip())
                wanted.check(said, self.settings.audit.leak_max, self.draft.request())
                return said

            return await calls.readable(ask, wanted.request, read, self.settings.generate.format_retries)

        if self.refused:  # in an earlier round
            return False
        try:
            said = await asyncio.gather(*map(one, self.wanted))
        except ItemError as error:
            self.drops.drop(self.item, self.draft.source.name, error.reason, error.what)
            self.refused = True
            return False
        messages = list(self.draft.messages)
        for wanted, words in zip(self.wanted, said, strict=True):
            messages[wanted.place] = messages[wanted.place].model_copy(update={"content": words})
        made = self.draft.made | {"worded": len(said)}
        self.row = self.draft.model_copy(update={"messages": messages, "made": made})
        return True


@dataclass
class Phrasing:
    """Makes the jobs of one run, in the order of the rows, so that equal questions keep their numbers."""

    settings: Settings
    secret: bytes
    drops: LeftOut
    occurrences: Occurrences = field(default_factory=Occurrences)

    def jobs(self, rows: Sequence[ScaledRow]) -> list[PhrasedRow]:
        made = []
        for row in rows:
            try:
                wanted = [*self._requests(row), *(self._thoughts(row) if row.is_executed else ())]
                made.append(PhrasedRow(row, self.settings, wanted, self.drops))
            except ItemError as error:
                self.drops.drop(row.id, row.source.name, error.reason, error.what)
        return made

    def _requests(self, row: ScaledRow) -> Iterator[TextAsked]:
        places = [place for place, message in enumerate(row.messages) if message.role == "user"]
        drafts = row.made.get("asked") or [row.messages[place].content for place in places[:1]]
        for place, draft in zip(places, drafts, strict=False):
            require(len(draft) <= LONGEST, "request-too-long", f"over {LONGEST} characters")
            named = (name for name in row.made.get("names", ()) if name in draft)
            kept = list(dict.fromkeys([*named, *names_in(draft)]))
            drawn = hashlib.sha256(f"{row.id}/{place}".encode()).digest()
            manner = [ways[drawn[at] % len(ways)] for at, ways in enumerate(ways.split("|") for ways in _MANNERS)]
            told = {"kind": str(row.made.get("kind") or "request"), "manner": ", ".join(manner)}
            told["names"] = "\n".join(f"- {name}" for name in kept) or "- (nothing)"
            request = self._asked(row, "word_request", draft, {"draft": ("REQUEST TO WORD", draft)}, **told)
            yield TextAsked(place, request, kept, "\n".join([draft, *kept]))

    def _thoughts(self, row: ScaledRow) -> Iterator[TextAsked]:
        told, acts = [], {}
        for place, message in enumerate(row.messages):  # a message is shown as what was said, called or observed
            if functions := [call["function"] for call in (message.model_extra or {}).get("tool_calls") or ()]:
                acts[place] = functions
            shown = orjson.dumps(functions).decode() if functions else message.content
            told.append(f"[{message.role}]\n{shown[:SHOWN]}")
        for place, functions in acts.items():
            before, call = told[:place], orjson.dumps(functions).decode()
            fenced = {"conversation": ("CONVERSATION", "\n\n".join(before)), "call": ("NEXT CALL", call)}
            request = self._asked(row, "word_thought", "\n".join([*before, call]), fenced)
            seen = [*row.messages[:place], Message(role="assistant", content=call)]
            given = (str(value) for made in functions for value in made["arguments"].values())
            known = "\n".join([*(m.content for m in seen), *before, *given])
            yield TextAsked(place, request, (), known, seen, told[place + 1 :])

    def _asked(
        self, row: ScaledRow, prompt: str, marked: str, fenced: dict[str, tuple[str, str]], **told: str
    ) -> Request:
        """What is asked about a row; nobody else's text leaves its fence, whose nonce comes of `marked`."""
        generate, mark = self.settings.generate, fence.nonce(self.secret, marked)
        shown = {name: fence.fence(title, chat_tokens.broken(text), mark) for name, (title, text) in fenced.items()}
        content = prompts.load(prompt).render(mark=mark, **shown, **told)
        request = Request(
            stage="scale",
            item=row.id,
            model=self.settings.writers("king")[0],
            messages=[{"role": "user", "content": content}],
            max_tokens=generate.max_tokens,
            temperature=1.0,  # the same wish in other words is what is asked for
            thinking=generate.thinking,
            parameters=generate.parameters,
        )
        return self.occurrences.number(request)
