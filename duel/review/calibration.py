"""What people's votes make of the panel's verdict: the corrected margin and its bound, where it errs, who votes how.

With `[review] weight = "require"` the gate speaks of people's estimate in place of the panel's.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from duel.judging.bounds import Units
from duel.judging.gate import at_least
from duel.judging.scoring import Columns, Flags, VoteTable
from duel.judging.statistics import Floats, krippendorff_alpha, mean, same_winner, student_quantile, winner
from duel.judging.verdict_figures.certainty import thresholds
from duel.records import Gate, Score, Verdict
from duel.records.decision import Decision
from duel.records.votes import Disagreement, People, PeopleFigure, PersonVote, RaterFigures, ScoreBucketRow
from duel.reporting.wording import shorten
from duel.review import estimator
from duel.review.estimator import Phases, agreed_thresholds
from duel.settings import Settings


class Labeled:
    """T parsed turns, J judges, R people, D dimensions. Values are from the challenger's side, 0, 0.5 or 1."""

    def __init__(self, scores: Sequence[Score], votes: Iterable[PersonVote], settings: Settings) -> None:
        """Line up the newest vote of each showing with the turns of `scores`; what does not count is counted by reason.

        A vote counts when it was drawn, has all dimensions, and is on the very texts that the panel judged, under
        whatever name: a new draw may rename a turn.
        """
        self.scores = parsed = [score for score in scores if score.parsed]
        self.place = place = {score.file: row for row, score in enumerate(parsed)}
        dimensions = settings.judge.dimensions
        found = _by_use(parsed, votes, dimensions)
        self.first, self.repeats, self.skips = found.pop("first"), found.pop("repeats"), found["skipped"]
        self.set_aside = +Counter({why: len(several) for why, several in found.items()})
        self.raters = sorted({vote.rater for vote in self.first})
        said = np.full((len(parsed), len(self.raters), len(dimensions)), np.nan)
        chance = np.zeros(len(parsed))
        for vote in self.first:
            row = place[vote.item]
            said[row, self.raters.index(vote.rater)] = vote.on(dimensions)
            # Whoever came later drew from a longer sample: the turn's chance is that of the longest.
            chance[row] = max(chance[row], vote.drawn.probability if vote.drawn else 0.0)
        table = VoteTable(columns := Columns.by_panel(parsed, settings), settings)
        # Repositories where they are asked for, or where enough of them have a label; else pull requests.
        repositories, by = Units.of(columns, chance > 0, "repo"), settings.duel.cluster_by
        by_repository = by == "repo" or (by == "auto" and repositories.count >= settings.review.labels_min)
        # (T,): what each turn is dependent on
        self.clusters = repositories.codes if by_repository else columns.instances.astype(np.str_)
        metrics = [[score.metrics.get(name) for name in dimensions] for score in parsed]
        self.judges, self.dimensions, self.keys = columns.judges, dimensions, table.keys
        self.judged = table.turn_values - 0.5  # (T, J): each judge's delta, NaN where it does not count
        self.panel = np.array([score.delta for score in parsed], dtype=np.float64)  # (T,): its delta
        self.panel_by_metric = np.array(metrics, dtype=np.float64).reshape(-1, len(dimensions)) / 100
        self.said = said  # (T, R, D), NaN where a person has not voted; repeats are left out
        self.chance = np.where(chance == 0, 1.0, chance)  # (T,): of being drawn; 1 where nobody voted
        self.by_person = np.asarray(said[:, :, self.keys].mean(2) - 0.5)  # (T, R): each person's delta
        self.people = mean(self.by_person, axis=1)  # (T,): the mean delta over people, NaN without a vote


def _by_use(
    parsed: Sequence[Score], votes: Iterable[PersonVote], dimensions: Sequence[str]
) -> dict[str, list[PersonVote]]:
    """The newest vote of each showing: those that count, those on repeats, and the others by why they do not count."""
    texts = {score.file: score.made_with.get("candidates", "") for score in parsed}
    named = {pair: file for file, pair in texts.items() if pair}
    last: dict[tuple[str, str, str, bool], PersonVote] = {}
    for vote in votes:
        same = texts.get(vote.item) in ("", vote.pair)
        item = vote.item if same else named.get(vote.pair, vote.item)
        showing = (vote.judge, item, vote.pair, vote.repeat)
        if showing not in last or vote.at >= last[showing].at:
            last[showing] = vote if same else vote.model_copy(update={"item": item})
    found: dict[str, list[PersonVote]] = {"first": [], "repeats": [], "skipped": []}
    for vote in last.values():
        faults = {
            "skipped": bool(vote.skipped) or vote.values is None,
            "browsed": vote.drawn is None,
            "not-judged": vote.item not in texts,
            "texts-changed": texts.get(vote.item) not in ("", vote.pair),
            "other-dimensions": vote.on(dimensions) is None,
        }
        counted = "repeats" if vote.repeat else "first"
        found.setdefault(next((why for why, holds in faults.items() if holds), counted), []).append(vote)
    return found


