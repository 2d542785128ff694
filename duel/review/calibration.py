"""What people's votes make of the panel's verdict: the corrected margin and its bound, where it errs, who votes how."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from duel.judging.agreement import krippendorff_alpha, same_winner, winner
from duel.judging.scoring import mean
from duel.judging.statistics import finite
from duel.records import DIMENSIONS, Score
from duel.records.people import Disagreement, People, PeopleFigure, PersonVote, RaterFigures, ScoreBucketRow
from duel.reporting.text import shorten
from duel.review import estimator
from duel.review.estimator import Phases, agreed_thresholds
from duel.review.labeled import Labeled
from duel.settings import Settings

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MARGIN = 200  # points of margin a unit of delta
LEADS = (10.0, 5.0, 2.5, 1.0)  # score points for which the labels needed are told
FEWEST_FOR_SPREAD = 10
DIFFERENCES = 10
LONGEST_WORDS = 400
RATERS_FOR_PEOPLE = 3  # from here on the differences between raters can be told apart from chance


def calibrate(scores: Sequence[Score], votes: Iterable[PersonVote], settings: Settings) -> People:
    """Everything that people's `votes` say of the turns in `scores` and of the panel that judged them.

    A pure function of its arguments: no file, no clock. Under `[review] labels_min` labeled pull requests the decision
    is `undecided`; figures that cannot be computed are None.
    """
    labeled = Labeled.of(scores, votes, settings)
    phases = Phases.of(labeled.panel, labeled.people, labeled.chance, labeled.clusters)
    spread = phases.residual_sd() if phases.labels >= FEWEST_FOR_SPREAD else estimator.RESIDUAL_SD
    found = People(
        labels=phases.labels,
        clusters=phases.labeled_clusters,
        raters=len(labeled.raters),
        scope=scope(len(labeled.raters)),
        panel_margin=finite(MARGIN * labeled.panel.mean()) if len(labeled.panel) else None,
        labels_needed={f"{lead:g}": estimator.labels_needed(lead, spread) for lead in LEADS},
        set_aside=dict(sorted(labeled.set_aside.items())),
    )
    if not phases.labels:
        return found
    alpha = settings.duel.gate_alpha
    lcb, bias, mean_of_people = finite(phases.lower(alpha)), phases.bias(), phases.people()
    people, people_by_metric = labeled.people, mean(labeled.said, axis=1)
    won = np.where(np.isnan(people), np.nan, winner(people + 0.5) > 0)
    points, report = 100 * (labeled.panel + 0.5), settings.report
    buckets = {
        "final": points >= report.final_min,
        "refined": (points >= report.defeat_min) & (points < report.final_min),
        "defeat": points < report.defeat_min,
    }
    by_bucket = [_figure(labeled, name, labeled.panel, people, among) for name, among in buckets.items()]
    agreement = {name: finite(krippendorff_alpha(labeled.said[:, :, i])) for i, name in enumerate(DIMENSIONS)}
    enough = phases.labeled_clusters >= settings.review.labels_min
    return found.model_copy(
        update={
            "decision": "undecided" if not enough or lcb is None else "ahead" if lcb > 0 else "not-shown",
            "margin": finite(MARGIN * mean_of_people.mean),
            "lcb": lcb,
            "margin_alone": finite(MARGIN * phases.people(0.0).mean),
            "lcb_alone": finite(phases.lower(alpha, slope=0.0)),
            "lcb_raters": rater_bound(labeled, phases, alpha),
            "slope": mean_of_people.slope,
            "bias": finite(MARGIN * bias.mean),
            "bias_error": finite(MARGIN * bias.half_width()),
            "by_judge": [_figure(labeled, name, labeled.judged[:, i], people) for i, name in enumerate(labeled.judges)],
            "by_metric": [
                _figure(labeled, name, labeled.panel_by_metric[:, i] - 0.5, people_by_metric[:, i] - 0.5)
                for i, name in enumerate(DIMENSIONS)
            ],
            # Within a bucket the panel hardly differs, so that agreement beyond chance says nothing.
            "by_bucket": [row.model_copy(update={"alpha": None}) for row in by_bucket],
            "agreement": agreement | {"total": finite(krippendorff_alpha(winner(labeled.by_person + 0.5)))},
            "by_rater": [_rater(labeled, number, name) for number, name in enumerate(labeled.raters)],
            "confusion": _confusion(labeled, settings),
            "final_min": agreed_thresholds(points, won, 1 / labeled.chance, alpha),
            "differ": _differ(labeled),
        }
    )


def scope(raters: int) -> str:
    if not raters:
        return "nobody has voted"
    if raters < RATERS_FOR_PEOPLE:
        return f"for {'this rater' if raters == 1 else 'these two raters'} only; three or more speak for others"
    return f"for these {raters} raters; `lcb_raters` is the bound for people like them"


def rater_bound(labeled: Labeled, phases: Phases, alpha: float) -> float | None:
    """The bound with what raters differ by in it: the spread of their mean residuals over R, t with R - 1 degrees.

    With three to eight raters whose leans differ by 4 points (sd) the bound without it holds in 85 to 91 % of cases
    where 95 % are promised, with it in 96 % (`bench/people.py --raters`).
    """
    raters = len(labeled.raters)
    if raters < RATERS_FOR_PEOPLE:
        return None
    people = phases.people()
    weight = np.where(np.isfinite(labeled.by_person), 1 / labeled.chance[:, None], 0.0)
    residual = np.nan_to_num(labeled.by_person - people.slope * labeled.panel[:, None])
    leans = (weight * residual).sum(0) / weight.sum(0)
    error = math.hypot(float(leans.std(ddof=1)) / math.sqrt(raters), people.slope * phases.panel_error())
    freedom = min(people.freedom, raters - 1)
    return finite(min(people.mean - estimator.quantile(1 - alpha, freedom) * error, phases.lower(alpha)))


def _figure(labeled: Labeled, name: str, panel: Floats, people: Floats, among: Flags | None = None) -> PeopleFigure:
    """Panel against people over the turns that have a panel's delta, or those of them that are `among`."""
    there = np.isfinite(panel) if among is None else np.isfinite(panel) & among
    phases = Phases.of(panel[there], people[there], labeled.chance[there], labeled.clusters[there])
    found = PeopleFigure(name=name, labels=phases.labels)
    if phases.labels < 3:
        return found
    bias = phases.bias()
    ours, theirs = winner(panel[there] + 0.5), winner(people[there] + 0.5)
    return found.model_copy(
        update={
            "panel": finite(MARGIN * panel[there].mean()),
            "people": finite(MARGIN * phases.people().mean),
            "bias": finite(MARGIN * bias.mean),
            "error": finite(MARGIN * bias.half_width()),
            "agreement": finite(same_winner(panel[there] + 0.5, people[there] + 0.5)),
            "alpha": finite(krippendorff_alpha(np.stack([ours, theirs], axis=1))),
        }
    )


