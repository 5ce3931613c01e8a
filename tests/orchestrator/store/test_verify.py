"""`reskd verify`: what it says of a good store, of a rotten one, and of one of an earlier version."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from orchestrator.store.store import Store
from orchestrator.store.verify import Checked, steps_to_verify, verify_manifests, verify_step
from tests.support.command_line import call
from tests.support.stored_sweep import MANIFEST, StoredSweep

OLD = Path(__file__).parents[2] / "fixtures" / "store_6431d69" / "store"


@pytest.fixture
def stored(tmp_path: Path) -> StoredSweep:
    """A finished baseline, an interrupted one, a failed one, and the manifest of their data."""
    stored = StoredSweep(tmp_path)
    stored.store.write_manifest(MANIFEST)
    stored.finish(stored.id_of("baseline", 0), 0.5)
    stored.start(stored.id_of("baseline", 1))
    for epoch in (1, 2):
        stored.train(stored.id_of("baseline", 1), epoch=epoch)
    stored.start(stored.id_of("baseline", 2))
    stored.fail(stored.id_of("baseline", 2))
    return stored


def all_checked(store: Store) -> list[Checked]:
    return [
        *verify_manifests(store),
        *(one for step_id in steps_to_verify(store) for one in verify_step(store, step_id)),
    ]


def flip_a_bit(path: Path, *, seed: int = 0) -> bytes:
    """Flip one bit somewhere in the first nine tenths; returns what the file was."""
    before = path.read_bytes()
    drawn, changed = random.Random(f"{seed} {path.name}"), bytearray(before)
    changed[drawn.randrange(len(changed) * 9 // 10)] ^= 1 << drawn.randrange(8)
    path.write_bytes(changed)
    return before


def test_every_file_of_a_store_is_read_and_verified(stored: StoredSweep) -> None:
    found = all_checked(stored.store)
    assert {one.verdict for one in found} == {"verified"}
    written = {
        path.relative_to(stored.store.home).as_posix() for path in stored.store.home.rglob("*") if path.is_file()
    }
    read = {f"runs/{one.step_id}/{one.file}" if one.step_id else one.file for one in found}
    assert read == {name for name in written if "lease" not in name}


def test_a_flipped_bit_in_any_file_is_found_and_named_with_the_way_out(stored: StoredSweep) -> None:
    for one in all_checked(stored.store):
        path = stored.store.home / (f"runs/{one.step_id}/{one.file}" if one.step_id else one.file)
        before = flip_a_bit(path)
        (damaged,) = [each for each in all_checked(stored.store) if each.verdict == "damaged"]
        assert (damaged.step_id, damaged.file) == (one.step_id, one.file)
        assert damaged.reason
        assert damaged.way_out
        path.write_bytes(before)
    assert {one.verdict for one in all_checked(stored.store)} == {"verified"}


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"metrics": 1}', b"\xff\xfe", b"[" * 100_000, b""])
def test_a_record_of_another_shape_is_damaged(stored: StoredSweep, content: bytes) -> None:
    step_id = stored.id_of("baseline", 0)
    for name in ("DONE.json", "start.json", "recipe.json", "metrics.jsonl"):
        path = stored.store.folder(step_id) / name
        before = path.read_bytes()
        path.write_bytes(content + b"\n")
        assert [one.file for one in verify_step(stored.store, step_id) if one.verdict == "damaged"] == (
            [name] if content or name != "metrics.jsonl" else []
        )
        path.write_bytes(before)


def test_weights_and_recipes_that_are_gone_are_damaged(stored: StoredSweep) -> None:
    step_id = stored.id_of("baseline", 0)
    for name in ("weights.pt", "recipe.json"):
        (stored.store.folder(step_id) / name).unlink()
    assert {one.file for one in all_checked(stored.store) if one.verdict == "damaged"} == {"weights.pt", "recipe.json"}


def test_damaged_weights_are_noted_until_a_good_copy_is_back(stored: StoredSweep) -> None:
    step_id = stored.id_of("baseline", 0)
    path = stored.store.folder(step_id) / "weights.pt"
    before = flip_a_bit(path)
    assert stored.store.status(step_id).state == "done"  # nobody has read the weights yet
    verify_step(stored.store, step_id)
    status = stored.store.status(step_id)
    assert status.state == "damaged"
    assert str(path) in str(status.reason)
    path.write_bytes(before)
    verify_step(stored.store, step_id)
    assert stored.store.status(step_id).state == "done"


def test_an_edited_recipe_is_noted_of_a_finished_step(stored: StoredSweep) -> None:
    step_id = stored.id_of("baseline", 0)
    path = stored.store.folder(step_id) / "recipe.json"
    path.write_text(path.read_text().replace('"epochs": 2', '"epochs": 9'))
    verify_step(stored.store, step_id)
    assert "recipe.json" in str(stored.store.status(step_id).reason)


def test_a_store_of_an_earlier_version_is_unverified_but_for_what_its_hashes_tell(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "store")
    store = Store(tmp_path / "store")
    found = all_checked(store)
    assert {one.file for one in found if one.verdict == "verified" and one.step_id} <= {"weights.pt", "metrics.jsonl"}
    assert [one for one in found if one.verdict == "damaged"] == []
    assert sum(one.file == "weights.pt" and one.verdict == "verified" for one in found) == 2  # by state_hash in DONE
    step_id = next(one.step_id for one in found if one.file == "weights.pt")
    assert step_id is not None
    recipe = store.folder(step_id) / "recipe.json"
    recipe.write_text(recipe.read_text().replace('"lr": 0.05', '"lr": 0.06'))
    flip_a_bit(store.folder(step_id) / "weights.pt")
    assert {one.file for one in verify_step(store, step_id) if one.verdict == "damaged"} == {
        "recipe.json",
        "weights.pt",
    }


def test_the_command_names_what_is_damaged_and_fails(
    stored: StoredSweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["verify", "--store", stored.store.address]
    assert call(monkeypatch, capsys, *typed)[0] == 0
    path = stored.store.folder(stored.id_of("baseline", 0)) / "weights.pt"
    flip_a_bit(path)
    code, printed = call(monkeypatch, capsys, *typed)
    assert (code, f"damaged: {path}" in printed) == (1, True)
    code, printed = call(monkeypatch, capsys, *typed, "--json")
    assert code == 1
    assert [one["file"] for one in json.loads(printed) if one["verdict"] == "damaged"] == ["weights.pt"]
