"""A folder and a bucket on moto's server against a dict: the same answers to everything."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.store.object_blobs import ObjectBlobs
from reskd.blobs import Blobs, FolderBlobs

KEYS = ("runs/a/x.json", "runs/a/y.json", "runs/a/deep/x.json", "runs/b/x.json", "top.json")
FOLDERS = ("runs", "runs/a", "runs/b", "runs/a/deep", "nothing")
CONTENTS = st.sampled_from([b"", b"one", b"two"])
Make = Callable[[], Blobs]


@pytest.fixture(params=["folder", "bucket"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes an empty place, the same each time."""
    if request.param == "folder":

        def empty_folder() -> Blobs:
            shutil.rmtree(tmp_path / "place", ignore_errors=True)
            return FolderBlobs(tmp_path / "place")

        return empty_folder
    url = request.getfixturevalue("s3_url")

    def empty_bucket() -> Blobs:
        found = ObjectBlobs(url, cache=tmp_path / "cache")
        found.delete_folder("runs")
        found.delete(["top.json"])
        return found

    return empty_bucket


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(KEYS), CONTENTS),
        st.tuples(st.just("create"), st.sampled_from(KEYS), CONTENTS),
        st.tuples(st.just("replace"), st.sampled_from(KEYS), CONTENTS),
        st.tuples(st.just("replace what it was"), st.sampled_from(KEYS), CONTENTS),
        st.tuples(st.just("delete"), st.sampled_from(KEYS), CONTENTS),
        st.tuples(st.just("delete folder"), st.sampled_from(FOLDERS), CONTENTS),
    ),
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_operations_leave_what_they_leave_in_a_dict(make: Make, steps: list[tuple[str, str, bytes]]) -> None:
    blobs, expected = make(), dict[str, bytes]()
    for number, (what, key, content) in enumerate(steps):
        other = f"meanwhile {number}".encode()
        match what:
            case "write":
                blobs.write(key, content)
                expected[key] = content
            case "create":
                assert blobs.create(key, content) == (key not in expected)
                expected.setdefault(key, content)
            case "replace":
                found, version = blobs.read_version(key)
                assert found == expected.get(key)
                assert (version is None) == (key not in expected)
                if version is not None:
                    assert blobs.replace(key, content, version)
                    expected[key] = content
            case "replace what it was":
                _, version = blobs.read_version(key)
                blobs.write(key, other)
                assert not blobs.replace(key, content, version or '"0123"')
                expected[key] = other
            case "delete":
                blobs.delete([key])
                expected.pop(key, None)
            case "delete folder":
                blobs.delete_folder(key)
                expected = {each: value for each, value in expected.items() if not each.startswith(f"{key}/")}
    for key in KEYS:
        assert blobs.read(key) == expected.get(key)
        assert blobs.exists(key) == (key in expected)
    for folder in FOLDERS:
        direct = [key for key in sorted(expected) if key.rpartition("/")[0] == folder]
        assert [entry.key for entry in blobs.entries(folder)] == direct
    assert blobs.folders_with("runs", "x.json") == [name for name in "ab" if f"runs/{name}/x.json" in expected]


def test_one_of_eight_at_once_creates_and_one_replaces(make: Make) -> None:
    blobs = make()
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda number: blobs.create("top.json", str(number).encode()), range(8))) == 1
        version = str(blobs.read_version("top.json")[1])
        versions = [
            found for found in threads.map(lambda _: blobs.replace("top.json", b"new", version), range(8)) if found
        ]
    assert versions == [blobs.read_version("top.json")[1]]


def test_a_piece_is_a_file_of_this_machine_and_as_new_as_it_is_now(make: Make) -> None:
    blobs = make()
    for content in (b"old", b"new"):
        blobs.write("runs/a/x.json", content)
        assert blobs.local("runs/a/x.json").read_bytes() == content
    assert blobs.where("runs/a/x.json") == f"{blobs.address}/runs/a/x.json"


def test_more_keys_are_deleted_than_one_request_takes(make: Make) -> None:
    blobs = make()
    blobs.write("top.json", b"x")
    blobs.delete([*(f"runs/absent {number}" for number in range(1000)), "top.json"])
    assert not blobs.exists("top.json")