def _confusion(labeled: Labeled, settings: Settings) -> list[ScoreBucketRow]:
    """What people preferred, by bands of the panel's score: the two thresholds and their mirror images."""
    high, low = settings.report.final_min, settings.report.defeat_min
    edges = [0.0, *sorted({100 - high, 100 - low, low, high}), 100.0]
    scores, preferred = 100 * (labeled.panel + 0.5), winner(labeled.people + 0.5)
    rows = []
    for start, end in pairwise(edges):
        inside = (scores >= start) & ((scores < end) | (end == 100))
        count = {lean: int((inside & (preferred == lean)).sum()) for lean in (1, 0, -1)}
        rows.append(ScoreBucketRow(band=f"{start:g} to {end:g}", challenger=count[1], tie=count[0], opponent=count[-1]))
    return rows[::-1]


def _differ(labeled: Labeled) -> list[Disagreement]:
    apart = np.abs(np.nan_to_num(labeled.panel - labeled.people, nan=-1.0))
    apart[np.isnan(labeled.people)] = -1.0
    rows = [int(row) for row in np.argsort(-apart, kind="stable")[:DIFFERENCES] if apart[row] > 0]
    reasons: dict[str, list[str]] = {}
    for vote in labeled.first:
        if vote.reason:
            reasons.setdefault(vote.item, []).append(f"{vote.rater}: {vote.reason}")
    return [
        Disagreement(
            item=labeled.turns[row],
            panel=MARGIN * float(labeled.panel[row]),
            people=MARGIN * float(labeled.people[row]),
            panel_reason=shorten(labeled.reasons[row], LONGEST_WORDS),
            people_reason=shorten("\n".join(reasons.get(labeled.turns[row], [])), LONGEST_WORDS),
        )
        for row in rows
    ]


def _rater(labeled: Labeled, number: int, name: str) -> RaterFigures:
    own = [vote for vote in labeled.first if vote.rater == name]
    deltas = np.array([labeled.by_person[labeled.place[vote.item], number] for vote in own])
    side = np.array([1.0 if vote.order == "challenger_first" else -1.0 for vote in own])
    preferred = winner(deltas + 0.5)
    decided = preferred != 0
    known = []  # of the repeats whose first vote counts: was the same winner named again?
    for vote in (vote for vote in labeled.repeats if vote.rater == name):
        before = labeled.by_person[labeled.place[vote.item], number]
        if not np.isnan(before):
            now, then = winner(np.array([np.array(vote.values)[labeled.keys].mean(), before + 0.5]))
            known.append(bool(now == then))
    return RaterFigures(
        rater=name,
        votes=len(own),
        skipped=sum(vote.rater == name for vote in labeled.skips),
        median_seconds=finite(np.median([vote.seconds for vote in own])) if own else None,
        ties=finite(np.mean(~decided)) if own else None,
        first_shown=finite(np.mean((preferred * side > 0)[decided])) if decided.any() else None,
        repeats=len(known),
        self_agreement=float(np.mean(known)) if known else None,
        with_panel=finite(same_winner(labeled.by_person[:, number] + 0.5, labeled.panel + 0.5)),
    )
