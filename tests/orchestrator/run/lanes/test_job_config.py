"""A job's config, carried as Ray carries it."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import pytest
from ray import cloudpickle
from ray.tune.utils.serialization import TuneFunctionDecoder, TuneFunctionEncoder

from orchestrator.run.lanes.early_stops import JobRule
from tests.support.job_configs import config

RULE = JobRule(metric="val/top1", reduction_factor=2, groups={"a": ("a", "b")}, rungs={"a": (1, 3)})
WHOLE = replace(config("job", "a", "b"), early_stopping=RULE)


@pytest.mark.parametrize("carry", [pickle, cloudpickle])
def test_a_jobs_config_is_the_same_after_ray_has_carried_it(carry) -> None:
    assert carry.loads(carry.dumps(WHOLE)) == WHOLE


def test_a_jobs_config_is_the_same_in_what_tune_writes_of_a_trial() -> None:
    text = json.dumps({"job": WHOLE}, cls=TuneFunctionEncoder)
    assert json.loads(text, cls=TuneFunctionDecoder, allow_cloudpickle=True) == {"job": WHOLE}
