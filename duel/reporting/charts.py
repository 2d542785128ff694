"""The charts of the report: drawn once, kept as SVG files beside report.md and inline in the page.

Shapes have classes, and their colors come from one palette: readable on light and dark paper.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from duel.records import Verdict
from duel.reporting import page_file
from duel.reporting.report_sections import confidence, units
from duel.reporting.tally import LENGTH_BINS, MEASURES, SCORE_BIN, SCORE_BINS, SourceCounts, Tally, mean
from duel.reporting.wording import points, score, share, shorten, signed, xml
from duel.settings import Settings

# The width of a card of the page at 1,280 pixels, so that a chart's text is as large as it is meant to be.
WIDTH = 360
MARGIN, TITLE = 16, 24  # pixels around a drawing that is a file of its own, and for the title above it
# Stacked from the bottom of a bar, so that the turns worth having stand on the ground line.
STACK = {"final": "final", "refined": "refined", "defeat": "defeat", "none": "left out"}
CLUSTER_SLOTS = 40
SMALLEST_DOT = 2.2  # pixels
# Pixels of a letter in small text (11 px), at most on average: names of models hold few wide ones.
SMALL_LETTER = 7.0


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


@dataclass
class Drawing:
    """A chart of a fixed size in CSS pixels. Every text that is put in is escaped; `hint` shows when pointed at."""

    title: str
    description: str
    width: int
    height: int
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, words: object, classes: str = "") -> None:
        """Words whose baseline starts at (x, y)."""
        self._shape("text", classes, xml(words), x=x, y=y)

    def line(self, x1: float, y1: float, x2: float, y2: float, classes: str) -> None:
        self._shape("line", classes, x1=x1, y1=y1, x2=x2, y2=y2)

    def rect(
        self, x: float, y: float, width: float, height: float, classes: str, hint: str = "", opacity: float = 1
    ) -> None:
        inside, width, height = f"<title>{xml(hint)}</title>" * bool(hint), max(width, 0), max(height, 0)
        self._shape("rect", classes, inside, opacity, x=x, y=y, width=width, height=height)

    def circle(self, x: float, y: float, radius: float, classes: str, hint: str = "") -> None:
        self._shape("circle", classes, f"<title>{xml(hint)}</title>" * bool(hint), cx=x, cy=y, r=radius)

    def path(self, points: list[tuple[float, float]], classes: str) -> None:
        if points:
            steps = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            self.parts.append(f'<path d="M{steps}" class="{classes}"/>')

    def _shape(self, name: str, classes: str, inside: str | None = None, opacity: float = 1, **places: float) -> None:
        told = [name, *(f'{key}="{value:.1f}"' for key, value in places.items())]
        told += [f'class="{classes}"'] * bool(classes) + [f'opacity="{opacity:.2f}"'] * (opacity < 1)
        start = f"<{' '.join(told)}"
        self.parts.append(f"{start}/>" if inside is None else f"{start}>{inside}</{name}>")

    def inline(self) -> str:
        """The drawing for a page that brings palette and style itself."""
        return self._svg(f'viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}"')

    def file(self) -> str:
        """The drawing as a file of its own: with title and paper, in the colors that the reader's system asks for."""
        # Colors are written out: not every SVG reader knows CSS variables.
        light, dark = (page_file("charts.css"),) * 2
        for name, (on_light, on_dark) in _palette().items():
            light, dark = light.replace(f"var(--{name})", on_light), dark.replace(f"var(--{name})", on_dark)
        style = f"<style>{light}@media (prefers-color-scheme: dark) {{{dark}}}</style>"
        left, top = -MARGIN, -MARGIN - TITLE
        width, height = self.width + 2 * MARGIN, self.height + 2 * MARGIN + TITLE
        paper = f'<rect class="paper" x="{left}" y="{top}" width="100%" height="100%" rx="8"/>'
        heading = f'<text class="strong" x="0" y="-10">{xml(self.title)}</text>'
        size = f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}"'
        return self._svg(f'xmlns="http://www.w3.org/2000/svg" {size}', style + paper + heading) + "\n"

    def _svg(self, attributes: str, before: str = "") -> str:
        label = f'role="img" aria-label="{xml(self.title)}: {xml(self.description)}"'
        return f'<svg class="chart" {attributes} {label}>{before}{"".join(self.parts)}</svg>'


@cache
def _palette() -> dict[str, tuple[str, str]]:
    """Each color on light and on dark paper."""
    rows = (line.split() for line in page_file("palette.txt").splitlines() if not line.startswith("#"))
    return {name: (light, dark) for name, light, dark in rows}


