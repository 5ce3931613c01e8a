"""Fixtures that several test files share: the pool of two workers, and small real videos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from reskd.data.manifest import Manifest, build_manifest
from reskd.data.synthetic import make_demo
from reskd.recipe import DataSpec
from tests.pool import Pool


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def demo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo data set: 36 training and 7 validation clips, real H.264 files."""
    root = tmp_path_factory.mktemp("demo")
    make_demo(root, num_train=36, num_val=7)
    return root


@pytest.fixture(scope="session")
def demo_data(demo_root: Path) -> DataSpec:
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
    return build_manifest(demo_data)
