"""Shapes of JSON values: what fits, and which part of the others is named."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

import pytest

from reskd.shapes import misfit


class Clip(TypedDict):
    path: str
    labels: list[int]
    seconds: NotRequired[float | None]


class Listed(TypedDict):
    clips: list[Clip]
    shares: dict[str, float]


WHOLE: dict[str, Any] = {"clips": [{"path": "a", "labels": [1, 2], "seconds": 3}], "shares": {"x": 0.5, "y": 1}}


@pytest.mark.parametrize(
    "value",
    [
        WHOLE,
        {"clips": [], "shares": {}, "a later version's": object()},
        {"clips": [{"path": "a", "labels": [], "seconds": None}], "shares": {}},
    ],
)
def test_these_fit(value: object) -> None:
    assert misfit(value, Listed) is None


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ([], "the content"),
        (None, "the content"),
        ({"shares": {}}, "clips"),
        (WHOLE | {"clips": {}}, "clips"),
        (WHOLE | {"clips": ["a"]}, "clips.0"),
        (WHOLE | {"clips": [{"path": "a"}]}, "clips.0.labels"),
        (WHOLE | {"clips": [{"path": "a", "labels": [1, True]}]}, "clips.0.labels.1"),
        (WHOLE | {"clips": [{"path": "a", "labels": [1.0]}]}, "clips.0.labels.0"),
        (WHOLE | {"clips": [{"path": "a", "labels": [], "seconds": "3"}]}, "clips.0.seconds"),
        (WHOLE | {"shares": {"x": 0.5, "y": "1"}}, "shares.y"),
    ],
)
def test_of_others_the_first_wrong_part_is_named(value: object, part: str) -> None:
    assert str(misfit(value, Listed)).startswith(f"{part} is ")