MARGIN = 200  # points of margin a unit of delta
LEADS = (10.0, 5.0, 2.5, 1.0)  # score points for which the labels needed are told
FEWEST_FOR_SPREAD, DIFFERENCES, LONGEST_WORDS = 10, 10, 400
RATERS_FOR_PEOPLE = 3  # from here on the differences between raters can be told apart from chance


def calibrate(scores: Sequence[Score], votes: Iterable[PersonVote], settings: Settings) -> People:
    """Everything that people's `votes` say of the turns in `scores` and of the panel that judged them.

    A pure function of its arguments: no file, no clock. Under `[review] labels_min` labeled pull requests the decision
    is `undecided`; figures that cannot be computed are None.
    """
    labeled = Labeled(scores, votes, settings)
    panel, people, raters = labeled.panel, labeled.people, len(labeled.raters)
    phases = Phases.of(panel, people, labeled.chance, labeled.clusters)
    spread = phases.residual_sd() if phases.labels >= FEWEST_FOR_SPREAD else estimator.RESIDUAL_SD
    scope = f"for these {raters} raters; `lcb_raters` is the bound for people like them"
    if raters < RATERS_FOR_PEOPLE:
        scope = f"for {'this rater' if raters == 1 else 'these two raters'} only; three or more speak for others"
    known: dict[str, Any] = {"labels": phases.labels, "clusters": phases.labeled_clusters, "raters": raters}
    known |= {"scope": scope if raters else "nobody has voted"}
    known |= {"panel_margin": MARGIN * panel.mean() if len(panel) else None}
    known |= {"labels_needed": {f"{lead:g}": estimator.labels_needed(lead, spread) for lead in LEADS}}
    known |= {"set_aside": dict(sorted(labeled.set_aside.items()))}
    if not phases.labels:
        return People(**known)
    alpha, report, said = settings.duel.gate_alpha, settings.report, labeled.said
    lcb, bias, mean_of_people = phases.lower(alpha), phases.bias(), phases.people()
    undecided = phases.labeled_clusters < settings.review.labels_min or math.isnan(lcb)
    known |= {"decision": "undecided" if undecided else "ahead" if lcb > 0 else "not-shown", "lcb": lcb}
    known |= {"margin": MARGIN * mean_of_people.mean, "margin_alone": MARGIN * phases.people(0.0).mean}
    known |= {"lcb_alone": phases.lower(alpha, slope=0.0), "slope": mean_of_people.slope}
    known |= {"lcb_raters": rater_bound(labeled.by_person, panel, labeled.chance, phases, alpha)}
    known |= {"bias": MARGIN * bias.mean, "bias_error": MARGIN * bias.half_width()}
    preferred, points = winner(people + 0.5), 100 * (panel + 0.5)
    won = np.where(np.isnan(people), np.nan, preferred > 0)
    final, lost, every = points >= report.final_min, points < report.defeat_min, np.ones(len(points), dtype=bool)
    buckets = {"final": final, "refined": ~lost & ~final, "defeat": lost}
    by_metric = zip(labeled.dimensions, (labeled.panel_by_metric - 0.5).T, (mean(said, axis=1) - 0.5).T, strict=True)
    agreement = {name: krippendorff_alpha(said[:, :, i]) for i, name in enumerate(labeled.dimensions)}
    agreement["total"] = krippendorff_alpha(winner(labeled.by_person + 0.5))
    # Within a bucket the panel hardly differs, so that agreement beyond chance says nothing.
    by_bucket = [_figure(labeled, name, panel, people, among) for name, among in buckets.items()]
    return People(
        **known,
        by_judge=[_figure(labeled, name, labeled.judged[:, i], people, every) for i, name in enumerate(labeled.judges)],
        by_metric=[_figure(labeled, name, of_panel, of_people, every) for name, of_panel, of_people in by_metric],
        by_bucket=[figure.model_copy(update={"alpha": None}) for figure in by_bucket],
        agreement=agreement,
        by_rater=[_rater(labeled, number, name) for number, name in enumerate(labeled.raters)],
        confusion=_confusion(points, preferred, settings),
        final_min=agreed_thresholds(points, won, 1 / labeled.chance, alpha),
        differ=_differ(labeled),
    )


