"""How many calls one model takes at a time: found while working, from which calls are refused and which are not.

A refusal (429, 503, a timeout) says either "too many at once" or nothing at all: providers refuse at random, too. The
two are told apart by what follows from them:

1. **Growth.** The level starts at 8 and rises by 1.5 with every reply.
2. **Suspicion** is a CUSUM of log-likelihood ratios over the calls in the order in which they were sent: are refusals
   as common as they are here anyway, or more so? (In the order in which they come back refusals would lead: they take
   a millisecond, replies take seconds.)
3. **Count.** At `SUSPICIOUS` nothing more goes out until every call in flight is older than refusals take to come back.
   What then stands is what the endpoint takes, and becomes the level.
4. **Trial.** Had the level been too high, refusals now end. Where they go on, they have nothing to do with the level:
   they become the `background`, the old level returns and growth resumes.
5. **Probing.** A level that held is raised by a twentieth now and then, further each time it succeeds, more seldom each
   time it fails.
6. Where not even a lower level has a single call answered, or a single call in flight is refused, nothing is to be had:
   `exhausted` says so, the lane holds the model back, and afterwards the level doubles from one up to where it was.

Nothing here knows a clock; tests drive it call by call. What it achieves stands in bench/README.md.
"""

import ctypes
import math
from collections.abc import Callable
from inspect import get_annotations

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


class Findings(ctypes.Structure):
    """What is known of a level, numbers alone: they may lie in memory that several processes share."""

    limit: float
    settled_at: float  # up to here the level doubles; above it is probed
    background: float  # share of refusals that have nothing to do with the level
    expected: float  # the share against which refusals are weighed now
    suspicion: float
    exhausted: float  # nothing is to be had; `collapse` ends it
    crowded: float  # nearly all calls beyond those that stood were refused when the level last fell
    next: float  # number of the next call
    epoch: float  # number of the first call sent after the last change of the level
    taken: float  # calls of this epoch that were answered
    refused: float  # … and that were refused
    newest_refused: float
    since: float  # number of the refused call with which suspicion began
    refused_since: float
    full: float  # number of the newest call that filled the level: one that is not used need not grow
    counting: float  # a count is on, and nothing goes out
    standing: float  # calls in flight when it began, less those refused since
    slowest_refusal_s: float
    trial: float  # the level before a fall that waits for its verdict; 0: none does
    before_probe: float
    fruitless: float
    quiet: float
    step: float


Findings._fields_ = [(name, ctypes.c_double) for name in get_annotations(Findings)]


class Level:
    """The level of one provider and model."""

    def __init__(self, cap: int = 0, start: int = START) -> None:
        self.cap = float(min(cap, HIGHEST) if cap else HIGHEST)
        self.in_flight = 0
        self.unsaved = 0  # replies that are not durable yet: they count against the level, a kill would lose them too
        self.known = self.fresh(start)

    def fresh(self, start: int = START) -> Findings:
        known = {"limit": min(float(start), self.cap), "settled_at": self.cap, "newest_refused": -1.0, "full": -1.0}
        return Findings(**known, background=CHANCE, expected=CHANCE, quiet=QUIET_ROUNDS, step=STEP)

    @property
    def limit(self) -> float:
        return self.known.limit

    @property
    def everywhere(self) -> int:
        """Calls in flight, those of neighbors with them."""
        return self.in_flight

    @property
    def free(self) -> bool:
        """True if another call may go out."""
        return not self.known.counting and self.in_flight + self.unsaved < int(self.known.limit)

    def wait(self, dispatch: Callable[[], None]) -> None:
        """Calls wait for this level. One that is found with others calls `dispatch` when theirs may have changed it."""

    def leave(self) -> None: ...  # the run ends

    # -- calls, each by the number that it got when it was sent --------------------------------------------------------

    def sent(self) -> int:
        known, number = self.known, int(self.known.next)
        known.next += 1
        self.in_flight += 1
        if known.counting or self.everywhere + self.unsaved >= int(known.limit):
            known.full = number
        return number

    def failed(self) -> None:
        """A call went wrong in a way that says nothing about the level."""
        self.in_flight -= 1

    def answered(self, number: int) -> None:
        self.in_flight -= 1
        known = self.known
        if number < known.epoch or known.counting:
            return
        known.taken += 1
        known.fruitless = 0
        if known.trial:
            self._judge_trial(number)
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
        self.in_flight -= 1
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
        known.counting = False
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
        known.settled_at, known.exhausted, known.counting = self.cap, False, False
        self._change()

    def collapse(self) -> None:
        """Start again from one call, after the model was held back; double up to where the level was."""
        known, before = self.known, self.known.trial or self.known.limit
        if before > 1:  # else it is held back again, and where the level was is known already
            known.settled_at = max(before, known.settled_at if known.settled_at < self.cap else 1.0)
        known.limit = 1.0
        known.exhausted = known.fruitless = known.counting = False
        self._change()

    def _judge_trial(self, number: int) -> None:
        """One round after the fall: did it help?"""
        known = self.known
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

    def _change(self) -> None:
        """A new epoch begins: what was sent before says nothing about the level from here."""
        known = self.known
        known.epoch = known.since = known.next
        known.taken = known.refused = known.refused_since = known.trial = known.before_probe = known.suspicion = 0
        known.expected = known.background
