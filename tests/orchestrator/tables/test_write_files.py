"""Files of a report: what they hold, and that they are the same bytes again."""

from __future__ import annotations

import csv
import html.parser
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.tables.build import Table
from orchestrator.tables.latex_html import latex, table_html, table_tex
from orchestrator.tables.write_files import render, write_report
from tests.support.stored_sweep import SWEEP, StoredSweep
from tests.support.stored_tables import FILES, finish_all, table_of


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> StoredSweep:
    stored = StoredSweep(tmp_path_factory.mktemp("full"))
    finish_all(stored)
    return stored


@pytest.fixture(scope="module")
def table(full: StoredSweep) -> Table:
    return table_of(full)


def test_the_same_records_give_the_same_bytes_in_another_process_too(full: StoredSweep, table: Table, tmp_path: Path):
    written = write_report([table], tmp_path / "a")
    figures = [f"accuracy_vs_gmacs.{kind}" for kind in ("png", "svg", "pdf")]
    assert [path.name for path in written] == [*FILES, *figures, "report.md"]
    program = f"""
import sys; from pathlib import Path
from orchestrator.tables.write_files import write_report
from tests.support.stored_sweep import StoredSweep
from tests.support.stored_tables import table_of
stored = StoredSweep(Path({str(full.sweep.path.parent)!r}))
write_report([table_of(stored)], Path({str(tmp_path / "b")!r}))
"""
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=root, env=environment)
    for path in written:
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_markdown_holds_the_question_the_head_and_the_rows(table: Table, tmp_path: Path):
    write_report([table], tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# Which level helps?\n\nSweep `levels`\n\n## Level of distillation\n")
    assert "- demo: 299 clips evaluated, 1 skipped as damaged" in text
    assert "| clip-level KL | 83.0 ± 5.0 | +3.0 ± 5.0 | 73.4 |" in text
    assert "![accuracy against GMACs](accuracy_vs_gmacs.png)" in text


def test_csv_has_one_line_an_entry_with_every_number_and_its_runs(full: StoredSweep, table: Table, tmp_path: Path):
    write_report([table], tmp_path)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "table5.csv").read_text())))
    assert [(line["row"], line["column"]) for line in lines] == list(table.entries)
    line = next(line for line in lines if (line["row"], line["column"]) == ("clip-level KL", "test/top1"))
    assert [float(value) for value in line["values"].split(";")] == pytest.approx([81, 85, 83])
    assert line["step_ids"].split(";") == [full.id_of("clip-level KL", seed) for seed in (0, 1, 2)]
    assert float(line["mean"]) == pytest.approx(83)
    assert (line["n"], line["num_seeds"], line["state"], line["delta_to"]) == ("3", "3", "complete", "baseline")
    assert (line["published"], line["published_data"], line["is_comparable"]) == ("73.4", "activitynet", "false")


def test_a_row_name_cannot_break_the_table(tmp_path: Path):
    stored = StoredSweep(tmp_path, text=SWEEP.replace("clip-level KL", '"a|b [red]"'))
    finish_row = stored.id_of("a|b [red]", 0)
    stored.finish(finish_row, 0.5)
    table = table_of(stored)
    write_report([table], tmp_path / "report")
    assert "| a\\|b [red] | 50.0 (1 of 3" in (tmp_path / "report" / "table5.md").read_text()
    console = Console(file=io.StringIO(), width=200)
    console.print(render(table))
    assert "a|b [red]" in console.file.getvalue()


def test_tables_of_nothing_done_have_no_figure_and_still_say_so(tmp_path: Path):
    stored = StoredSweep(tmp_path)
    written = write_report([table_of(stored)], tmp_path / "report")
    assert [path.name for path in written] == [*FILES, "report.md"]
    assert "missing (0 of 3)" in written[0].read_text()


def test_a_terminal_sees_every_cell(table: Table):
    console = Console(file=io.StringIO(), width=200)
    console.print(render(table))
    shown = console.file.getvalue()
    for row in table.rows:
        assert all(cell in shown for cell in table.cells(row))


@pytest.mark.parametrize("width", [80, 100])
def test_a_narrow_terminal_wraps_headings_and_keeps_row_names_and_its_width(table: Table, width: int):
    console = Console(file=io.StringIO(), width=width)
    console.print(render(table))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    for row in table.rows:
        assert any(row in line for line in lines)


def test_tex_has_the_cells_of_the_table_between_booktabs_rules_with_nothing_left_to_escape(table: Table):
    text = table_tex(table)
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    body = re.sub(r"\\(?:textbf|underline){([^{}]*(?:{[^{}]*}[^{}]*)*)}", r"\1", body)
    rows = [line.removesuffix(r" \\").split(" & ") for line in body.strip().splitlines()]
    assert rows == [[latex(cell) for cell in table.cells(row)] for row in table.rows]
    assert rf"\begin{{tabular}}{{l{'r' * (len(table.headings) - 1)}}}" in text
    # Every sign that LaTeX takes for a command is behind a backslash, but for the separators of the cells.
    assert not re.search(r"(?<!\\)[#_]|(?<![\\{])%|(?<![\\ ])&|&(?! )", text.removeprefix("%"))
    assert latex("50 % of a_b & {c}\\d ± 1") == r"50 \% of a\_b \& \{c\}\textbackslash{}d $\pm$ 1"


def test_the_best_accuracy_is_bold_and_the_second_underlined_and_equal_ones_are_alike(table: Table):
    means = {row: table.entries[row, "test/top1"].mean_text for row in table.rows}
    ranked = sorted({float(text) for text in means.values() if text}, reverse=True)
    rows = {line.split(" & ")[0]: line for line in table_tex(table).splitlines() if " & " in line}
    for row, text in means.items():
        place = ranked.index(float(text)) if text else None
        assert (rf"\textbf{{{text}" in rows[latex(row)]) == (place == 0)
        assert (rf"\underline{{{text}" in rows[latex(row)]) == (place == 1)
    assert len(ranked) > 1


def test_what_latex_would_take_for_an_option_of_the_row_before_is_text():
    # `\\\\` at the end of a row looks for `*` and `[` on the next line.
    assert latex("[red]*") == "{[}red]{*}"
    assert latex("μ ≥ λ, Δ") == r"$\mu$ $\geq$ $\lambda$, $\Delta$"


class _Cells(html.parser.HTMLParser):
    """The texts of a page's table by row, and the classes beside them; anything that loads from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.classes: list[list[str | None]] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
            self.classes.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.classes[-1].append(dict(attrs).get("class"))
        if tag in ("script", "link", "img") or {"src", "href"} & dict(attrs).keys():
            self.loaded.append(tag)

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1] and data.strip():
            self.rows[-1][-1] += data


def test_html_is_one_page_whose_cells_read_as_the_table_does(tmp_path: Path):
    stored = StoredSweep(tmp_path, text=SWEEP.replace("clip-level KL", '"<b>bold</b> & co"'))
    stored.finish(stored.id_of("<b>bold</b> & co", 0), 0.5)
    table = table_of(stored)
    page = _Cells()
    page.feed(table_html(table))
    assert page.rows == [table.headings, *(table.cells(row) for row in table.rows)]
    assert page.loaded == []
    published = [column.published_heading for column in table.columns if column.published_heading]
    assert [text for text, kind in zip(page.rows[0], page.classes[0], strict=True) if kind == "published"] == published
