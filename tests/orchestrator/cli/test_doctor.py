"""What `reskd doctor` says of a store (a folder, a bucket that answers, one that does not, none) and of /dev/shm."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli import doctor
from orchestrator.cli.doctor import shared_memory, store_findings
from reskd.runtime import handover


def test_a_folder_that_is_not_there_yet_is_judged_by_where_it_would_be(tmp_path: Path) -> None:
    [found] = store_findings(str(tmp_path / "not" / "yet"))
    assert (found.what, found.verdict) == ("store", "ok")
    assert found.found.endswith(f"GiB free at {tmp_path}/not/yet")


def test_a_bucket_is_asked_and_the_disk_is_that_of_its_cache(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESKD_CACHE", str(tmp_path / "cache"))
    bucket, cache = store_findings(s3_url)
    assert (bucket.what, bucket.verdict) == ("store", "ok")
    assert bucket.found == f"{s3_url} answers and heeds conditions"
    assert (cache.what, cache.verdict) == ("cache", "ok")
    assert f"GiB free at {tmp_path}/cache/" in cache.found
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]  # no folder is called s3:


def test_a_bucket_that_is_not_there_is_missing_with_a_way_out(s3_url: str) -> None:
    found, _ = store_findings("s3://nobody-made-this-bucket/store")
    assert found.verdict == "missing"
    assert "s3://nobody-made-this-bucket/store" in found.found
    assert "--store" in found.do


def test_an_address_of_another_kind_is_refused_and_no_folder_is_looked_for() -> None:
    [found] = store_findings("ftp://somewhere/store")
    assert found.verdict == "missing"
    assert "ftp://somewhere/store: neither a folder nor" in found.found


def test_a_small_shared_folder_is_a_note_only_where_clips_go_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    free = handover.free_shared_bytes()
    assert free is not None
    monkeypatch.setattr(doctor, "MIN_SHARED_GIB", 2 * free / 2**30 + 1)
    assert shared_memory().verdict == "ok"
    assert f"/dev/shm has {free / 2**20:,.0f} MiB free, not needed" in shared_memory().found
    monkeypatch.setattr(handover, "has_anonymous_memory", lambda: False)
    assert shared_memory().verdict == "note"
    assert "--shm-size" in shared_memory().do
