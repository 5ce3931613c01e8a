"""The store's own MLflow database: wherever the store lies, is moved or copied to, and whoever shares it."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.tracking._tracking_service import utils
from sqlalchemy.engine import make_url

from orchestrator.store.step_record import records_from_store
from orchestrator.store.store import Store
from orchestrator.tracking.database import check_uri, client_of, file_of, shown, uri_of
from orchestrator.tracking.publish import Publisher
from orchestrator.tracking.settings import configure
from reskd.errors import BadInput
from tests.support.mlflow_runs import client_of as reader_of
from tests.support.mlflow_runs import publisher_of, run_of
from tests.support.other_user import as_other_user
from tests.support.stored_sweep import StoredSweep

ODD = "50%20done #3? a&b+c: naïve 打 [red] q='x' \\ {s}~;=@!$"
TEXT = """
question: q
base: {data: {name: demo}, model: {name: tsn_mini10, resolution: 24}, optim: {epochs: 1, batch_size: 16}}
rows: {chain: [{row: baseline, kd.level: none}]}
seeds: SEEDS
"""
TAUGHT = TEXT.replace("[{row: baseline, kd.level: none}]", "[{row: taught, kd.level: pixel}]").replace(
    "optim: {", "teacher: {model.name: tsn_mini18, model.resolution: 64}, optim: {"
)
"""With a teacher and a best student, which are registered as models."""


def report(home: Path) -> Path:
    folder = home / "tables" / "levels"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text("# r\n", encoding="utf-8")
    return folder


def publish_all(stored: StoredSweep) -> Publisher:
    """Publish the sweep with its report and its models, as a new process does."""
    utils._artifact_repos_cache.clear()  # in which MLflow keeps the place of each run
    publisher = publisher_of(stored)
    for step in stored.steps.values():
        stored.store.record_identity(step.id, full_id=step.full_id, payload=step.payload, recipe={})
    assert publisher.publish()
    assert publisher.log_report(report(stored.store.home))
    assert publisher.register(publisher.records())
    return publisher


def finished(folder: Path, *, text: str = TEXT, name: str = "levels") -> StoredSweep:
    stored = StoredSweep(folder, name=name, seeds=(0,), text=text)
    for step_id in stored.steps:
        stored.finish(step_id, 0.5)
    return stored


def artifacts_of(publisher: Publisher) -> list[Path]:
    """The folders in which MLflow finds the artifacts of the experiment's runs."""
    client = reader_of(publisher)
    runs = client.search_runs([publisher.experiment_id])
    return [
        Path(client.download_artifacts(run.info.run_id, "")) for run in runs if client.list_artifacts(run.info.run_id)
    ]


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def texts(database: Path) -> Iterator[str]:
    """Every text in every table."""
    with closing(sqlite3.connect(database)) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                yield from (value for value in row if isinstance(value, str))


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1, max_size=50))
def test_the_uri_of_a_store_leads_back_to_it_whatever_its_name(name: str) -> None:
    store = Store(Path("/folder") / name / "store")
    uri = uri_of(store, None)
    assert file_of(uri) == store.mlflow_db
    assert make_url(uri).query == {}
    assert urlsplit(uri).fragment == ""


def test_a_store_lies_in_a_folder_of_any_name_and_nothing_beside_it(tmp_path: Path) -> None:
    stored = finished(tmp_path / ODD)
    publisher = publish_all(stored)
    assert publisher.records() == records_from_store(stored.store, stored.steps)
    assert {folder.is_relative_to(stored.store.artifacts) for folder in artifacts_of(publisher)} == {True}
    assert stored.store.mlflow_db.stat().st_size > 0
    assert os.listdir(tmp_path) == [ODD]
    assert shown(publisher.tracking_uri) == str(stored.store.mlflow_db)


def test_a_moved_store_is_published_where_it_is_now(tmp_path: Path) -> None:
    old = finished(tmp_path / "old", text=TAUGHT)
    weights = old.store.weights(old.teacher_of("taught", 0)).read_bytes()
    publish_all(old)
    (tmp_path / "new #2").mkdir()
    (tmp_path / "old").rename(tmp_path / "new #2" / "moved")
    moved = StoredSweep(tmp_path / "new #2" / "moved", seeds=(0,), text=TAUGHT)
    publisher = publish_all(moved)
    assert not (tmp_path / "old").exists()
    assert len(artifacts_of(publisher)) == 3
    assert all(folder.is_relative_to(moved.store.artifacts) for folder in artifacts_of(publisher))
    assert [text for text in texts(moved.store.mlflow_db) if str(tmp_path / "old") in text] == []
    client = reader_of(publisher)
    found = Path(client.download_artifacts(run_of(publisher, moved.teacher_of("taught", 0)).info.run_id, "model"))
    assert (found / "weights.pt").read_bytes() == weights


def test_another_store_that_publishes_into_this_ones_database_keeps_its_files(tmp_path: Path) -> None:
    host, guest = finished(tmp_path / "host"), finished(tmp_path / "guest", name="guests")
    publish_all(host)
    publisher = Publisher(guest.store, sweep=guest.sweep, steps=guest.steps, tracking_uri=uri_of(host.store, None))
    assert publisher.publish()
    assert publisher.log_report(report(guest.store.home))
    for store in (host.store, host.store):  # whatever is done to the host later
        client_of(store, None)
    utils._artifact_repos_cache.clear()
    assert {folder.is_relative_to(guest.store.artifacts) for folder in artifacts_of(publisher)} == {True}


