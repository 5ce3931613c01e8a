"""The page of a sweep while it trains."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest

from orchestrator.experiment.bound_sweep import Prepared
from orchestrator.experiment.report_page import PageWriter, page_path
from orchestrator.run.display.live_pages import live_pages
from tests.support.stored_sweep import MANIFEST, StoredSweep


def prepared_of(stored: StoredSweep) -> Prepared:
    stored.store.write_manifest(MANIFEST)
    return Prepared(stored.sweep, stored.store, stored.steps, {})


def test_a_page_is_written_again_only_if_a_step_has_changed(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0,))
    writer = PageWriter(prepared_of(stored))
    assert writer.write_news()
    assert not writer.write_news()
    step_id = stored.id_of("baseline", 0)
    stored.start(step_id)
    stored.train(step_id, epoch=1)
    assert writer.write_news()
    assert not writer.write_news()
    stored.finish(step_id, 0.8)
    assert writer.write_news()
    assert "80.0" in page_path(prepared_of(stored)).read_text()
    assert not writer.write_news()


def test_a_row_that_ends_is_in_the_charts_of_the_next_page(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0,))
    writer = PageWriter(prepared_of(stored))
    for number, row in enumerate(("baseline", "clip-level KL"), start=1):
        stored.finish(stored.id_of(row, 0), 0.5 + 0.1 * number)
        cost, curves, *_ = writer.page().charts
        assert (row in cost.svg, row in curves.svg) == (True, True)


def test_the_thread_writes_pages_until_the_training_ends(tmp_path: Path):
    stored = StoredSweep(tmp_path, seeds=(0,))
    path = page_path(prepared_of(stored))
    with live_pages([prepared_of(stored)], every_s=0.01):
        deadline = time.monotonic() + 20
        while not path.is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "Which level helps?" in path.read_text()


def test_a_page_that_cannot_be_written_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    stored = StoredSweep(tmp_path, seeds=(0,))
    stored.store.tables("levels").parent.mkdir(parents=True)
    stored.store.tables("levels").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING), live_pages([prepared_of(stored)], every_s=0.01):
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "pages")
        thread.join(timeout=20)  # it ends by itself, since there is no page left to write
        assert not thread.is_alive()
    assert len(caplog.records) == 1
    assert "levels: the report was not written" in caplog.text
