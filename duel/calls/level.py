"""How many calls one model takes at a time: found while working, from which calls are refused and which are not.

A refusal (429, 503, a timeout) says either "too many at once" or nothing at all: providers refuse at random, too.

1. **Growth.** The level starts at 8 and rises by 1.5 with every reply.
2. **Suspicion** is a CUSUM of log-likelihood ratios over the calls in the order in which they were sent: are refusals
   as common as they are here anyway, or more so? (In the order in which they come back refusals would lead.)
3. **Count.** At `SUSPICIOUS` nothing more goes out until every call in flight is older than refusals take to come back.
   What then stands is what the endpoint takes, and becomes the level.
4. **Trial.** Had the level been too high, refusals now end. Where they go on, they have nothing to do with the level:
   they become the `background`, the old level returns and growth resumes.
5. **Probing.** A level that held is raised by a twentieth now and then, further each time it succeeds, more seldom each
   time it fails.
6. Where not even a lower level has a single call answered, or a single call in flight is refused, nothing is to be had:
   `exhausted` says so, the lane holds the model back, and afterwards the level doubles from one up to where it was.

Processes of one user find it together, in equal shares (`neighbors`): eight of them misjudge it, each by itself.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path

from duel.calls.neighbors import Findings, LeaseFile, ProcessRow

# With 8 an endpoint that takes 5 refuses 3 of 150 calls; with 1.5 one that takes 200 is full in the 5th of 30 rounds.
START, GROWTH = 8, 1.5
# Above this more calls in flight gain nothing on two cores, and a process may hold 1,024 files on many systems.
HIGHEST = 900
# Share of refusals that is always put down to chance, and the least that is not: between them, at 4 %, suspicion stays.
CHANCE, CROWDED = 0.01, 0.1
# Three refusals on end reach it; at a background of 10 % six do, and chance alone once in about 1,000 calls.
SUSPICIOUS = 6.5
# A background above this is not believed to be chance.
MOST_BACKGROUND = 0.3
# A trial is judged after one round, at least so many calls.
SHORTEST_TRIAL = 20
# A smaller share of refusals after a fall means that it helped.
HELPED = 0.04
# Rounds of quiet before the level is probed; doubled with each probe that fails.
QUIET_ROUNDS, MOST_QUIET_ROUNDS = 4, 64
STEP, BIGGEST_STEP = 0.05, 0.4
# How much longer than refusals took so far the count waits, and the least that it waits.
COUNT_FACTOR, COUNT_S = 1.5, 0.01
# Neighbors look at each other so often, a process alone looks for some so often.
TICK_S, ALONE_S = 0.02, 0.25
# Who has had nothing to send for so long leaves its share to the others.
HUNGRY_S = 1.0
# A count takes far less: whoever was to count has died meanwhile.
COUNTED_S = 1.0
# Where shares differ by one, they change hands so often.
TURN_S = 5.0


class Level:
    """The level of one provider and model, shared with whoever else of this user meets in the file `lease`."""

    def __init__(
        self, cap: int = 0, start: int = START, lease: Path | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.cap = float(min(cap, HIGHEST) if cap else HIGHEST)
        self.unsaved = 0  # replies that are not durable yet: they count against the level, a kill would lose them too
        known = {"limit": min(float(start), self.cap), "settled_at": self.cap, "newest_refused": -1.0, "full": -1.0}
        self.known = Findings(**known, background=CHANCE, expected=CHANCE, quiet=QUIET_ROUNDS, step=STEP)
        self._lease, self._clock = lease, clock
        self._file: LeaseFile | None = None
        self._row = ProcessRow()
        self._alive = [self._row]
        self._joined = self._counting_since = 0.0
        self._wake: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> int:
        return self._row.in_flight

    @property
    def everywhere(self) -> int:
        """Calls in flight, those of neighbors with them."""
        return self.in_flight if len(self._alive) == 1 else sum(row.in_flight for row in self._alive)

    @property
    def free(self) -> bool:
        if self._file is not None:
            self._row.hungry_at = self._clock()
        full = self.in_flight + self.unsaved >= self.share or self.everywhere + self.unsaved >= int(self.known.limit)
        return not (self.known.counting or full)

    @property
    def share(self) -> int:
        """Equal shares for all with work, of the level less what those without still have out."""
        if len(self._alive) == 1:
            return int(self.known.limit)
        now = self._clock()
        hungry = [row for row in self._alive if row is self._row or now - row.hungry_at < HUNGRY_S]
        left = int(self.known.limit) - sum(row.in_flight for row in self._alive if row not in hungry)
        each, over = divmod(max(0, left), len(hungry))
        return each + ((hungry.index(self._row) + int(now / TURN_S)) % len(hungry) < over)

    def wait(self, dispatch: Callable[[], None]) -> None:
        """Have `dispatch` called whenever the share may have grown. The first time this joins the others."""
        self._wake, lease, self._lease = dispatch, self._lease, None
        if lease is not None:
            # No folder to meet in, or too many: each for itself.
            with contextlib.suppress(OSError, ValueError, StopIteration):
                self._join(LeaseFile(lease))
            self._tick()

    def leave(self) -> None:
        if self._file is not None and self._timer is not None:
            self._timer.cancel()
            self._row.beat, self._file = 0.0, None

    def _join(self, file: LeaseFile) -> None:
        self._joined, out = self._clock(), self.in_flight
        self._row = file.join(self._joined, self.known)
        self._row.in_flight = out
        self.known, self._alive, self._file = file.known, file.alive(self._joined), file

    def _tick(self) -> None:
        if self._file is None or self._wake is None:
            return
        now = self._clock()
        # The next tick first: what goes wrong in this one may not be the last that waiting calls hear of.
        every_s = TICK_S if len(self._alive) > 1 else ALONE_S
        self._timer = asyncio.get_running_loop().call_later(every_s, self._tick)
        if self._row.joined != self._joined:  # suspended for so long that the row is another's
            self._join(self._file)
        self._row.beat = now
        self._alive = self._file.alive(now)
        self._counting_since = (self._counting_since or now) if self.known.counting else 0.0
        if self._counting_since and now - self._counting_since > COUNTED_S:
            self.count()
        self._wake()

    def sent(self) -> int:
        known, number = self.known, int(self.known.next)
        known.next += 1
        self._row.in_flight += 1
        if known.counting or self.everywhere + self.unsaved >= int(known.limit):
            known.full = number
        return number

    def failed(self) -> None:
        """A call went wrong in a way that says nothing about the level."""
        self._row.in_flight -= 1

    def answered(self, number: int) -> None:
        self._row.in_flight -= 1
        self.unsaved += 1
        known = self.known
        if number < known.epoch or known.counting:
            return
        known.taken += 1
        known.fruitless = 0
        if known.trial:  # one round after the fall: did it help?
            if number - known.epoch < max(SHORTEST_TRIAL, known.limit):
                return
            share = known.refused / (known.next - known.epoch)
            if share < max(1.5 * known.background, HELPED):
                known.settled_at = known.limit
            elif share <= MOST_BACKGROUND:
                known.background = share
                known.limit, known.settled_at = known.trial, self.cap
            else:
                known.limit = known.settled_at = max(1.0, known.limit * (1 - share))
            self._change()
        elif known.before_probe and number >= known.epoch + known.limit:  # the probe held
            known.settled_at = known.limit
            known.step, known.quiet = min(known.step * 2, BIGGEST_STEP), 1
            self._change()
        elif known.full >= number and known.limit < known.settled_at:
            known.limit = min(known.limit + GROWTH, known.settled_at)
        elif known.full >= number and known.limit < self.cap and known.taken >= known.quiet * known.limit:
            before = known.limit
            known.limit = min(before + max(1, int(before * known.step)), self.cap)
            self._change()
            known.before_probe = before
            # One refusal ends a probe, unless refusals are common here anyway.
            known.suspicion = SUSPICIOUS - 1 if known.background <= CHANCE else 0.0

    def refused(self, number: int, took_s: float) -> float:
        """A call was not taken, which took `took_s` to learn. Where this returns seconds, call `count` after them."""
        self._row.in_flight -= 1
        known = self.known
        known.refused += number >= known.epoch
        known.refused_since += number >= known.since
        if known.counting:
            known.standing -= 1
            return 0.0
        if not self.everywhere and known.limit < 2:
            known.exhausted = True
        if number < known.epoch:
            return 0.0
        known.slowest_refusal_s = max(known.slowest_refusal_s, took_s)
        # Weigh it after the calls between it and the last refused one, which were not refused.
        crowded = max(CROWDED, min(0.9, 3 * known.expected))
        between = max(0, number - max(known.newest_refused + 1, known.epoch))
        known.newest_refused = max(known.newest_refused, number)
        known.suspicion = max(0.0, known.suspicion + between * math.log((1 - crowded) / (1 - known.expected)))
        if not known.suspicion:
            known.since, known.refused_since = number, 1
        known.suspicion += math.log(crowded / known.expected)
        # A trial that has refusals alone to show is judged by no reply: count again.
        alone = known.trial and not known.taken
        if known.suspicion < SUSPICIOUS and not (alone and known.refused >= max(SHORTEST_TRIAL, known.limit)):
            return 0.0
        known.counting, known.standing = True, self.everywhere
        return self.patience_s

    @property
    def patience_s(self) -> float:
        """After so long a call has been taken: refusals come sooner."""
        return COUNT_FACTOR * self.known.slowest_refusal_s + COUNT_S

    def count(self) -> None:
        """Every call in flight is old enough to have been refused if it were to be: fall to what stands."""
        known = self.known
        if not known.counting:
            return
        standing, share = known.standing, known.refused_since / max(1, known.next - known.since)
        known.crowded = share > MOST_BACKGROUND and standing > 0
        if known.before_probe:
            known.limit = known.settled_at = max(1.0, min(known.before_probe, standing))
            self.confirm()
            self._change()
            return
        known.fruitless += bool(known.trial) and not known.taken and known.refused >= known.next - known.epoch
        known.exhausted = known.exhausted or known.fruitless > 1 or not standing
        trial = known.trial or known.limit
        # Past its capacity an endpoint refuses nearly all. A smaller share may be chance: it costs no more than itself.
        taken = standing if share > MOST_BACKGROUND else max(standing, known.limit * (1 - share))
        known.limit = max(1.0, min(taken, known.limit - 1))
        self._change()
        known.trial, known.expected = trial, min(0.85, max(known.background, share))

    def confirm(self, later: int = 2) -> None:
        """A call beyond the level was refused: the next is tried so many times later."""
        self.known.step, self.known.quiet = STEP, min(max(self.known.quiet, QUIET_ROUNDS) * later, MOST_QUIET_ROUNDS)

    def restore(self) -> None:
        """Refusals are a matter of pace: the falls were none."""
        known = self.known
        known.limit = max(known.limit, known.trial)
        known.settled_at, known.exhausted = self.cap, False
        self._change()

    def collapse(self) -> None:
        """Start again from one call, after the model was held back; double up to where the level was."""
        if self._file is not None and self.everywhere:  # a neighbor has calls out: it is this process that has bad luck
            return
        known, before = self.known, self.known.trial or self.known.limit
        if before > 1:  # else it is held back again, and where the level was is known already
            known.settled_at = max(before, known.settled_at if known.settled_at < self.cap else 1.0)
        known.limit = 1.0
        known.exhausted = known.fruitless = False
        self._change()

    def _change(self) -> None:
        """A new epoch begins: what was sent before says nothing about the level from here."""
        known = self.known
        known.epoch = known.since = known.next
        known.counting = False
        known.taken = known.refused = known.refused_since = known.trial = known.before_probe = known.suspicion = 0
        known.expected = known.background
