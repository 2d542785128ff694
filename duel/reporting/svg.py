"""A small SVG writer: shapes with classes, colours from one palette, readable on light and dark paper."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from duel.reporting import page_file
from duel.reporting.wording import xml

# The width of a card of the page at 1,280 pixels, so that a chart's text is as large as it is meant to be.
WIDTH = 360
MARGIN, TITLE = 16, 24  # pixels around a drawing that is a file of its own, and for the title above it


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
        """The drawing as a file of its own: with title and paper, in the colours that the reader's system asks for."""
        # Colours are written out: not every SVG reader knows CSS variables.
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
    """Each colour on light and on dark paper."""
    rows = (line.split() for line in page_file("palette.txt").splitlines() if not line.startswith("#"))
    return {name: (light, dark) for name, light, dark in rows}


def page_colours(names: Mapping[str, str] | None = None) -> str:
    """The palette as CSS variables: the system's choice, unless the reader has chosen on the page.

    `names`: only these colours, each under the name that it has on the page.
    """
    names = names or {name: name for name in _palette()}
    shown = [(names[name], *colours) for name, colours in _palette().items() if name in names]
    light, dark = ("".join(f"--{one[0]}:{one[place]};" for one in shown) for place in (1, 2))
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media (prefers-color-scheme: dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
    )
