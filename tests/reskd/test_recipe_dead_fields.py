"""A value that could change nothing is refused: it would be a step of another id that trains the very same."""

from __future__ import annotations

from typing import Any

import pytest

from reskd.errors import BadInput
from reskd.recipe import DataSpec, ModelSpec, OptimSpec


@pytest.mark.parametrize(
    ("spec", "values", "message"),
    [
        (ModelSpec, {"resolution": 112, "enlarge_to": 112}, r"model\.enlarge_to must be more than .*\(112\) or null"),
        (ModelSpec, {"stride": 32}, r"model\.stride must be 16, or null"),
        (ModelSpec, {"exit_beta": 0.1}, r"model\.exit_beta must be 1e-4 with model\.name tsn_resnet50"),
        (OptimSpec, {"gamma": 0.5}, r"optim\.gamma must be 0\.1 with optim\.schedule cosine"),
        (
            DataSpec,
            {"crop": "random_resized", "crop_scales": (1.0,)},
            r"data\.crop_scales must be left out with",
        ),
    ],
)
def test_a_value_without_effect_is_refused(spec: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        spec(**values)


def test_each_is_taken_where_it_has_an_effect() -> None:
    ModelSpec(resolution=112, enlarge_to=113)
    ModelSpec(stride=16)
    ModelSpec(name="frameexit_resnet50", exit_beta=0.1)
    OptimSpec(schedule="step", milestones=(3,), gamma=0.5)
    DataSpec(crop_scales=(1.0,))
