"""The faults that the stand-in endpoint produces on request, and when.

Whether a request meets a fault depends on the request itself, on how often it was asked before, and on a seed, so that
a run against a faulty endpoint can be repeated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from duel.errors import SettingsError

# name -> what the client sees
KINDS: dict[str, str] = {
    "429": "429 with Retry-After in seconds",
    "429-date": "429 with Retry-After as an HTTP date",
    "429-bare": "429 without Retry-After",
    "400": "400, a request the endpoint refuses",
    "401": "401, as with a wrong key",
    "402": "402, as with no money left",
    "403": "403, as with a key that lacks the right",
    "404": "404, as for an unknown model",
    "408": "408, the server's own timeout",
    "409": "409, a conflict",
    "422": "422, a parameter the endpoint refuses",
    "500": "500",
    "502": "502 with a page of HTML",
    "503": "503, no instances available",
    "reset": "the connection is reset before any byte of the response",
    "truncated": "the body ends half-way",
    "malformed": "200 with a body that is not JSON",
    "error-200": "200 with an error object in place of a completion",
    "sse-error": "an error event in the middle of a stream (not streaming: as error-200)",
    "no-finish": "a stream that ends without a finish reason (not streaming: finish_reason is null)",
    "empty": "empty content",
    "length": "content cut in the middle, finish_reason length",
    "reasoning-length": "content null, all tokens spent on reasoning, finish_reason length",
    "think-only": "nothing behind a closing </think>",
    "tool-tokens": "a reply that starts with leaked tool tokens",
    "several-blocks": "a turn with two bash blocks (judge: two verdicts)",
    "no-block": "a turn without a bash block (judge: no verdict)",
    "unparsable": "prose where a verdict or a turn should be",
    "huge": "a reply of `huge_bytes`",
    "redirect": "307 to another host",
    "slow": "the reply comes `slow_s` late",
    "hang": "no byte for `hang_s`, then the connection closes",
    "stall": "half of the reply, then nothing for `hang_s`",
}


@dataclass(frozen=True)
class Faults:
    """How likely each fault is, and its particulars."""

    probabilities: Mapping[str, float] = field(default_factory=dict)
    """Name in KINDS -> probability; together at most 1."""
    seed: int = 0
    most_per_request: int = 0
    """Faults that one request meets at most before it is answered well; 0: no limit."""
    retry_after_s: float = 1.0
    slow_s: float = 2.0
    hang_s: float = 3600.0
    huge_bytes: int = 64_000_000
    redirect_to: str = "http://127.0.0.2:9/v1/chat/completions"

    def __post_init__(self) -> None:
        for name, probability in self.probabilities.items():
            if name not in KINDS:
                raise SettingsError("unknown fault", value=name, hint=f"known: {', '.join(KINDS)}")
            if not 0 <= probability <= 1:
                raise SettingsError(f"the probability of `{name}` must lie between 0 and 1", value=probability)
        if sum(self.probabilities.values()) > 1 + 1e-9:
            raise SettingsError("the faults' probabilities are more than 1 together")

    def meets(self, key: str, attempt: int, faults_before: int = 0) -> str:
        """The fault that the `attempt`-th asking (0 first) of request `key` meets; "" for none."""
        if not self.probabilities or (self.most_per_request and faults_before >= self.most_per_request):
            return ""
        draw = fraction(str(self.seed), key, str(attempt))
        for name, probability in self.probabilities.items():
            draw -= probability
            if draw < 0:
                return name
        return ""


def fraction(*parts: str) -> float:
    """A number in [0, 1) that depends on `parts` alone."""
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