def rater_bound(by_person: Floats, panel: Floats, chance: Floats, phases: Phases, alpha: float) -> float | None:
    """The bound with what raters differ by in it: the spread of their mean residuals over R, t with R - 1 degrees.

    `by_person` (T, R) are people's deltas. With three to eight raters whose leans differ by 4 points (sd) the bound
    without it holds in 85 to 91 % of cases where 95 % are promised, with it in 96 % (`bench/people.py --raters`).
    """
    raters = by_person.shape[1]
    if raters < RATERS_FOR_PEOPLE:
        return None
    people = phases.people()
    weight = np.where(np.isfinite(by_person), 1 / chance[:, None], 0.0)
    residual = np.nan_to_num(by_person - people.slope * panel[:, None])
    leans = (weight * residual).sum(0) / weight.sum(0)
    error = math.hypot(float(leans.std(ddof=1)) / math.sqrt(raters), people.slope * phases.panel_error())
    freedom = min(people.freedom, raters - 1)
    return min(people.mean - student_quantile(1 - alpha, freedom) * error, phases.lower(alpha))


def _figure(labeled: Labeled, name: str, panel: Floats, people: Floats, among: Flags) -> PeopleFigure:
    """Panel against people over those turns `among` all that have a panel's delta."""
    there = np.isfinite(panel) & among
    panel, people = panel[there], people[there]
    phases = Phases.of(panel, people, labeled.chance[there], labeled.clusters[there])
    if phases.labels < 3:
        return PeopleFigure(name=name, labels=phases.labels)
    bias, both = phases.bias(), winner(np.stack([panel, people], axis=1) + 0.5)
    told = {"panel": MARGIN * panel.mean(), "people": MARGIN * phases.people().mean, "bias": MARGIN * bias.mean}
    told |= {"agreement": same_winner(panel + 0.5, people + 0.5), "alpha": krippendorff_alpha(both)}
    return PeopleFigure(name=name, labels=phases.labels, error=MARGIN * bias.half_width(), **told)


def _confusion(points: Floats, preferred: Floats, settings: Settings) -> list[ScoreBucketRow]:
    """What people preferred, by bands of the panel's score: the two thresholds and their mirror images."""
    high, low = settings.report.final_min, settings.report.defeat_min
    rows = []
    for start, end in pairwise([0.0, *sorted({100 - high, 100 - low, low, high}), 100.0]):
        inside = preferred[(points >= start) & ((points < end) | (end == 100))]
        leans = {name: int((inside == lean).sum()) for name, lean in (("challenger", 1), ("tie", 0), ("opponent", -1))}
        rows.append(ScoreBucketRow(band=f"{start:g} to {end:g}", **leans))
    return rows[::-1]


def _differ(labeled: Labeled) -> list[Disagreement]:
    """The turns on which panel and people are furthest apart, with the first reason of each judge and all of people."""
    apart = np.nan_to_num(np.abs(labeled.panel - labeled.people), nan=-1.0)
    found = []
    for row in (row for row in np.argsort(-apart, kind="stable")[:DIFFERENCES] if apart[row] > 0):
        score, judges = labeled.scores[row], dict[str, str]()
        for cast in (cast for cast in score.votes if cast.reason):
            judges.setdefault(cast.judge, f"{cast.judge}: {cast.reason}")
        people = [f"{vote.rater}: {vote.reason}" for vote in labeled.first if vote.item == score.file and vote.reason]
        told: dict[str, Any] = {"panel": MARGIN * labeled.panel[row], "people": MARGIN * labeled.people[row]}
        told |= {"panel_reason": shorten("\n".join(judges.values()), LONGEST_WORDS)}
        told |= {"people_reason": shorten("\n".join(people), LONGEST_WORDS)}
        found.append(Disagreement(item=score.file, **told))
    return found


