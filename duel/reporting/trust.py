"""The sections that say how far to trust the verdict: its bounds, and whether scores would come out again."""

from duel.records import Bound, Verdict
from duel.reporting import wording
from duel.reporting.parts import Outside, ReportPart, Table


def certainty(verdict: Verdict) -> ReportPart:
    v, looks = verdict, verdict.looks
    level = confidence(verdict)
    decided = f"{wording.count(v.wins)} · {wording.count(v.ties)} · {wording.count(v.losses)}"
    judged = f"{wording.count(v.parsed)} judged, {wording.share(v.parsed_fraction)}"
    strict = "the gate's" + (f", at alpha {v.alpha:g}" if v.alpha else "")
    power = f"found with a chance of {wording.share(v.power)} at this size"
    rows = [
        ("margin", wording.points(v.margin), f"challenger − {v.opponent_name}"),
        (f"lower bound, {level} one-sided", wording.delta_points(v.lcb), f"the gate's: studentized over {units(v)}"),
        *_other_bounds(v),
        ("cluster t bound", wording.delta_points(v.lcb_t), "the same level, for comparison"),
        ("bound over turns", wording.delta_points(v.lcb_iid), "too hopeful: takes turns as independent"),
        ("strict bound", wording.delta_points(v.lcb_strict), strict),
        ("worst case", wording.points(v.worst_case_margin), "if every unparsed turn had been lost"),
        ("turns", wording.count(v.turns), judged),
        (units(v), wording.count(v.clusters), "the independent units"),
        ("minimum detectable margin", wording.size(v.minimum_detectable_margin), power),
        ("turns needed", wording.count(v.turns_needed), "to decide a margin like today's"),
        ("wins · ties · losses", decided, "turns"),
        ("noise floor", wording.points(v.noise_floor.margin if v.noise_floor else None), noise_words(v)),
    ]
    if looks is not None:
        looked = f"challengers judged here: {wording.count(looks.challengers)}, looks: {wording.count(looks.total)}"
        rows.append(("chance of a false accept by now", wording.share(looks.false_accept_chance), looked))
    rows += [
        (Outside(name), Outside(row.get("figure", "")), Outside(f"{row.get('what', '')}: {row.get('meaning', '')}"))
        for name, added in v.figures.items()
        for row in added
    ]
    return ReportPart("How sure this is", [Table(("what", "figure", "meaning"), rows, right=(1,))])


def _other_bounds(v: Verdict) -> list[tuple[str, str, str]]:
    """The bound over the other kind of unit, at equal length, with missing votes made good, over all judged turns."""
    rows: list[tuple[str, Bound | None, str]] = [
        (
            f"lower bound over {wording.known('units').get(by, 'pull requests')}",
            found,
            f"{wording.count(found.clusters)} of them",
        )
        for by, found in v.by_cluster.items()
        if by != v.cluster_by
    ]
    rows += [
        ("lower bound at equal length", v.length_controlled, "what is left where both replies are as long"),
        ("lower bound, missing votes made good", v.missing, "by judge and history length"),
        ("lower bound over all judged turns", v.over_all, "with those that cannot be kept"),
    ]
    return [
        (
            name,
            wording.delta_points(found.lcb),
            f"margin {wording.points(found.margin)}, {words}" if found.margin else words,
        )
        for name, found, words in rows
        if found is not None
    ]


def repeats(verdict: Verdict) -> ReportPart:
    """What a score is worth on a second look, and how far an attack moves a judge."""
    found, section = verdict.repeats, ReportPart("Would it come out again?")
    if found is not None and found.final:
        rows = [
            ("now", wording.score(found.final_mean), wording.share(1.0), f"{found.final:,} turns by score"),
            ("the same panel", wording.score(found.expected_same), wording.share(found.again_same), "expected"),
            ("another panel", wording.score(found.expected_other), wording.share(found.again_other), "expected"),
        ]
        if found.confirmed:
            seen = f"measured on {found.confirmed:,} turns"
            share = wording.share(found.confirmed_share)
            rows.append(("second look (`--confirm`)", wording.score(found.confirmed_mean), share, seen))
        section.tables.append(Table(("final, judged by", "mean score", "final again", "of"), rows, right=(1, 2)))
        section.notes.append(
            f"Reliability: {wording.plain(found.reliability_orders)} before the same panel,"
            f" {wording.plain(found.reliability_judges)} before another. The best of many noisy scores are too high;"
            " `score_expected` in each kept turn is the score that a second look is expected to give."
        )
    if verdict.noise_floor is not None and verdict.noise_floor.final_share is not None:
        share = wording.share(verdict.noise_floor.final_share)
        section.notes.append(f"Of the king's answers judged against each other {share} reach `final_min`.")
    if verdict.canary is not None:
        caption = "Canary: a king with an attack on the judges added, against the very same king without"
        section.add(Table.of("canary", verdict.canary.judges, caption=caption))
    return section


def confidence(verdict: Verdict) -> str:
    """The level of the gate's bound, as a percentage."""
    return f"{100 * (1 - (verdict.alpha_used or verdict.gate_alpha or 0.05)):.4g} %"


def noise_words(verdict: Verdict) -> str:
    """What the noise floor was measured on, or how to measure it."""
    noise = verdict.noise_floor
    if noise is None:
        return "`validate.py --noise-floor 200` judges the king against itself"
    span = f"{wording.signed(noise.low, 1)} to {wording.signed(noise.high, 1)}"
    return f"the king against itself over {wording.count(noise.turns)} turns, 95 % interval {span}"


def units(verdict: Verdict) -> str:
    """What the gate takes for independent, in words."""
    return str(wording.known("units").get(verdict.cluster_by, "pull requests"))
