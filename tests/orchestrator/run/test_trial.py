"""What stands between a job and Ray's own code: which of Train's callbacks it has, and a config that Ray can carry."""

from __future__ import annotations

import inspect
import json
import pickle
from dataclasses import replace

import pytest
import ray.train
from ray import cloudpickle
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.tune.utils.serialization import TuneFunctionDecoder, TuneFunctionEncoder

from orchestrator.run.early_stops import JobRule
from orchestrator.run.job_config import JobConfig
from orchestrator.run.trial import JobTrainer, PromptCleanerCallback
from orchestrator.run.worker import train_loop
from tests.support.job_configs import config


def whole(*, on_cluster: bool = False) -> JobConfig:
    rule = JobRule(metric="val/top1", reduction_factor=2, groups={"a": ("a", "b")}, rungs={"a": (1, 3)})
    return replace(config("job", "a", "b"), early_stopping=rule, on_cluster=on_cluster)


def callbacks(trainer: type[TorchTrainer], *, on_cluster: bool = False) -> list[type]:
    scaling = ray.train.ScalingConfig(num_workers=2)
    made = trainer(train_loop, train_loop_config={"job": whole(on_cluster=on_cluster)}, scaling_config=scaling)
    return [type(one) for one in made._create_default_callbacks()]


def test_a_job_has_all_of_trains_callbacks_but_the_cleaner_that_it_would_wait_for() -> None:
    """Fails where another Ray names or makes its cleaner otherwise; then look whether a job's end still waits."""
    rays = callbacks(TorchTrainer)
    assert rays.count(PlacementGroupCleanerCallback) == 1
    others = [kind for kind in rays if kind is not PlacementGroupCleanerCallback]
    assert callbacks(JobTrainer) == others
    assert callbacks(JobTrainer, on_cluster=True) == [*others, PromptCleanerCallback]


def test_the_cleaner_of_a_cluster_is_ended_where_ray_ends_its_own() -> None:
    """Ray's class still has the method that ours replaces, and calls it at both ends of a run."""
    for name in ("before_controller_shutdown", "before_controller_abort"):
        assert "self._stop_cleaner()" in inspect.getsource(getattr(PlacementGroupCleanerCallback, name))
    assert list(inspect.signature(PlacementGroupCleanerCallback._stop_cleaner).parameters) == ["self"]
    assert PromptCleanerCallback()._cleaner is None


@pytest.mark.parametrize("carry", [pickle, cloudpickle])
def test_a_jobs_config_is_the_same_after_ray_has_carried_it(carry) -> None:
    assert carry.loads(carry.dumps(whole())) == whole()


def test_a_jobs_config_is_the_same_in_what_tune_writes_of_a_trial() -> None:
    text = json.dumps({"job": whole()}, cls=TuneFunctionEncoder)
    assert json.loads(text, cls=TuneFunctionDecoder, allow_cloudpickle=True) == {"job": whole()}
