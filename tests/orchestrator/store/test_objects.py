"""The store in S3, against moto's server: a training, its resume, leases under races, DONE once, what goes wrong."""

from __future__ import annotations

import json
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.experiment.reevaluate import reevaluate
from orchestrator.store.lease import Lease, LeaseBlob, Leases, read_lease
from orchestrator.store.lease_owner import Owner
from orchestrator.store.object_blobs import ObjectBlobs
from orchestrator.store.open import leased_store, store_at
from orchestrator.store.store import LeasedStore, Store
from reskd.checkpoint import load_weights
from reskd.data.manifest import Manifest, read_manifest
from reskd.errors import BadInput, LeaseLost
from reskd.recipe import DataSpec
from reskd.runtime.workers import Workers
from reskd.training.fit import fit_cohort
from reskd.training.member_spec import MemberSpec
from tests.support.command_line import call_apart
from tests.support.stored_sweep import DONE
from tests.support.sweeps import THREE_ROWS
from tests.support.trained_sweep import train_sweep, train_undisturbed
from tests.support.training import student_recipe, teacher_recipe
from tests.support.typed_runs import typed

JUDGED = {"metrics": {"top1": 0.5}, "num_clips": 2, "num_skipped": 0}
STEP = "0123456789abcdef"
INFO = {"workers": 2, "threads": 1, "started_ms": 1, "host": "here"}


@pytest.fixture
def store(s3_url: str) -> Store:
    return store_at(s3_url)


def save(store: Store, epoch: int) -> None:
    store.save(STEP, epoch, {"model": {"w": torch.full((2,), float(epoch))}}, {"train/loss": 1 / epoch})


def keys(store: Store, folder: str = "") -> list[str]:
    assert isinstance(store.blobs, ObjectBlobs)
    return [key.removeprefix(f"runs/{STEP}/") for key in store.blobs._below(f"runs/{STEP}{folder}")]


def test_checkpoints_are_kept_and_rewound_as_in_a_folder(store: Store, tmp_path: Path) -> None:
    folder = Store(tmp_path / "folder")
    for where in (store, folder):
        for epoch in (1, 2, 3):
            save(where, epoch)

    def seen(where: Store) -> tuple:
        return where.epochs(STEP), [(line["epoch"], line["metrics"]) for line in where.metrics(STEP)]

    assert (
        seen(store)
        == seen(folder)
        == ((2, 3), [(1, {"train/loss": 1.0}), (2, {"train/loss": 0.5}), (3, {"train/loss": 1 / 3})])
    )
    assert torch.equal(store.load(STEP, 3)["model"]["w"], torch.full((2,), 3.0))
    for where in (store, folder):
        where.rewind(STEP, 2)
    assert seen(store) == seen(folder)
    for where in (store, folder):
        save(where, 3)
    assert seen(store) == seen(folder)


def test_a_crash_between_checkpoint_and_its_metrics_is_made_good(store: Store) -> None:
    save(store, 1)
    save(store, 2)
    lines = store.blobs.read(f"runs/{STEP}/metrics.jsonl")
    assert lines is not None
    store.blobs.write(f"runs/{STEP}/metrics.jsonl", lines.splitlines(keepends=True)[0])
    store.rewind(STEP, 2)
    assert [line["metrics"]["train/loss"] for line in store.metrics(STEP)] == [1.0, 0.5]


def test_a_damaged_checkpoint_is_named_with_its_url(store: Store) -> None:
    save(store, 1)
    store.blobs.write(f"runs/{STEP}/checkpoints/epoch_0001.pt", b"garbage")
    with pytest.raises(BadInput, match=f"{store.address}/runs/{STEP}/checkpoints/epoch_0001.pt: damaged"):
        store.load(STEP, 1)


def test_records_come_back_as_they_were_written(store: Store) -> None:
    store.record_identity(STEP, full_id=STEP * 4, payload={"lr": 0.1}, recipe={})
    with pytest.raises(BadInput, match="another recipe"):
        store.record_identity(STEP, full_id=STEP * 4, payload={"lr": 0.2}, recipe={})
    assert store.step_ids() == (STEP,)
    store.start(STEP, INFO, afresh=True)
    assert store.start(STEP, {**INFO, "workers": 4}, afresh=False) == INFO
    store.write_evaluation(STEP, "val-f4-v1x1", JUDGED, {"logits": np.eye(2)})
    assert store.evaluations(STEP) == {"val-f4-v1x1": JUDGED}
    np.testing.assert_array_equal(store.logits(STEP, "val-f4-v1x1")["logits"], np.eye(2))
    store.write_throughput(STEP, {"device": "a/b c", "clips_per_s": 1.0})
    assert store.newest_throughput(STEP) == {"device": "a/b c", "clips_per_s": 1.0}
    assert store.newest_throughput(STEP) == {"device": "a/b c", "clips_per_s": 1.0}
    store.fail(STEP, {"reason": "diverged"})
    assert (store.status(STEP).state, store.status(STEP).reason) == ("failed", "diverged")
    store.forget_failure(STEP)
    assert store.status(STEP).state == "absent"
    store.remove(STEP)
    assert keys(store) == []


