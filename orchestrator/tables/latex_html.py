"""Writes tables as LaTeX and as an HTML page, with the same texts as in Markdown, escaped for each."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from unicodedata import lookup

from orchestrator.tables.table import Table
from reskd.text import without_commands

HEADING_WIDTH = 14
"""Most letters per line of a heading in LaTeX."""
LONG = 40
"""From this number of letters, a cell may be wrapped in HTML."""
FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Shrinks what is wider than a column of text, and leaves the rest as it is."""
MARKS = {None: "%s", "best": r"\textbf{%s}", "second": r"\underline{%s}"}

Links = tuple[tuple[str, str], ...]
"""(seed, address of its run)."""

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "\N{MINUS SIGN}": r"$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "→": r"$\rightarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    # At the start of a row, LaTeX would read it as an option of the row end before it.
    "[": "{[}",
    "*": "{*}",
    "\n": " ",
}
"""Escapes of characters that LaTeX reads as commands or that its default fonts lack. Otherwise it accepts Latin
letters."""
GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau phi chi psi omega"
LATEX |= {lookup(f"GREEK SMALL LETTER {name.replace('lambda', 'lamda')}"): rf"$\{name}$" for name in GREEK.split()}
LATEX |= {lookup(f"GREEK CAPITAL LETTER {name}"): rf"$\{name.capitalize()}$" for name in ("delta", "sigma", "omega")}

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;padding:0 1rem;color:#1a1a1a;width:fit-content}"
    "body{max-width:calc(100vw - 2rem);box-sizing:border-box}"
    "h1,p,ul{max-width:70rem}"
    "div{overflow-x:auto}"  # only a wide table scrolls, not the page
    "table{border-collapse:collapse;margin:1rem 0}"
    "th,td{padding:.3rem .8rem;text-align:right;border-bottom:1px solid #ddd;vertical-align:top}"
    "th{border-bottom:2px solid #888}"
    "th:first-child,td:first-child{text-align:left;white-space:nowrap;position:sticky;left:0;background:#fff}"
    ".published{color:#555;font-style:italic}"
    "td{white-space:nowrap}"  # a number stays beside its interval
    "td.words{white-space:normal;min-width:16rem}"
    ".peer td{color:#777}"
    ".peer+tr:not(.peer) td{border-top:2px solid #888}"
    "small{display:block;color:#777}"
    "li{color:#444}"
)


def table_tex(table: Table) -> str:
    """A `table` in the style of booktabs that fits a column; the sentences stand below it, as the rest of its caption.

    The best mean of an accuracy is bold, the second best underlined, as in the paper.
    """
    peers, rows = ([_tex_row(table, row) for row in part] for part in (table.peers, table.rows))
    lines = [
        r"% needs \usepackage{booktabs,graphicx}",
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{latex(table.title)}}}",
        rf"\label{{tab:{table.key}}}",
        FITTED,
        rf"\begin{{tabular}}{{l{'r' * (len(table.headings) - 1)}}}",
        r"\toprule",
        " & ".join(map(_stacked, table.headings)) + r" \\",
        r"\midrule",
        *([*peers, r"\midrule"] if peers else []),
        *rows,
        r"\bottomrule",
        r"\end{tabular}}",
        "",
        r"\raggedright\footnotesize",
        *(latex(sentence) for sentence in table.head),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def table_html(table: Table) -> str:
    """A complete page that needs no other file. Published figures are in their own columns and look like quotations."""
    quoted = [text in {column.published_heading for column in table.columns} for text in table.headings]
    head = "".join(f"<li>{escape(sentence)}</li>\n" for sentence in table.head)
    body = "".join(
        _row("td", table.cells(row), quoted, links=table.links(row), is_peer=row in table.peers)
        for row in table.all_rows
    )
    title = escape(table.title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<p>{escape(table.question)}</p>\n"
        f"<ul>\n{head}</ul>\n<div>\n<table>\n<thead>\n{_row('th', table.headings, quoted)}</thead>\n"
        f"<tbody>\n{body}</tbody>\n</table>\n</div>\n</body>\n</html>\n"
    )


def latex(text: str) -> str:
    """Text escaped for LaTeX, character by character."""
    return "".join(LATEX.get(sign, sign) for sign in without_commands(text))


def _tex_row(table: Table, row: str) -> str:
    cells = (MARKS[place] % latex(text) for text, place in zip(table.cells(row), table.places(row), strict=True))
    return " & ".join(cells) + r" \\"


def _stacked(heading: str) -> str:
    """A heading in lines of a few words, so that it is no wider than its numbers need."""
    lines = [latex(line) for line in textwrap.wrap(heading, HEADING_WIDTH, break_long_words=False)]
    stack = r" \\ ".join(lines)
    return rf"\shortstack[r]{{{stack}}}" if len(lines) > 1 else stack


def _row(
    tag: str, texts: list[str], quoted: list[bool], *, links: Sequence[Links] | None = None, is_peer: bool = False
) -> str:
    cells = []
    for text, is_quoted, pages in zip(texts, quoted, links or [()] * len(texts), strict=True):
        kind = " class=published" if is_quoted else " class=words" if tag == "td" and len(text) > LONG else ""
        cells.append(f"<{tag}{kind}>{escape(text)}{_links(pages)}</{tag}>")
    return f"<tr{' class=peer' if is_peer else ''}>{''.join(cells)}</tr>\n"


def _links(pages: Links) -> str:
    """A line below the number with a link to the run of each seed."""
    shown = [f'<a href="{escape(url)}" title="MLflow run of seed {seed}">{seed}</a>' for seed, url in pages]
    return f"<small>runs {' '.join(shown)}</small>" if shown else ""