def page_colors(names: Mapping[str, str] | None = None) -> str:
    """The palette as CSS variables: the system's choice, unless the reader has chosen on the page.

    `names`: only these colors, each under the name that it has on the page.
    """
    names = names or {name: name for name in _palette()}
    shown = [(names[name], *colors) for name, colors in _palette().items() if name in names]
    light, dark = ("".join(f"--{one[0]}:{one[place]};" for one in shown) for place in (1, 2))
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media (prefers-color-scheme: dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
    )


def draw(verdict: Verdict, tally: Tally, settings: Settings, costs: Mapping[str, SourceCounts]) -> dict[str, Drawing]:
    """Each chart for which there is data, by its name."""
    charts = {"score": scores(tally, settings) if any(tally.histogram) else None, "margin": margin(verdict)}
    charts["clusters"] = clusters(verdict, tally) if tally.clusters else None
    charts |= {"metrics": metrics(verdict), "order": order(verdict)}
    charts |= {"length": length(tally) if tally.score_by_length else None, "yield": yields(costs)}
    return {name: chart for name, chart in charts.items() if chart is not None}


def scores(tally: Tally, settings: Settings) -> Drawing:
    highest = max(sum(bar.values()) for bar in tally.histogram)
    chart = Drawing("Scores of the turns", "how many turns have which score", WIDTH, 238)
    left, right, top, ground = 34, WIDTH - 6, 48, 198  # the thresholds stand below the legend
    even = (m * 10.0 ** math.floor(math.log10(highest)) for m in (1, 2, 4, 6, 8, 10))
    ceiling = next(value for value in even if value >= max(highest, 2) and value % 2 == 0)
    x, y = scale(0, 100, left, right), scale(0, ceiling, ground, top)
    for value in (0, ceiling / 2, ceiling):
        chart.line(left, y(value), right, y(value), "rule")
        chart.text(left - 6, y(value) + 4, f"{value:,.0f}", "small muted end")
    for number, bar in enumerate(tally.histogram):
        start, height = number * SCORE_BIN, 0
        for name, label in STACK.items():
            if turns := bar[name]:
                hint = f"{start} to {start + SCORE_BIN} points, {label}: {turns:,} turns"
                top_of_it, width = y(height + turns), x(start + SCORE_BIN) - x(start) - 2
                chart.rect(x(start) + 1, top_of_it, width, y(height) - top_of_it, f"fill-{name}", hint)
                height += turns
    for value in (0, 25, 50, 75, 100):
        chart.text(x(value), ground + 17, value, "small muted middle")
    words = "score, 0 to 100 from the challenger's side · 50 is a tie"
    chart.text((left + right) / 2, ground + 34, words, "small muted middle")
    for value in sorted({settings.report.defeat_min, settings.report.final_min}):
        chart.line(x(value), top - 8, x(value), ground, "threshold")
        chart.text(x(value), top - 13, f"{value:g}", "small middle")
    at: float = left
    for name, label in STACK.items():
        if any(bar[name] for bar in tally.histogram):
            chart.rect(at, 4, 9, 9, f"fill-{name}")
            chart.text(at + 14, 12, label, "small")
            at += 26 + 6.4 * len(label)
    return chart


def margin(verdict: Verdict) -> Drawing | None:
    if verdict.margin is None:
        return None
    v, over, noise = verdict, units(verdict), verdict.noise_floor
    rows = [
        (f"Lower bound, {confidence(v)}", v.lcb, 200, f"the gate's: studentized bootstrap over {over}"),
        ("Cluster t bound", v.lcb_t, 200, f"the same level, Student's t over {over}"),
        ("Bound over turns", v.lcb_iid, 200, "takes turns as independent: too hopeful"),
        ("Worst case", v.worst_case_margin, 1, "if every unparsed turn had been lost"),
        ("Noise floor", noise.margin if noise else None, 1, "the king judged against itself"),
    ]
    shown = [(name, unit * value, words) for name, value, unit, words in rows if value is not None]
    chart = Drawing("Margin and its bounds", points(v.margin), WIDTH, 74 + 30 * len(shown))
    values = [0.0, verdict.win_margin or 0.0, verdict.margin, *(value for _, value, _ in shown)]
    spread = max(max(values) - min(values), 4.0)
    x = scale(min(values) - 0.12 * spread, max(values) + 0.16 * spread, 132, WIDTH - 6)
    ground = 44 + 30 * len(shown)
    chart.line(x(0), 20, x(0), ground, "axis")
    chart.text(x(0), ground + 16, "0: a tie", "small muted middle")
    if verdict.win_margin:
        chart.line(x(verdict.win_margin), 20, x(verdict.win_margin), ground, "threshold")
        below = 30 if abs(x(verdict.win_margin) - x(0)) < 96 else 16
        chart.text(x(verdict.win_margin), ground + below, f"asked for: {verdict.win_margin:+g}", "small muted middle")
    chart.text(0, 36, "Margin", "strong")
    dots = [(32, verdict.margin, "fill-challenger", 6, "challenger − opponent")]
    for number, (name, value, words) in enumerate(shown):
        y = 62 + 30 * number
        chart.text(0, y + 4, name, "small")
        chart.line(x(value), y, x(verdict.margin), y, "axis")
        dots.append((y, value, "fill-challenger" if number == 0 else "fill-none", 4, words))
    for y, value, classes, radius, hint in dots:
        chart.circle(x(value), y, radius, classes, f"{points(value)}: {hint}")
        chart.text(x(value), y - radius - 3, signed(value, 1), "small middle")
    return chart


