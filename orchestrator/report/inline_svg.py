"""Turns matplotlib's figures into SVG for inside a page, in colours of the page's style, light and dark."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

from orchestrator.tables.cost_plot import COLOURS, PEER_COLOUR, PEER_TEXT
from orchestrator.tables.write_files import draw_plainly, figure_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SETTINGS = {
    "svg.fonttype": "none",  # letters of the page's font, which can be searched and copied
    "savefig.facecolor": "none",
    "savefig.edgecolor": "none",
}
NAMED = {
    "#000000": "currentColor",
    "#ffffff": "var(--paper)",
    "#dddddd": "var(--line)",
    "#555555": "var(--quiet)",
    "#888888": "var(--quiet)",
    PEER_COLOUR: "var(--quiet)",
    PEER_TEXT: "var(--quiet)",
}
"""Colour that figures are drawn in -> what the page's style calls it. The series' colours are --c0, --c1 and so on."""
NAMED |= {colour.lower(): f"var(--c{index})" for index, colour in enumerate(COLOURS) if colour != "#000000"}

COLOUR = re.compile(r"(?<=: )#[0-9a-f]{6}(?=[;\"])")
LEFT_OUT = re.compile(
    r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->|(?<=<g) id=\"[^\"]*\"| font-family: [^;\"]*;?", re.DOTALL
)
"""The style would apply to the whole page, and has its place in the page's own. Nothing refers to a group's id."""


def inline_svg(draw: Callable[[], Figure], *, label: str) -> str:
    """The figure as an <svg> element; equal figures give equal text. label: for readers that cannot see it."""
    from matplotlib.text import Text

    drawn = draw_plainly(draw)
    for text in drawn.findobj(Text):
        text.set_path_effects([])  # type: ignore[attr-defined]  # the page's style has halos, and letters stay letters
    content = figure_bytes(drawn, "svg", settings=SETTINGS).decode()
    _, _, inside = content.partition("<svg ")
    attributes, _, inside = inside.partition(">")
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', attributes)
    assert box is not None, "matplotlib writes an svg element with a viewBox"
    inside = COLOUR.sub(lambda found: NAMED.get(found[0], found[0]), LEFT_OUT.sub("", inside))
    inside = re.sub(r"\n\s*", "\n", inside)
    head = (
        f'<svg class="chart" role="img" aria-label="{escape(label)}" style="--width:{box[1]}" viewBox="{box[0][9:-1]}">'
    )
    return f"{head}{inside.strip()}"