def test_a_store_with_a_database_of_its_own_may_publish_into_a_new_one(tmp_path: Path) -> None:
    stored = finished(tmp_path / "store")
    publish_all(stored)
    client_of(stored.store, f"sqlite:///{tmp_path / 'new.db'}")
    assert (tmp_path / "new.db").stat().st_size > 0


def test_a_copy_and_its_original_are_published_apart(tmp_path: Path) -> None:
    publish_all(finished(tmp_path / "original"))
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    before = files(tmp_path / "original")
    copy = StoredSweep(tmp_path / "copy", seeds=(0,), text=TEXT)
    copied = files(copy.store.artifacts)
    (copy.store.home / "tables" / "levels" / "more.csv").write_text("1\n", encoding="utf-8")
    publish_all(copy)
    assert files(tmp_path / "original") == before
    assert len(files(copy.store.artifacts)) == len(copied) + 1


def test_a_store_that_is_reached_by_two_paths_has_one_place_for_its_artifacts(tmp_path: Path) -> None:
    stored = finished(tmp_path / "here")
    first = publish_all(stored)
    (tmp_path / "mounted").symlink_to(tmp_path / "here")
    second = publish_all(StoredSweep(tmp_path / "mounted", seeds=(0,), text=TEXT))
    (stored.store.home / "tables" / "levels" / "more.csv").write_text("1\n", encoding="utf-8")
    utils._artifact_repos_cache.clear()
    assert first.log_report(stored.store.tables("levels"))
    reports = list(stored.store.artifacts.rglob("report.md"))
    assert len(reports) == 1
    assert (reports[0].parent / "more.csv").is_file()
    assert len(second.records()) == len(first.records())


def test_other_experiments_in_the_database_keep_their_places(tmp_path: Path) -> None:
    old = finished(tmp_path / "old")
    client = reader_of(publish_all(old))
    theirs = client.create_experiment("theirs", artifact_location=(tmp_path / "elsewhere").as_uri())
    (tmp_path / "old").rename(tmp_path / "new")
    client = reader_of(publish_all(StoredSweep(tmp_path / "new", seeds=(0,), text=TEXT)))
    assert client.get_experiment(theirs).artifact_location == (tmp_path / "elsewhere").as_uri()


def test_a_database_that_several_stores_share_is_left_as_it_is(tmp_path: Path) -> None:
    shared = f"sqlite:///{tmp_path / 'all.db'}"
    one, other = finished(tmp_path / "one", name="one"), finished(tmp_path / "other", name="other")
    for stored in (one, other):
        assert publisher_of(stored, shared).publish()
    client = MlflowClient(tracking_uri=shared)
    for stored in (one, other):
        experiment = client.get_experiment_by_name(stored.sweep.name)
        assert experiment is not None
        assert experiment.artifact_location == stored.store.artifacts.as_uri()


def test_everything_that_is_published_can_be_written_by_the_group_of_the_stores_folder(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        stored = finished(tmp_path)
        for path in (stored.store.home, *stored.store.home.rglob("*")):
            path.chmod(0o2775 if path.is_dir() else 0o664)
        stored.store.mlflow_db.touch(mode=0o644)  # as SQLite made it for earlier versions
        publish_all(StoredSweep(tmp_path, seeds=(0,), text=TEXT))
    finally:
        os.umask(before)
    closed = [path.name for path in stored.store.home.rglob("*") if not path.stat().st_mode & stat.S_IWGRP]
    assert closed == []


def test_a_database_that_another_user_closed_is_named_as_what_it_is(tmp_path: Path) -> None:
    stored = finished(tmp_path)
    stored.store.mlflow_db.touch()
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/tmp") and path.is_relative_to("/tmp"):
            path.chmod(0o755)
    for path in stored.store.home.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o666)
    stored.store.home.chmod(0o777)
    stored.store.mlflow_db.chmod(0o444)

    def opened() -> str:
        with pytest.raises(BadInput) as error:
            client_of(stored.store, None)
        return str(error.value)

    said = as_other_user(opened)
    assert f"{stored.store.mlflow_db} belongs to " in said
    assert "MLflow answers" not in said


@pytest.mark.parametrize("uri", ["./mlruns", "mlruns", "file:./mlruns", "file:///tmp/mlruns"])
def test_a_folder_of_files_which_mlflow_no_longer_writes_is_refused_with_the_way_out(uri: str) -> None:
    with pytest.raises(BadInput, match=r"no longer keeps runs in a folder of files; .*unset MLFLOW_TRACKING_URI"):
        check_uri(uri)


def test_the_environment_does_not_say_where_models_go_nor_how_runs_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    asked = {
        "MLFLOW_REGISTRY_URI": f"sqlite:///{elsewhere}",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
        "MLFLOW_ENABLE_WORKSPACES": "true",
        "MLFLOW_EXPERIMENT_NAME": "theirs",
        "MLFLOW_RUN_ID": "0123",
        "MLFLOW_TRACKING_TOKEN": "secret",
    }
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    assert {"MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID"} <= set(configure())
    left = {name for name in os.environ if name.startswith("MLFLOW_")}
    assert not left & {"MLFLOW_ENABLE_ASYNC_LOGGING", "MLFLOW_ENABLE_WORKSPACES", "MLFLOW_RUN_ID"}
    assert "MLFLOW_TRACKING_TOKEN" in left  # that is how a server is reached
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{elsewhere}")  # as of a program that does not call configure
    stored = finished(tmp_path / "store", text=TAUGHT)
    publisher = publish_all(stored)
    client = MlflowClient(tracking_uri=publisher.tracking_uri, registry_uri=publisher.tracking_uri)
    assert len(client.search_registered_models()) == 2
    assert not elsewhere.exists()
    assert uri_of(stored.store, None) == publisher.tracking_uri
