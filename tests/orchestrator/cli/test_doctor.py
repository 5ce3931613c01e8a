"""What `reskd doctor` says of a store, of the loaders' memory and of the environment.

A store is a folder, a bucket that answers, one that does not, or none.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from orchestrator.cli.doctor import PLACES, environment_findings, loader_memory, store_findings
from reskd.runtime import handover
from tests.support.other_user import as_other_user


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


def test_clips_go_through_memory_where_the_system_has_it_and_through_pipes_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for is_there, verdict in ((True, "ok"), (False, "note")):
        monkeypatch.setattr(handover, "has_anonymous_memory", lambda is_there=is_there: is_there)
        assert loader_memory().verdict == verdict
        assert ("pipes" in loader_memory().found) == (not is_there)


def test_what_the_environment_decides_is_shown_and_what_it_names_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)
    assert [(found.verdict, found.found) for found in environment_findings()] == [("ok", "names no place")]
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@mlflow:5000")
    places, ray = environment_findings()
    assert places.found == "RAY_ADDRESS=http://127.0.0.1:8265, MLFLOW_TRACKING_URI=http://me:***@mlflow:5000"
    assert ray.verdict == "missing"
    assert "the address of a dashboard" in ray.found
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    _, mlflow = environment_findings()
    assert (mlflow.what, mlflow.verdict) == ("MLFLOW_TRACKING_URI", "missing")


def test_a_store_below_a_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    [found] = store_findings(str(tmp_path / "file" / "store"))
    assert (found.verdict, found.found) == ("missing", f"{tmp_path}/file is no folder")


def test_a_store_with_a_part_that_another_user_closed_is_missing() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.chmod(home, 0o777)
        runs = Path(home, "runs")
        runs.mkdir(mode=0o555)
        [found] = as_other_user(lambda: store_findings(home))
    assert found.verdict == "missing"
    assert f"{runs} belongs to " in found.found