def _rater(labeled: Labeled, number: int, name: str) -> RaterFigures:
    own = [vote for vote in labeled.first if vote.rater == name]  # at least one: that makes a rater
    deltas = labeled.by_person[:, number]
    preferred = winner(deltas[[labeled.place[vote.item] for vote in own]] + 0.5)
    side, decided = np.array([1.0 if vote.order == "challenger_first" else -1.0 for vote in own]), preferred != 0
    again = [vote for vote in labeled.repeats if vote.rater == name]
    first = deltas[[labeled.place[vote.item] for vote in again]] + 0.5
    second = np.array([np.array(vote.on(labeled.dimensions))[labeled.keys].mean() for vote in again])
    told: dict[str, Any] = {"votes": len(own), "skipped": sum(vote.rater == name for vote in labeled.skips)}
    told |= {"repeats": int(np.isfinite(first).sum()), "self_agreement": same_winner(first, second)}
    told |= {"median_seconds": np.median([vote.seconds for vote in own]), "ties": np.mean(~decided)}
    told |= {"first_shown": np.mean((preferred * side > 0)[decided]) if decided.any() else None}
    return RaterFigures(rater=name, with_panel=same_winner(deltas + 0.5, labeled.panel + 0.5), **told)


def weighed(verdict: Verdict, people: People, settings: Settings, scores: Floats | None = None) -> Verdict:
    """`verdict` with `people` in it, as `[review] weight` asks; `scores` (T,) are the panel's, for the what-if table.

    With "require" margin, bound and the bound with the missing votes made good are all people's: a challenger is
    accepted only where they hold, and the decision is `undecided` under `labels_min` labeled pull requests.
    """
    weight = settings.review.weight
    if weight == "none" or (weight == "report" and not people.labels):
        return verdict
    what_if = verdict.what_if
    wished = [row.final_min for row in people.final_min if row.final_min is not None]
    if scores is not None and wished:  # a row for every `final_min` that people's votes support
        what_if = what_if.model_copy(update={"thresholds": thresholds(scores, settings, wished)})
    found = verdict.model_copy(update={"people": people, "what_if": what_if})
    if weight != "require":
        return found

    def decided(gates: list[Gate]) -> Decision:
        if all(gate.held for gate in gates):
            return "accepted"
        few = any(gate.name == "clusters" and not gate.held for gate in gates)
        return "undecided" if few or people.decision == "undecided" else "rejected"

    gates = _gates_at(verdict, people, settings, settings.duel.win_margin)
    margins = [
        row.model_copy(update={"decision": decided(_gates_at(verdict, people, settings, row.win_margin))})
        for row in what_if.margins
    ]
    told: dict[str, Any] = {"gates": gates, "decision": decided(gates), "accepted": decided(gates) == "accepted"}
    told |= {"why": [*_told(people, gates), *(f"By the panel alone: {sentence}" for sentence in verdict.why)]}
    return found.model_copy(update=told | {"what_if": what_if.model_copy(update={"margins": margins})})


def _gates_at(verdict: Verdict, people: People, settings: Settings, win_margin: float) -> list[Gate]:
    """The verdict's gates with those on the panel's margin and bounds replaced by people's."""
    missing, panel = people.lcb, verdict.missing.lcb if verdict.missing else None
    if missing is not None and panel is not None and verdict.lcb is not None:
        # It rests on parsed turns like the panel's, and so it loses what the missing votes take from that.
        missing += min(0.0, panel - verdict.lcb)
    reach = win_margin / MARGIN if settings.duel.margin_bound else 0.0
    above = math.inf if people.decision == "undecided" else 0.0  # no bound holds where nothing is decided
    own = {
        "margin": at_least("people_margin", people.margin, win_margin),
        "lcb": at_least("people_lcb", people.lcb, reach, above),
        "missing_votes": at_least("people_missing", missing, 0.0, above),
    }
    return [own.get(gate.name, gate) for gate in verdict.gates]


def _told(people: People, gates: list[Gate]) -> list[str]:
    if people.decision == "undecided":
        return [f"People have voted on {people.clusters} pull requests, too few to decide on."]
    if people.decision != "ahead":
        return ["People's votes do not show that the challenger is ahead."]
    failed = {
        "people_margin": "The margin by people's votes is under the one that is asked for.",
        "people_missing": "With the missing votes made good, people's bound is not above 0.",
    }
    told = [failed[gate.name] for gate in gates if gate.name in failed and not gate.held]
    return ["People's votes show that the challenger is ahead.", *told]
