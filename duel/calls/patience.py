"""How long a call is waited for: learnt from how long its neighbors took."""

from collections import deque
from dataclasses import dataclass, field

# A call that takes this many times what the slowest of the last replies took is hanging; after few replies, twice that.
HANGING = 8.0
# It is shown as hanging from here.
SLOW = 4.0
# Replies that are looked back at, and from how many on they say anything, and say it well.
WINDOW, FEW, ENOUGH = 50, 8, 20


@dataclass
class Patience:
    """The latencies of one model."""

    shortest_s: float = 15.0
    """Nobody is given up sooner: an endpoint, or a busy machine, may well take ten seconds once."""
    _last: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    slowest_s: float = 0.0
    _seen: int = 0

    def answered(self, latency_s: float) -> None:
        self._seen += 1
        dropped = self._last[0] if len(self._last) == WINDOW else 0.0
        self._last.append(latency_s)
        if latency_s >= self.slowest_s:
            self.slowest_s = latency_s
        elif dropped >= self.slowest_s:
            self.slowest_s = max(self._last)

    @property
    def longest_s(self) -> float:
        if len(self._last) < FEW:
            return float("inf")
        return max(self.shortest_s, HANGING * self.slowest_s * (1 if self._seen >= ENOUGH else 2))

    def is_slow(self, age_s: float) -> bool:
        """True if a call of this age has taken far longer than any neighbor."""
        return age_s > max(1.0, SLOW * self.slowest_s) and self._seen > 0
