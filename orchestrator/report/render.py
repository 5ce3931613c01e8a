"""Sets a page's contents into HTML. The template escapes every text; only the charts are inserted as they are."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from orchestrator.report.contents import Page

PAGE_FILE = "report.html"
REFRESH_S = 30
"""A page of a sweep that is training asks the browser to load it again after this time."""


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.j2")


def render(page: Page) -> str:
    """The page as one HTML file that needs nothing else. Equal contents give equal text."""
    return _template().render(page=page, refresh_s=REFRESH_S)
