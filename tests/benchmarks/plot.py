"""Bars as a picture: SVG, readable on light and on dark."""

from collections.abc import Mapping
from typing import Final
from xml.sax.saxutils import escape

from tests.benchmarks.figures import Figure, format_value

_SVG_WIDTH: Final = 760
_LABEL_WIDTH: Final = 300
_ROW_HEIGHT: Final = 28
_TOP_MARGIN: Final = 44


def bar_chart_svg(title: str, figures: Mapping[str, Figure]) -> str:
    """Return a bar for the median of each figure, all of one unit, with a line from the least to the most."""
    longest = max(figure.most for figure in figures.values())
    scale = (_SVG_WIDTH - _LABEL_WIDTH - 90) / longest
    height = _TOP_MARGIN + _ROW_HEIGHT * len(figures) + 8
    rows = []
    for number, (name, figure) in enumerate(figures.items()):
        top = _TOP_MARGIN + number * _ROW_HEIGHT
        middle = top + 9
        least, most = (_LABEL_WIDTH + scale * value for value in (figure.least, figure.most))
        rows.append(
            f'<text x="{_LABEL_WIDTH - 8}" y="{top + 13}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{_LABEL_WIDTH}" y="{top}" width="{scale * figure.median:.1f}" height="18" rx="2"/>'
            f'<line x1="{least:.1f}" x2="{most:.1f}" y1="{middle}" y2="{middle}"/>'
            f'<text x="{most + 8:.1f}" y="{top + 13}">{escape(format_value(figure.median, figure.unit))}</text>'
        )
    style = (
        "text{font:12px system-ui,sans-serif;fill:#24292f}.title{font-size:14px;font-weight:600}"
        "rect{fill:#4c78a8}line{stroke:#c2410c;stroke-width:2}"
        "@media(prefers-color-scheme:dark){text{fill:#e6edf3}rect{fill:#6ea8de}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SVG_WIDTH} {height}" role="img">'
        f"<title>{escape(title)}</title><style>{style}</style>"
        f'<text class="title" x="8" y="22">{escape(title)}</text>{"".join(rows)}</svg>\n'
    )
