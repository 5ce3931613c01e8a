"""Fixtures that several test files share: the pool of two workers, and small real videos; an S3 server."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# The process that hands the tests out to the others loads this file too, and needs no torch: fixtures load it.
if TYPE_CHECKING:
    from orchestrator.experiment.bound_sweep import Prepared
    from reskd.data.manifest import Manifest
    from reskd.recipe import DataSpec
    from tests.support.pool import Pool
    from tests.support.training import Fit
    from tests.support.warm_python import WarmPython

# `make test` draws a few new examples of each property and `make fuzz` many. `make test-all` decides what lands, so its
# examples are the same in every run.
settings.register_profile("fast", max_examples=10, deadline=None)
settings.register_profile("full", max_examples=100, deadline=None, derandomize=True)
settings.register_profile("fuzz", max_examples=2000, deadline=None)
settings.load_profile("fast")


def pytest_configure() -> None:
    # A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Not the user's own: a test may change what a network is.
    os.environ["RESKD_CACHE"] = folder = tempfile.mkdtemp(prefix="reskd-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # pytest-xdist says how wide its own terminal is; what is printed here goes into pipes and files.
    os.environ.pop("COLUMNS", None)


def pytest_collectstart() -> None:
    from orchestrator.tracking.settings import configure

    configure()  # before the test files load MLflow


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests on a real Ray first, since they take the longest."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)


@cache
def _has_ray(path: Path) -> bool:
    return "mark.ray" in path.read_text(encoding="utf-8")


class OneRay(LoadScopeScheduling):
    """Files with tests on a real Ray share one process, since two Rays on a host disturb each other.

    The other files stay whole too, each with one process, which makes once what its tests share. (xdist has groups for
    this, but xdist 3.8 does not see them under pytest 9.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "ray" if _has_ray(self.config.rootpath / file) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneRay:
    return OneRay(config, log)


def pytest_collection_finish() -> None:
    if "mlflow" in sys.modules:  # else no test file needs it at once, and loading it takes seconds
        from tests.support import mlflow_schema

        mlflow_schema.share()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    from tests.support.pool import Pool

    pool = Pool()
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmPython]:
    from tests.support.warm_python import WarmPython

    python = WarmPython(tmp_path_factory.mktemp("warm_python"))
    yield python
    python.close()


@pytest.fixture(scope="session")
def demo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo data set: 36 training and 7 validation clips, real H.264 files."""
    from reskd.data.synthetic import make_demo

    root = tmp_path_factory.mktemp("demo")
    make_demo(root, num_train=36, num_val=7)
    return root


@pytest.fixture(scope="session")
def demo_data(demo_root: Path) -> DataSpec:
    from reskd.recipe import DataSpec

    return DataSpec(
        name="demo",
        root=str(demo_root),
        num_frames=4,
        short_side=64,
        crop_size=64,
        crop_scales=(1.0, 0.875, 0.75, 0.66),
        flip=False,
    )


@pytest.fixture(scope="session")
def demo_manifest(demo_data: DataSpec) -> Manifest:
    from reskd.data.manifest import build_manifest

    return build_manifest(demo_data)


@pytest.fixture(scope="session")
def short_manifest(demo_manifest: Manifest) -> Manifest:
    """Clips for two steps an epoch of the recipes in tests/support/training.py, and one that is left over."""
    return replace(demo_manifest, train=demo_manifest.train[:17])


@pytest.fixture(scope="session")
def job(demo_data: DataSpec, short_manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """A trained teacher, and the cohort {none, clip, frame, pixel} that is to be taught by it."""
    from tests.support.training import LEVELS, Fit, fit, student_recipe, teacher_recipe

    folder = tmp_path_factory.mktemp("runs")
    teacher = Fit({"7eac4e4": teacher_recipe(demo_data)}, short_manifest, folder / "teacher", None)
    fit(teacher, True)
    recipes = {f"{number}{level}": student_recipe(demo_data, level) for number, level in enumerate(LEVELS)}
    return Fit(recipes, short_manifest, folder / "cohort", folder / "teacher" / "7eac4e4" / "weights.pt")


@pytest.fixture(scope="session")
def trained_sweep(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A small sweep of three trained steps; those who change it take a copy."""
    import torch

    from tests.support.trained_sweep import train_sweep

    torch.set_num_threads(1)
    return train_sweep(tmp_path_factory.mktemp("trained_sweep"), demo_root)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    lock, put_object = threading.Lock(), S3Response.put_object

    def one_at_a_time(request: S3Response) -> object:
        with lock:
            return put_object(request)

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        # In S3 a conditional write is one act; moto looks and then writes, so that now and then two writers won a race.
        patch.setattr(S3Response, "put_object", one_at_a_time)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def s3_url(s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket that the settings lead to."""
    import boto3

    settings = {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "RESKD_CACHE": str(tmp_path / "cache"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    if any(bucket["Name"] == "experiments" for bucket in client.list_buckets()["Buckets"]):
        for found in client.list_objects_v2(Bucket="experiments").get("Contents", ()):
            client.delete_object(Bucket="experiments", Key=found["Key"])
    else:
        client.create_bucket(Bucket="experiments")
    return "s3://experiments/group/reskd"
