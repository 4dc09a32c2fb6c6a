"""One plot as inline SVG: how much of each large distribution could be compared, and what came of it."""

from __future__ import annotations

import io
import re
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flowstone_demo.integrity import DistributionIntegrity, Integrity

_LARGEST = 12
# Text takes the page's colour, so that the plot reads in light and dark; the bars' colours come from the page as well.
_INK = "#010203"


class Series(NamedTuple):
    """One colour of the stacked bars."""

    label: str
    placeholder: str
    variable: str


SERIES = (
    Series("as installed", "#040506", "--ok"),
    Series("not checked", "#0a0b0c", "--unchecked"),
    Series("differs or missing", "#070809", "--bad"),
)


def draw(integrity: Integrity) -> str:
    """Return an ``<svg>`` of the distributions that `choose` names; equal input gives an equal drawing."""
    entries = choose(integrity)
    with mpl.rc_context(
        {
            "svg.hashsalt": "environment-review",
            "svg.fonttype": "none",
            "text.parse_math": False,  # a name with two dollar signs is still a name
            "font.family": "sans-serif",
            "font.size": 10,
        }
    ):
        figure = Figure(figsize=(8.2, 0.9 + 0.3 * len(entries)), layout="constrained")
        axes = figure.add_subplot()
        _bars(axes, entries)
        axes.set_yticks(range(len(entries)), [f"{entry['name']} {entry['version']}" for entry in entries])
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlabel("files that RECORD lists", color=_INK)
        axes.tick_params(colors=_INK, length=0)
        axes.spines[:].set_visible(False)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_a_page(text.getvalue())


def choose(integrity: Integrity) -> list[DistributionIntegrity]:
    """Return the distributions to draw: those with a problem first, then the largest, each once."""
    by_size = sorted(integrity["distributions"], key=lambda entry: (-entry["listed"], entry["name"], entry["version"]))
    listed = [entry for entry in by_size if entry["listed"]]
    bad = [entry for entry in listed if entry["differs"] + entry["missing"]][:_LARGEST]
    return bad + [entry for entry in listed if entry not in bad][: max(0, _LARGEST - len(bad))]


def _bars(axes: Axes, entries: list[DistributionIntegrity]) -> None:
    start = [0] * len(entries)
    for series, values in zip(SERIES, _values(entries), strict=True):
        axes.barh(range(len(entries)), values, left=start, color=series.placeholder, height=0.62)
        start = [before + value for before, value in zip(start, values, strict=True)]
    longest = max(start, default=0) or 1
    for row, entry in enumerate(entries):
        bad = entry["differs"] + entry["missing"]
        # A few files among thousands are a sliver nobody sees: the words beside the bar take its colour.
        colour, weight = (SERIES[-1].placeholder, "bold") if bad else (_INK, "normal")
        axes.text(start[row] + longest * 0.01, row, _label(entry), va="center", color=colour, weight=weight, fontsize=9)
    axes.set_xlim(0, longest * 1.24)


def _values(entries: list[DistributionIntegrity]) -> list[list[int]]:
    return [
        [entry["ok"] for entry in entries],
        [sum(entry["cannot_check"].values()) for entry in entries],
        [entry["differs"] + entry["missing"] for entry in entries],
    ]


def _label(entry: DistributionIntegrity) -> str:
    differs, missing = entry["differs"], entry["missing"]
    bad = [f"{differs:,} differ{'s' if differs == 1 else ''}"] if differs else []
    bad += [f"{missing:,} missing"] if missing else []
    return f"{entry['listed']:,}{': ' if bad else ''}{', '.join(bad)}"


def _for_a_page(svg: str) -> str:
    """Cut off what only a file needs and hand size, colours and fonts over to the page's style sheet."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]+\")[^>]*>", r'<svg aria-hidden="true" focusable="false" \1>', svg, count=1)
    svg = re.sub(r"font-family: [^;\"]+", "font-family: inherit", svg).replace(_INK, "currentColor")
    for series in SERIES:
        svg = svg.replace(series.placeholder, f"var({series.variable})")
    return svg