def clusters(verdict: Verdict, tally: Tally) -> Drawing:
    """One dot for each pull request at its mean margin: what the bound resamples."""
    values = {instance: 200 * (mean(deltas) or 0.0) for instance, deltas in tally.clusters.items()}
    reach = min(20 * math.ceil(max(map(abs, values.values())) / 20 + 1e-9), 100)
    chart = Drawing("Pull requests by their margin", f"{len(values)} pull requests", WIDTH, 214)
    ground, top, left, right = 166, 14, 12, WIDTH - 12
    x = scale(-reach, reach, left, right)
    stacks: list[list[str]] = [[] for _ in range(CLUSTER_SLOTS)]
    for instance, value in sorted(values.items()):
        slot = min(int((value + reach) / (2 * reach) * CLUSTER_SLOTS), CLUSTER_SLOTS - 1)
        stacks[slot].append(f"{instance}: {points(value)} over {len(tally.clusters[instance])} turns")
    step = min((ground - top) / max(map(len, stacks)), (right - left) / CLUSTER_SLOTS)
    for number, stack in enumerate(stacks):
        middle = -reach + (number + 0.5) * 2 * reach / CLUSTER_SLOTS
        side = "fill-challenger" if middle > 0 else "fill-king"
        if step >= SMALLEST_DOT:  # dots large enough to be seen and counted, else one bar
            for level, hint in enumerate(stack):
                chart.circle(x(middle), ground - (level + 0.5) * step, step / 2 - 0.4, side, hint)
        elif stack:
            hint = f"around {points(middle)}: {len(stack):,} pull requests"
            chart.rect(x(middle) - 3.4, ground - len(stack) * step, 6.8, len(stack) * step, side, hint)
    chart.line(left, ground, right, ground, "axis")
    for value in (-reach, -reach / 2, 0, reach / 2, reach):
        chart.text(x(value), ground + 17, f"{value:+g}".replace("-", "−") if value else "0", "small muted middle")
    chart.text(left, ground + 36, f"← {verdict.opponent_name} ahead", "small muted")
    chart.text(right, ground + 36, "challenger ahead →", "small muted end")
    if verdict.margin is not None and abs(verdict.margin) <= reach:
        chart.line(x(verdict.margin), top - 8, x(verdict.margin), ground, "threshold")
        chart.text(x(verdict.margin) + 5, top, f"margin {signed(verdict.margin, 1)}", "small")
    return chart


def metrics(verdict: Verdict) -> Drawing | None:
    judges = [judge for judge in verdict.judges if judge.by_metric]
    if not judges:
        return None
    chart = Drawing("Dimensions by judge", "mean score, 0 to 100, 50 is a tie", WIDTH, 40 + 44 * len(judges))
    width = WIDTH / len(verdict.dimensions)
    for column, name in enumerate(verdict.dimensions):
        chart.text((column + 0.5) * width, 14, name, "small muted middle")
    for row, judge in enumerate(judges):
        y = 26 + 44 * row
        chart.text(2, y + 10, shorten(judge.judge, int(WIDTH / SMALL_LETTER)), "small")
        for column, name in enumerate(verdict.dimensions):
            value = judge.by_metric.get(name)
            if value is None:
                continue
            side = "fill-challenger" if value >= 50 else "fill-king"
            hint = f"{judge.judge}, {name}: {value:.1f}"
            chart.rect(column * width + 1, y + 15, width - 2, 22, side, hint, 0.06 + abs(value - 50) / 50 * 0.44)
            chart.text((column + 0.5) * width, y + 30, score(value), "middle")
    return chart


