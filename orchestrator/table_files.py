"""Tables as LaTeX and as a page of their own: the same texts as in Markdown, escaped for each."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from orchestrator.entries import Table

Links = tuple[tuple[str, str], ...]
"""(seed, page of its run)."""

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
    "\n": " ",
}
"""What LaTeX reads as a command, and signs that its default fonts lack; the rest is UTF-8, which it takes."""

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "table{border-collapse:collapse;margin:1rem 0}"
    "th,td{padding:.3rem .8rem;text-align:right;border-bottom:1px solid #ddd;vertical-align:top}"
    "th{border-bottom:2px solid #888}"
    "th:first-child,td:first-child{text-align:left}"
    ".published{color:#555;font-style:italic}"
    ".peer td{color:#777}"
    "sup a{margin-left:.2em;text-decoration:none}"
    "li{color:#444}"
)


def table_tex(table: Table) -> str:
    r"""A `table` with a plain `tabular`, no package needed; the sentences stand below it, as its caption's rest."""
    peers, rows = (
        [" & ".join(map(latex, table.cells(row))) + r" \\" for row in part] for part in (table.peers, table.rows)
    )
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex(table.title)}}}",
        rf"\label{{tab:{table.key}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.headings) - 1)}}}",
        r"\hline",
        " & ".join(map(latex, table.headings)) + r" \\",
        r"\hline",
        *([*peers, r"\hline"] if peers else []),
        *rows,
        r"\hline",
        r"\end{tabular}",
        "",
        r"\raggedright\footnotesize",
        *(latex(sentence) for sentence in table.head),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def table_html(table: Table) -> str:
    """A whole page that needs no other file; published figures, in columns of their own, look like a quotation."""
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
        f"<ul>\n{head}</ul>\n<table>\n<thead>\n{_row('th', table.headings, quoted)}</thead>\n"
        f"<tbody>\n{body}</tbody>\n</table>\n</body>\n</html>\n"
    )


def latex(text: str) -> str:
    """Text as LaTeX prints it, sign by sign."""
    return "".join(LATEX.get(sign, sign) for sign in text)


def _row(
    tag: str, texts: list[str], quoted: list[bool], *, links: Sequence[Links] | None = None, is_peer: bool = False
) -> str:
    cells = [
        f"<{tag}{' class=published' if is_quoted else ''}>{escape(text)}{_links(pages)}</{tag}>"
        for text, is_quoted, pages in zip(texts, quoted, links or [()] * len(texts), strict=True)
    ]
    return f"<tr{' class=peer' if is_peer else ''}>{''.join(cells)}</tr>\n"


def _links(pages: Links) -> str:
    """A small number for each seed, which opens its run."""
    shown = [f'<a href="{escape(url)}" title="MLflow run of seed {seed}">{seed}</a>' for seed, url in pages]
    return f"<sup>{' '.join(shown)}</sup>" if shown else ""
