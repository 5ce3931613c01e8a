"""The whole page, from stores written by hand."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.experiment.report_page import PageWriter
from orchestrator.report.contents import shown_table
from orchestrator.report.render import render
from orchestrator.spec.sweep import load
from orchestrator.store.lease import leases
from tests.support.stored_sweep import MANIFEST, SWEEP, StoredSweep
from tests.support.stored_tables import finish_all, table_of

HOSTILE = "<b>&\"'</style><script>"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Parsed(HTMLParser):
    """The tags of a page: every one that is opened is closed in its turn. Attributes, and the text of each section."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.sections: dict[str, str] = {}
        self.section = "top"
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "section":
            self.section = dict(attrs)["id"] or ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        self.sections[self.section] = self.sections.get(self.section, "") + data


def writer_of(stored: StoredSweep) -> PageWriter:
    stored.store.write_manifest(MANIFEST)
    return PageWriter(Prepared(stored.sweep, stored.store, stored.steps, {}))


def page_of(stored: StoredSweep) -> str:
    return render(writer_of(stored).page())


def test_a_finished_sweep_has_its_answer_tables_charts_cost_and_origin(tmp_path: Path):
    stored = StoredSweep(tmp_path)
    finish_all(stored)
    page = Parsed(page_of(stored))
    top = page.sections["top"]
    assert "Which level helps?" in top
    assert "17.0 points above “baseline” in top-1 (95 % interval 9.5 to 24.5, 3 seeds)" in top
    assert "97.0 ± 6.6" in page.sections["tables"]
    titles = ("Accuracy against cost", "Learning curves", "Gain over baseline")
    assert all(title in page.sections["charts"] for title in titles)
    assert "Not drawn" not in page.sections["charts"]
    assert "Jobs on devices" in page.sections["timeline"]
    assert "0123abcd" in page.sections["reproduce"]
    assert "torch 2.11.0" in page.sections["reproduce"]
    assert "delta_to: baseline" in page.sections["reproduce"]  # the sweep file
    assert str(stored.store.home) in page.sections["reproduce"]
    assert not {"failures", "damaged"} & page.sections.keys()
    assert ("meta", "http-equiv", "refresh") not in page.attributes


def test_published_figures_stand_in_columns_of_their_own(tmp_path: Path):
    stored = StoredSweep(tmp_path)
    finish_all(stored)
    table = shown_table(table_of(stored))
    roles = [role for _, role in table.headings]
    assert roles == ["row", "measured", "difference", "published", "measured", "measured"]
    cells = {cells[0].text: cells for _, cells in table.rows}
    assert [cell.text for cell in cells["pixel-level MSE"] if cell.role == "published"] == ["78.5"]
    assert [cell.mark for cell in cells["pixel-level MSE"]][:2] == ["", "best"]


def test_every_text_of_the_user_is_escaped_and_the_page_loads_nothing(tmp_path: Path):
    text = SWEEP.replace("Which level helps?", f"'{HOSTILE.replace(chr(39), chr(39) * 2)}'")
    text = text.replace("row: pixel-level MSE", f"row: '{HOSTILE.replace(chr(39), chr(39) * 2)}'")
    stored = StoredSweep(tmp_path, text=text)
    for row in ("baseline", HOSTILE):
        for seed, value in ((0, 0.5), (1, 0.6), (2, 0.7)):
            stored.finish(stored.id_of(row, seed), value + 0.1 * (row == HOSTILE), damaged=(HOSTILE,))
    failed = stored.id_of("clip-level KL", 0)
    stored.start(failed)
    stored.store.fail(failed, {"reason": HOSTILE, "traceback": HOSTILE, "epoch": 0})
    page = Parsed(page_of(stored))
    assert not {"script", "link", "iframe"} & set(page.tags)
    for section in ("top", "tables", "charts", "timeline", "failures", "damaged", "reproduce"):
        assert HOSTILE in page.sections[section], section
    loads = [(name, value) for _, name, value in page.attributes if name in ("src", "href", "xlink:href", "srcset")]
    assert loads
    assert all(value.startswith(("#", "data:")) for _, value in loads)


def test_equal_stores_give_equal_pages(tmp_path: Path):
    stored = StoredSweep(tmp_path)
    finish_all(stored)
    assert page_of(stored) == page_of(stored)


def test_a_sweep_that_trains_shows_what_is_done_and_what_runs_and_waits(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0, 1))
    for seed in (0, 1):
        stored.finish(stored.id_of("baseline", seed), 0.8)
    with leases() as held:
        for seed in (0, 1):
            for row in ("clip-level KL", "pixel-level MSE"):
                assert held.take(stored.store.lease_path(stored.id_of(row, seed)))
        stored.start(stored.id_of("clip-level KL", 0))
        stored.train(stored.id_of("clip-level KL", 0), epoch=1)
        text = page_of(stored)
        (table,) = writer_of(stored).page().tables
    page = Parsed(text)
    assert ("meta", "http-equiv", "refresh") in page.attributes
    assert "“pixel-level MSE” has no result yet (seed 0 and 1 waiting)" in page.sections["top"]
    assert "2 done, 1 running, 3 waiting" in page.sections["top"].replace("\n", " ")
    shown = {cells[0].text: (cells[1].text, cells[1].detail) for _, cells in table.rows}
    assert shown == {
        "baseline": ("80.0", "80.0, 80.0"),
        "clip-level KL": ("running", "0 of 2"),
        "pixel-level MSE": ("waiting", "0 of 2"),
    }
    assert "epoch 1 of 2" in page.sections["timeline"]


def test_failures_and_those_who_wait_for_them_are_told_with_the_way_out(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0,))
    stored.finish(stored.id_of("baseline", 0), 0.8, damaged=("val/bad.mp4",))
    teacher = stored.teacher_of("pixel-level MSE", 0)
    stored.start(teacher)
    stored.fail(teacher)
    page = Parsed(page_of(stored))
    told = page.sections["failures"]
    assert "gradient is not finite" in told
    assert "Waiting for it: clip-level KL, seed 0; pixel-level MSE, seed 0" in told
    assert "--retry-failed" in told
    assert "val/bad.mp4" in page.sections["damaged"]
    assert "no frames" in page.sections["damaged"]


def test_a_step_that_failed_is_told_while_its_run_trains_others(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0,))
    failed = stored.id_of("baseline", 0)
    with leases() as held:
        assert held.take(stored.store.lease_path(failed))
        stored.start(failed)
        stored.fail(failed)
        page = writer_of(stored).page()
    assert [one.reason for one in page.trouble] == ["gradient is not finite"]
    assert page.answer.sentence.startswith("No answer yet: ")
    assert "seed 0 failed" in page.answer.sentence
    assert dict(page.counts)["failed"] == 1


def test_changes_of_set_are_in_the_commands(tmp_path: Path):
    stored = StoredSweep(tmp_path)
    sweep = load(stored.sweep.path, changes=["seeds=[0, 1]"])
    page = PageWriter(Prepared(sweep, stored.store, stored.steps, {})).page()
    assert any("run " in command and "--set 'seeds=[0, 1]'" in command for command in page.provenance.commands)
