"""Seconds between jobs, of stores whose times are written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.job_gaps import gaps, main
from orchestrator.store.store import Store
from reskd.files import write_json
from tests.support.stored_sweep import DONE


def stored(folder: Path, *jobs: tuple[int, int]) -> Store:
    store = Store(folder)
    for number, (started_ms, finished_ms) in enumerate(jobs):
        path = store.folder(f"{number:016x}") / "DONE.json"
        path.parent.mkdir(parents=True)
        write_json(path.with_name("recipe.json"), {})
        write_json(path, {**DONE, "host": "here", "workers": 2, "started_ms": started_ms, "finished_ms": finished_ms})
    return store


def test_steps_that_started_together_are_a_job_and_its_last_end_counts(tmp_path: Path) -> None:
    store = stored(tmp_path, (1000, 9000), (1000, 8000), (9700, 20_000), (21_500, 30_000))
    assert gaps(store) == [0.7, 1.5]


def test_jobs_that_overlap_have_no_gap_between_them(tmp_path: Path) -> None:
    assert gaps(stored(tmp_path, (1000, 9000), (5000, 12_000), (14_000, 15_000))) == [2.0]


def test_a_store_with_one_job_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored(tmp_path, (1000, 9000))
    with pytest.raises(SystemExit, match="no two jobs"):
        main([str(tmp_path)])


def test_the_median_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored(tmp_path, (0, 1000), (2000, 3000), (6000, 7000), (12_000, 13_000))
    main([str(tmp_path)])
    assert "median 3.0 s over 3 gaps" in capsys.readouterr().out
