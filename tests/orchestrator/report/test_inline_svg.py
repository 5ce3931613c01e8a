"""Charts as they stand inside a page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from functools import partial

from orchestrator.report.inline_svg import inline_svg
from orchestrator.tables.cost_plot import draw
from orchestrator.tables.table import Plot, PlotPoint

NAME = 'a <b>&" $x$'
PLOT = Plot(
    heading="top-1 (%)",
    points=tuple(
        PlotPoint(row=f"{NAME}{cost}", series=NAME, gmacs=cost, accuracies=(50.0, 40.0)) for cost in (1.0, 2.0)
    ),
    peers=(("FrameExit", 1.5, 45.0),),
    peers_from="Table 1",
)
SVG = "{http://www.w3.org/2000/svg}"


def test_a_chart_is_one_well_formed_element_whose_names_are_text():
    text = inline_svg(partial(draw, PLOT), label=NAME)
    whole = text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="x" ', 1)
    root = ET.fromstring(whole)
    assert root.get("aria-label") == NAME
    words = ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]
    assert {f"{NAME}1.0", f"{NAME}2.0", "FrameExit", "top-1 (%)"} <= set(words)


def test_a_chart_has_the_colours_of_the_page_alone_and_changes_nothing_outside():
    text = inline_svg(partial(draw, PLOT), label="")
    assert re.findall(r"(?:fill|stroke): (#\w+|black|white)", text) == []
    assert {"currentColor", "var(--paper)", "var(--quiet)", "var(--c0)"} <= set(
        re.findall(r"(?:fill|stroke): ([^;\"]+)", text)
    )
    assert "<style" not in text
    assert "http" not in text


def test_what_a_chart_refers_to_is_in_it():
    text = inline_svg(partial(draw, PLOT), label="")
    used = {name for pair in re.findall(r'href="#(\w+)"|url\(#(\w+)\)', text) for name in pair if name}
    assert used
    assert used <= set(re.findall(r'id="(\w+)"', text))


def test_equal_charts_are_equal_text():
    assert inline_svg(partial(draw, PLOT), label="") == inline_svg(partial(draw, PLOT), label="")