def order(verdict: Verdict) -> Drawing | None:
    judges = [judge for judge in verdict.judges if judge.first_shown_lean is not None]
    if not judges:
        return None
    chart = Drawing("Lean to the reply shown first", "by judge, from −0.5 to +0.5", WIDTH, 48 + 40 * len(judges))
    x = scale(-0.5, 0.5, 8, WIDTH - 8)
    ground = 8 + 40 * len(judges)
    for row, judge in enumerate(judges):
        y, lean = 4 + 40 * row, judge.first_shown_lean or 0.0
        flips = "" if judge.flip_rate is None else f" · flips {share(judge.flip_rate)}"
        told = f"{signed(lean)}{flips}"
        chart.text(8, y + 10, shorten(judge.judge, int((WIDTH - 24) / SMALL_LETTER) - len(told)), "small")
        chart.text(WIDTH - 8, y + 10, told, "small muted end")
        chart.line(8, y + 24, WIDTH - 8, y + 24, "rule")
        hint = f"{judge.judge}: lean {signed(lean)}"
        chart.rect(min(x(0), x(lean)), y + 18, abs(x(lean) - x(0)), 12, "fill-challenger", hint)
        chart.line(x(0), y + 16, x(0), y + 32, "axis")
    chart.text(8, ground + 18, "← always the second (−0.5)", "small muted")
    chart.text(WIDTH - 8, ground + 18, "always the first (+0.5) →", "small muted end")
    return chart


def length(tally: Tally) -> Drawing:
    """Score against length difference: how many turns lie where, and the mean score of each length bin."""
    most = max(tally.score_by_length.values())
    chart = Drawing("Score against length difference", "how many turns, and their mean score", WIDTH, 234)
    left, right, top, ground = 34, WIDTH - 6, 8, 182
    x, y = scale(0, LENGTH_BINS, left, right), scale(0, SCORE_BINS, ground, top)
    width, height = x(1) - x(0) - 1, y(0) - y(1) - 1
    for (column, row), turns in sorted(tally.score_by_length.items()):
        hint, shade = f"{turns:,} turns", 0.08 + 0.62 * (turns / most) ** 0.5
        chart.rect(x(column) + 0.5, y(row + 1) + 0.5, width, height, "fill-challenger", hint, shade)
    for value in (0, 25, 50, 75, 100):
        chart.text(left - 6, y(value / SCORE_BIN) + 4, value, "small muted end")
    chart.line(left, y(SCORE_BINS / 2), right, y(SCORE_BINS / 2), "threshold")
    means = [(x(i + 0.5), mean(found) or 0.0, len(found)) for i, found in enumerate(tally.length_scores) if found]
    chart.path([(px, y(value / SCORE_BIN)) for px, value, _ in means], "line")
    for px, middle, number in means:
        hint = f"mean score {score(middle)} over {number:,} turns"
        chart.circle(px, y(middle / SCORE_BIN), 3.5, "fill-challenger", hint)
    for position, label, place in ((0.0, "−100 %", ""), (0.5, "same length", "middle"), (1.0, "+100 %", "end")):
        chart.text(x(position * LENGTH_BINS), ground + 17, label, f"small muted {place}")
    chart.text(left, ground + 36, "← challenger shorter", "small muted")
    chart.text(right, ground + 36, "challenger longer →", "small muted end")
    if means:
        chart.text(min(means[-1][0] + 8, right - 62), y(means[-1][1] / SCORE_BIN) - 8, "mean score", "small")
    return chart


def yields(counts: Mapping[str, SourceCounts]) -> Drawing | None:
    """A bar for each source and each measure; one source alone has nothing to be compared with."""
    kept = {name: one for name, one in counts.items() if one.kept}
    if len(kept) < 2:
        return None
    height = len(MEASURES) * (24 * len(kept) + 30)
    chart = Drawing("What a kept turn costs", "calls, dollars and minutes by source", WIDTH, height)
    y = 14.0
    for what in MEASURES:
        chart.text(0, y, f"{what} a kept turn", "strong")
        most = max(one.each(what) or 0.0 for one in kept.values()) or 1.0
        for name, one in kept.items():
            y, width = y + 24, (WIDTH - 160) * (one.each(what) or 0.0) / most
            chart.text(0, y, name, "small")
            chart.rect(80, y - 11, width, 14, "fill-final", f"{name}: {one.told(what)} {what}")
            chart.text(86 + width, y, one.told(what), "small muted")
        y += 30
    return chart