def test_a_manifest_written_on_one_machine_is_found_on_another(
    store: Store, s3_url: str, tmp_path: Path, demo_manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_manifest(demo_manifest)
    reference = store.manifest_reference("demo", demo_manifest.sha256)
    assert reference.startswith(store.address)
    monkeypatch.setenv("RESKD_CACHE", str(tmp_path / "other"))
    other = store_at(s3_url)
    assert other.newest_manifest("dem") is None
    found = other.newest_manifest("demo")
    assert found is not None
    assert found.is_relative_to(tmp_path / "other")
    assert read_manifest(found).sha256 == read_manifest(other.local(reference)).sha256 == demo_manifest.sha256


def test_done_is_written_once(store: Store) -> None:
    save(store, 1)
    store.finish(STEP, {"model": 1}, DONE | {"host": "first"})
    with pytest.raises(LeaseLost, match="another run has finished"):
        store.finish(STEP, {"model": 2}, DONE | {"host": "second"})
    assert store.done(STEP) == DONE | {"host": "first"}
    assert keys(store, "/checkpoints") == []
    assert [line["epoch"] for line in store.metrics(STEP)] == [1]


def test_of_many_that_finish_at_once_one_writes_done(store: Store) -> None:
    def finish(number: int) -> bool:
        try:
            store.finish(STEP, {"model": number}, DONE | {"host": str(number)})
        except LeaseLost:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        won = [number for number, is_won in enumerate(threads.map(finish, range(8))) if is_won]
    assert len(won) == 1
    assert store.done(STEP) == DONE | {"host": str(won[0])}


def elsewhere(name: str) -> Owner:
    """An owner on a machine that this one cannot look into."""
    return Owner(name, "another-host", "another boot", 1, "1")


def race(key: str, takers: list[Leases], places: list[ObjectBlobs]) -> list[Leases]:
    barrier = threading.Barrier(len(takers))

    def take(taker: Leases, place: ObjectBlobs) -> bool:
        lease = LeaseBlob(key, place)
        read_lease(lease)
        barrier.wait()
        return taker.take(lease)

    with ThreadPoolExecutor(len(takers)) as threads:
        won = list(threads.map(take, takers, places))
    return [taker for taker, is_won in zip(takers, won, strict=True) if is_won]


@pytest.mark.parametrize("present", ["none", "given back", "stale"])
def test_of_eight_takers_one_wins_every_race(store: Store, present: str) -> None:
    places = [ObjectBlobs(store.address, cache=store.home) for _ in range(8)]  # a client each, as processes have
    for number in range(5):
        key = f"runs/{number:016d}/lease.json"
        lease = LeaseBlob(key, store.blobs)
        before = Leases(elsewhere("before"), beat_s=1000)
        takers = [Leases(elsewhere(f"taker {index}"), beat_s=1000, stale_s=0) for index in range(8)]
        if present != "none":
            assert before.take(lease)
        if present == "given back":
            before.release()
            assert read_lease(lease) is None
        if present == "stale":
            for taker in takers:
                assert not taker.take(lease)  # each has to see it stand still itself
            time.sleep(0.01)
        winners = race(key, takers, places)
        try:
            assert len(winners) == 1
            held = read_lease(lease)
            assert held is not None
            assert held.owner == winners[0].owner
        finally:
            for taker in [before, *takers]:
                taker.release()


def test_a_holder_whose_lease_was_taken_over_notices_at_its_next_beat(store: Store) -> None:
    lease = store.lease_path(STEP)
    holder, taker = Leases(elsewhere("slow"), beat_s=0.2), Leases(elsewhere("quick"), beat_s=1000, stale_s=-1)
    sink = LeasedStore(store, owner_id="slow")
    try:
        assert holder.take(lease)
        save(sink, 1)
        first = read_lease(lease)
        assert first is not None
        until = time.monotonic() + 10
        while (now := read_lease(lease)) is None or now.counter == first.counter:
            assert time.monotonic() < until, "the counter does not rise"
        while not taker.take(lease):
            assert time.monotonic() < until
        with pytest.raises(LeaseLost):
            save(sink, 2)
        while holder.paths():
            assert time.monotonic() < until, "the holder still believes in its lease"
            time.sleep(0.02)
        holder.release()
        held = read_lease(lease)
        assert held is not None
        assert held.owner.id == "quick"
    finally:
        holder.release()
        taker.release()
    assert read_lease(lease) is None


def test_a_beat_whose_object_changed_after_it_was_read_does_not_overwrite_it(store: Store) -> None:
    """The take-over comes exactly between the beat's look and its write."""
    lease, seen = LeaseBlob("runs/x/lease.json", store.blobs), []
    old, new = (Lease(elsewhere(name), 0, 1.0) for name in ("old", "new"))
    assert lease.update(lambda present: old)[0] == old

    def beat(present: Lease | None) -> Lease | None:
        seen.append(present)
        if len(seen) == 1:
            lease.update(lambda present: new)
        return replace(old, counter=1) if present == old else present

    assert lease.update(beat)[0] == new
    assert seen == [old, new]
    assert read_lease(lease) == new


def test_a_step_that_is_held_is_not_removed(store: Store) -> None:
    holder = Leases(elsewhere("holder"), beat_s=0.2)
    assert holder.take(store.lease_path(STEP))
    assert store.status(STEP).state == "held"
    with pytest.raises(BadInput, match="another-host"):
        store.remove(STEP)
    holder.release()
    assert store.status(STEP).state == "absent"


def test_a_store_survives_the_pickling_that_tune_does_to_its_searcher(store: Store) -> None:
    save(store, 1)
    assert pickle.loads(pickle.dumps(store)).epochs(STEP) == (1,)


def test_workers_get_the_kind_of_store_that_its_address_names(s3_url: str, tmp_path: Path) -> None:
    assert leased_store(s3_url, owner_id="x").address == s3_url
    assert isinstance(leased_store(str(tmp_path), owner_id="x").blobs.where("a"), str)
    assert leased_store(str(tmp_path), owner_id="x").address == str(tmp_path)


class Interrupted(Exception):
    pass


def test_a_cohort_ends_with_the_same_weights_as_in_a_folder_also_when_interrupted(
    store: Store, tmp_path: Path, demo_data: DataSpec, short_manifest: Manifest
) -> None:
    teacher = "7eac4e4000000000"
    recipes = {level: student_recipe(demo_data, level, epochs=2) for level in ("none", "pixel")}

    def train(sink: Store, stop_after: int | None = None) -> list[int]:
        epochs: list[int] = []

        def on_epoch_end(report: object) -> None:
            epochs.append(report.epoch)  # type: ignore[attr-defined]
            if report.epoch == stop_after:  # type: ignore[attr-defined]
                raise Interrupted

        def fit(members: list[MemberSpec], weights: Path | None, hook: Callable | None) -> None:
            fit_cohort(
                members,
                manifest=short_manifest,
                root=Path(str(demo_data.root)),
                sink=sink,
                workers=Workers(),
                teacher_weights=weights,
                on_epoch_end=hook or (lambda report: None),
            )

        fit([MemberSpec(teacher, teacher_recipe(demo_data))], None, None)
        weights = sink.local(sink.weights_reference(teacher))
        load_weights(weights)
        fit([MemberSpec(step_id, recipe) for step_id, recipe in recipes.items()], weights, on_epoch_end)
        return epochs

    folder = Store(tmp_path / "folder")
    train(folder)
    with pytest.raises(Interrupted):
        train(store, stop_after=1)
    assert train(store) == [2]
    for step_id in (teacher, *recipes):
        here, there = store.done(step_id), folder.done(step_id)
        assert here is not None
        assert there is not None
        assert here["state_hash"] == there["state_hash"]
        assert [line["metrics"] for line in store.metrics(step_id)]
        ours, theirs = store.metrics(step_id), folder.metrics(step_id)
        assert [line["metrics"]["train/loss"] for line in ours] == [line["metrics"]["train/loss"] for line in theirs]
        np.testing.assert_array_equal(
            store.logits(step_id, here["protocol"])["logits"], folder.logits(step_id, there["protocol"])["logits"]
        )


@pytest.mark.slow  # a whole small sweep is trained first
def test_finished_steps_are_judged_again_in_a_bucket(store: Store, tmp_path: Path, demo_root: Path) -> None:
    prepared = train_sweep(tmp_path, demo_root, store=store)
    recipes = {step_id: step.recipe for step_id, step in prepared.steps.items()}
    outcome = reevaluate(store, recipes, views=(2, 1), num_frames=None, device=torch.device("cpu"))
    assert sorted(outcome.judged) == sorted(recipes)
    assert not outcome.held
    for step_id in recipes:
        assert set(store.evaluations(step_id)) == {"val-f4-v1x1", "val-f4-v2x1"}
        assert store.lease(step_id) is None


def sweep_in(folder: Path, demo_root: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "small.yaml").write_text(THREE_ROWS.replace("ROOT", str(demo_root)).replace("epochs: 100", "epochs: 4"))
    return folder


@pytest.mark.parametrize(
    ("address", "variables", "named"),
    [
        ("s3://absent/x", {}, "NoSuchBucket"),
        pytest.param(
            "s3://experiments/x",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            "http://127.0.0.1:9",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "s3://experiments/x",
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            "credentials",
            marks=pytest.mark.slow,
        ),
        ("ftp://experiments/x", {}, "neither a folder nor s3://"),
        pytest.param("s3://experiments/x", {"AWS_ENDPOINT_URL": "not a url"}, "not a url", marks=pytest.mark.slow),
        pytest.param("s3://", {}, "expected s3://bucket", marks=pytest.mark.slow),
        pytest.param("s3://Not_A_Bucket!/x", {}, "Not_A_Bucket!", marks=pytest.mark.slow),
    ],
)
def test_an_address_that_leads_nowhere_is_one_line_and_nothing_starts(
    s3_url: str,
    tmp_path: Path,
    demo_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    address: str,
    variables: dict[str, str],
    named: str,
) -> None:
    folder = sweep_in(tmp_path / "place", demo_root)
    monkeypatch.setenv("HOME", str(tmp_path))  # no credentials of this machine
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    code, out, err = call_apart(monkeypatch, capsys, "run", "small.yaml", "--store", address)
    assert code == 2, out + err
    assert out == ""
    assert err.startswith("reskd: --store ")
    assert len(err.splitlines()) == 1
    assert named in err
    assert sorted(path.name for path in folder.iterdir()) == ["small.yaml"]


@pytest.mark.ray
def test_a_sweep_run_half_here_and_half_there_ends_with_the_tables_of_one_undisturbed_run(
    s3_url: str, tmp_path: Path, demo_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_in(tmp_path / "undisturbed", demo_root) / "small.yaml"
    undisturbed = train_undisturbed(sweep, tmp_path / "reference", num_workers=2)
    here, there = (sweep_in(tmp_path / name, demo_root) for name in ("here", "there"))
    monkeypatch.setenv("RESKD_CACHE", str(tmp_path / "cache-here"))
    text = (here / "small.yaml").read_text()
    (here / "small.yaml").write_text(text.replace("    - {row: pixel}\n", "").split("tables:")[0])
    first = typed("run", "small.yaml", "--store", s3_url, folder=here)
    assert first.returncode == 0, first.stdout + first.stderr
    finished = {key for key in _all_keys(s3_url) if key.endswith("DONE.json")}
    assert len(finished) == 3

    monkeypatch.setenv("RESKD_CACHE", str(tmp_path / "cache-there"))
    second = typed("run", "small.yaml", "--store", s3_url, folder=there)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "training 1 step in 1 job" in second.stdout
    assert f"ui --store {s3_url}" in second.stdout
    assert _tables(tmp_path / "cache-there") == _tables(undisturbed.home)
    assert not [key for key in _all_keys(s3_url) if "/ray/" in key or "mlflow" in key]

    monkeypatch.setenv("RESKD_CACHE", str(tmp_path / "cache-laptop"))
    for command in (["publish"], ["tables"], ["tables", "--from", "store"]):
        again = typed(*command, "small.yaml", "--store", s3_url, folder=there)
        assert again.returncode == 0, again.stdout + again.stderr
        assert _tables(tmp_path / "cache-laptop") == _tables(undisturbed.home), command
    assert len(list((tmp_path / "cache-laptop").glob("*/mlflow.db"))) == 1
    status = typed("status", "small.yaml", "--store", s3_url, "--json", folder=there)
    assert [row["verdict"] for row in json.loads(status.stdout)] == ["done"] * 4


def _all_keys(s3_url: str) -> list[str]:
    return ObjectBlobs(s3_url, cache=Path())._below("")


def _tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("tables/small/*") if path.suffix in (".md", ".csv")}
