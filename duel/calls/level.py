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

import math
from collections.abc import Callable

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


class Level:
    """The level of one provider and model."""

    def __init__(self, cap: int = 0, start: int = START) -> None:
        self.cap = float(min(cap, HIGHEST) if cap else HIGHEST)
        self.limit = min(float(start), self.cap)
        self.background = CHANCE  # share of refusals that have nothing to do with the level
        self.exhausted = False  # nothing is to be had; `collapse` ends it
        self.unsaved = 0  # replies that are not durable yet: they count against the level, a kill would lose them too
        self.crowded = False  # nearly all calls beyond those that stood were refused when the level last fell
        self.epoch = 0  # number of the first call sent after the last change of the level
        self._flying: set[int] = set()  # numbers of the calls that are out, in the order of sending
        self._next = 0
        self._full = -1  # number of the newest call that filled the level: one that is not used need not grow
        self._settled_at = self.cap  # up to here the level doubles; above it is probed
        self._evidence = _evidence(CHANCE)
        self._suspicion = 0.0
        self._taken = 0  # calls of this epoch that were answered
        self._refused: list[int] = []  # numbers of the calls of this epoch that were refused
        self._newest_refused = -1
        self._since = 0  # number of the refused call with which suspicion began
        self._slowest_refusal_s = 0.0
        self._counting: set[int] | None = None
        self._trial: float | None = None  # the level before a fall that waits for its verdict
        self._before_probe = 0.0
        self._fruitless = 0
        self._quiet = QUIET_ROUNDS
        self._step = STEP

    @property
    def in_flight(self) -> int:
        return len(self._flying)

    @property
    def free(self) -> bool:
        """True if another call may go out."""
        return self._counting is None and len(self._flying) + self.unsaved < int(self.limit)

    def wait(self, dispatch: Callable[[], None]) -> None:
        """Calls wait for this level. One that is found with others calls `dispatch` when theirs may have changed it."""

    def leave(self) -> None: ...  # the run ends

    def sent(self) -> int:
        number, self._next = self._next, self._next + 1
        self._flying.add(number)
        if self._counting is not None or len(self._flying) + self.unsaved >= int(self.limit):
            self._full = number
        return number

    def failed(self, number: int) -> None:
        """A call went wrong in a way that says nothing about the level."""
        self._flying.discard(number)

    def is_out(self, number: int) -> bool:
        return number in self._flying

    @property
    def patience_s(self) -> float:
        """After so long a call has been taken: refusals come sooner."""
        return COUNT_FACTOR * self._slowest_refusal_s + COUNT_S

    def restore(self) -> None:
        """Refusals are a matter of pace: the falls were none."""
        self.limit = max(self.limit, self._trial or 1.0)
        self._settled_at, self.exhausted, self._counting = self.cap, False, None
        self._change()

    def answered(self, number: int) -> None:
        self._flying.discard(number)
        if number < self.epoch or self._counting is not None:
            return
        self._taken += 1
        self._fruitless = 0
        if self._trial is not None:
            self._judge_trial(self._trial, number)
        elif self._before_probe and number >= self.epoch + self.limit:  # the probe held
            self._settled_at = self.limit
            self._step, self._quiet = min(self._step * 2, BIGGEST_STEP), 1
            self._change()
        elif self._full >= number and self.limit < self._settled_at:
            self.limit = min(self.limit + GROWTH, self._settled_at)
        elif self._full >= number and self.limit < self.cap and self._taken >= self._quiet * self.limit:
            before = self.limit
            self.limit = min(before + max(1, int(before * self._step)), self.cap)
            self._change()
            self._before_probe = before
            # One refusal ends a probe, unless refusals are common here anyway.
            self._suspicion = SUSPICIOUS - 1 if self.background <= CHANCE else 0.0

    def refused(self, number: int, took_s: float) -> float:
        """A call was not taken, which took `took_s` to learn. Where this returns seconds, call `count` after them."""
        self._flying.discard(number)
        if self._counting is not None:
            self._counting.discard(number)
            self._refused.append(number)
            return 0.0
        if not self._flying and self.limit < 2:
            self.exhausted = True
        if number < self.epoch:
            return 0.0
        self._slowest_refusal_s = max(self._slowest_refusal_s, took_s)
        # Weigh it after the calls between it and the last refused one, which were not refused.
        between = max(0, number - max(self._newest_refused + 1, self.epoch))
        self._newest_refused = max(self._newest_refused, number)
        self._suspicion = max(0.0, self._suspicion + between * self._evidence[False])
        if not self._suspicion:
            self._since = number
        self._suspicion += self._evidence[True]
        self._refused.append(number)
        # A trial that has refusals alone to show is judged by no reply: count again.
        alone = self._trial is not None and not self._taken
        if self._suspicion < SUSPICIOUS and not (alone and len(self._refused) >= max(SHORTEST_TRIAL, self.limit)):
            return 0.0
        self._counting = set(self._flying)
        return self.patience_s

    def count(self) -> None:
        """Every call in flight is old enough to have been refused if it were to be: fall to what stands."""
        if self._counting is None:
            return
        standing, survivors = float(len(self._counting)), sum(number >= self.epoch for number in self._counting)
        self._counting = None
        share = self._share(self._since, self._next)
        self.crowded = share > MOST_BACKGROUND and standing > 0
        if self._before_probe:
            self.limit = self._settled_at = max(1.0, min(self._before_probe, standing))
            self.confirm()
            self._change()
            return
        self._fruitless += not self._taken and not survivors and self._trial is not None
        self.exhausted = self.exhausted or self._fruitless > 1 or not standing
        trial = self._trial or self.limit
        # Past its capacity an endpoint refuses nearly all. A smaller share may be chance: it costs no more than itself.
        taken = standing if share > MOST_BACKGROUND else max(standing, self.limit * (1 - share))
        self.limit = max(1.0, min(taken, self.limit - 1))
        self._change()
        self._trial = trial
        self._evidence = _evidence(max(self.background, share))

    def confirm(self, later: int = 2) -> None:
        """A call beyond the level was refused: the next is tried so many times later."""
        self._step, self._quiet = STEP, min(max(self._quiet, QUIET_ROUNDS) * later, MOST_QUIET_ROUNDS)

    def collapse(self) -> None:
        """Start again from one call, after the model was held back; double up to where the level was."""
        before = self._trial or self.limit
        if before > 1:  # else it is held back again, and where the level was is known already
            self._settled_at = max(before, self._settled_at if self._settled_at < self.cap else 1.0)
        self.limit = 1.0
        self.exhausted, self._fruitless, self._counting = False, 0, None
        self._change()

    def _judge_trial(self, trial: float, number: int) -> None:
        """One round after the fall: did it help?"""
        if number - self.epoch < max(SHORTEST_TRIAL, self.limit):
            return
        share = self._share(self.epoch, number)
        if share < max(1.5 * self.background, HELPED):
            self._settled_at = self.limit
        elif share <= MOST_BACKGROUND:
            self.background = share
            self.limit, self._settled_at = trial, self.cap
        else:
            self.limit = self._settled_at = max(1.0, self.limit * (1 - share))
        self._change()

    def _change(self) -> None:
        """A new epoch begins: what was sent before says nothing about the level from here."""
        self.epoch, self._taken = self._next, 0
        self._trial, self._before_probe = None, 0.0
        self._evidence, self._suspicion = _evidence(self.background), 0.0
        self._refused.clear()

    def _share(self, first: int, end: int) -> float:
        return sum(first <= number < end for number in self._refused) / max(1, end - first)


def _evidence(background: float) -> dict[bool, float]:
    """What a refusal (True) and a reply (False) add to the suspicion."""
    background = min(background, 0.85)
    crowded = max(CROWDED, min(0.9, 3 * background))
    return {True: math.log(crowded / background), False: math.log((1 - crowded) / (1 - background))}
