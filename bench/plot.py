"""Draw results as one SVG that reads on light and on dark pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from bench.contestants import BARE, HOLDFAST
from bench.measures import growth, scaling
from bench.measures.drain import CPU_SERVER, CPU_WORKERS
from bench.measures.tenths import TENTHS
from bench.table import number

if TYPE_CHECKING:
    from bench.results import Results

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 14px }
.faint { fill: #656d76; font-size: 12px }
.ours { fill: #1f6feb } .peer { fill: #9aa4b1 } .bare { fill: none; stroke: #9aa4b1 }
.spread { stroke: #1f2328; stroke-opacity: .55 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .faint { fill: #9198a1 } .ours { fill: #4493f8 }
  .peer { fill: #656d76 } .bare { stroke: #656d76 } .spread { stroke: #e6edf3 }
}
"""
WIDTH, GAP, TOP = 440, 40, 46  # of a panel, between panels, from its top to the first bar
NAME, VALUE = 178, 92  # what names and values take of the width
BAR, STEP = 15, 24
COLUMNS = 2


@dataclass(frozen=True)
class Bar:
    """One bar; `low` and `high` are where its spread ends."""

    name: str
    value: float
    low: float
    high: float
    kind: str  # class of the style


@dataclass
class Panel:
    """A title over bars."""

    title: str
    note: str
    bars: list[Bar] = field(default_factory=list)

    @property
    def height(self) -> int:
        """Return how much room it takes."""
        return TOP + STEP * len(self.bars) + 14


def draw(results: Results) -> str:
    """Return the whole picture."""
    panels = [panel for panel in _panels(results) if panel.bars]
    rows = [panels[at : at + COLUMNS] for at in range(0, len(panels), COLUMNS)]
    parts, y = [], 12
    for row in rows:
        for column, panel in enumerate(row):
            place = f'transform="translate({16 + column * (WIDTH + GAP)} {y})"'
            parts.append(f"<g {place}>\n{_panel(panel)}\n</g>")
        y += max(panel.height for panel in row)
    width = COLUMNS * (WIDTH + GAP)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" role="img">'
    title = f"<title>Holdfast beside its peers on {results.course.title}</title>"
    return "\n".join([head, title, f"<style>{STYLE}</style>", *parts, "</svg>"]) + "\n"


def _panels(results: Results) -> list[Panel]:
    more, less = "more is better", "less is better"
    return [
        _of(results, "drain", "Drain of no-op runs, a second", more, without=BARE.key),
        _of(results, CPU_WORKERS, "CPU of a run, workers, µs", less),
        _of(results, CPU_SERVER, "CPU of a run, server, µs", less),
        _of(results, "start latency, p50", "Start latency, median, ms", less),
        _of(results, growth.SHORT, "Drain with 20,000 queued, a second", more),
        _of(results, growth.LONG, "Drain with 1,000,000 queued, a second", more),
        _of(results, "enqueue, one by one", "Enqueue one by one, a second", more),
        _of(results, "enqueue, many", "Enqueue many at once, a second", more),
        _of(results, "log of a command", "Log of a command, lines a second", more),
        _crews(results),
        _tenths(results),
    ]


def _of(results: Results, measure: str, title: str, note: str, *, without: str = "") -> Panel:
    peers = {one.key for one in results.course.peers}
    panel = Panel(title, note)
    for figure in results.figures:
        if figure.measure != measure or figure.unit == "MiB/s" or figure.contestant == without:
            continue
        kind = "peer" if figure.contestant in peers else "bare"
        kind = "ours" if figure.contestant == HOLDFAST.key else kind
        name = results.contestants[figure.contestant]["title"]
        panel.bars.append(Bar(name, figure.median, figure.low, figure.high, kind))
    return panel


def _crews(results: Results) -> Panel:
    panel = Panel("Drain by Holdfast, a second", "more is better")
    for crew in scaling.CREWS:
        if (figure := results.get(crew)) is not None:
            panel.bars.append(Bar(crew, figure.median, figure.low, figure.high, "ours"))
    return panel


def _tenths(results: Results) -> Panel:
    panel = Panel(
        "To store a line of a log of 10,000,000, ns", "less is better; level is the point"
    )
    for tenth in range(1, TENTHS + 1):
        if (figure := results.get(f"store a line, tenth {tenth}")) is not None:
            name = f"tenth {tenth}"
            panel.bars.append(Bar(name, figure.median, figure.low, figure.high, "ours"))
    return panel


def _panel(panel: Panel) -> str:
    scale = (WIDTH - NAME - VALUE) / max(bar.high for bar in panel.bars)
    lines = [
        f'<text class="title" y="14">{escape(panel.title)}</text>',
        f'<text class="faint" y="31">{panel.note}</text>',
    ]
    for place, bar in enumerate(panel.bars):
        y = TOP + place * STEP
        middle = y + BAR / 2
        size = f'width="{max(1.0, bar.value * scale):.1f}" height="{BAR}"'
        end = NAME + max(bar.value, bar.high) * scale
        lines += [
            f'<text x="{NAME - 8}" y="{y + 12}" text-anchor="end">{escape(bar.name)}</text>',
            f'<rect class="{bar.kind}" x="{NAME}" y="{y}" {size} rx="2"/>',
            f'<path class="spread" d="M{NAME + bar.low * scale:.1f} {middle}H{end:.1f}"/>',
            f'<text x="{end + 7:.1f}" y="{y + 12}">{number(bar.value)}</text>',
        ]
    return "\n".join(lines)
