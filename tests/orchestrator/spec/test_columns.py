"""The catalogue of columns: what a key means, and by which one rows are ranked."""

from __future__ import annotations

import pytest

from orchestrator.spec.columns import COLUMNS, check_column, main_metric, quantity_of, read_costs
from reskd.errors import BadInput

AGREEMENT, OTHER_AGREEMENT = "test/agreement", "test/val-f32-v10x3/agreement"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["GMACs", "test/mAP", "test/top1"], "test/mAP"),
        ([AGREEMENT, OTHER_AGREEMENT, "clips/s", "test/val-f32-v10x3/top5"], "test/val-f32-v10x3/top5"),
        ([AGREEMENT, "GMACs", "bench/clips/s"], None),
        ([], None),
    ],
)
def test_the_main_metric_is_the_first_of_the_test_that_needs_no_teacher(
    columns: list[str], expected: str | None
) -> None:
    assert main_metric(columns) == expected


def test_costs_are_read_from_the_record_that_holds_them() -> None:
    # 3 GFLOPs are 1.5 G products, of which 1.2 are of layers: attention's .3 come on top.
    done = {"complexity": {"gmacs": 1.25, "gmacs_layers": 1.2, "gflops": 3.0, "num_params": 2_500_000}}
    expected = {"GMACs": 1.25, "GMACs_with_attention": 1.55, "GFLOPs": 3.0, "params_M": 2.5}
    assert read_costs("done", done) == pytest.approx(expected)
    assert read_costs("throughput", {"clips_per_s": 7}) == {"clips/s": 7.0}


def test_a_share_is_shown_in_percent_and_what_is_no_column_as_it_was_recorded() -> None:
    assert quantity_of("test/val-f32-v10x3/mAP").shown(0.5) == 50.0
    assert quantity_of("GMACs").shown(0.5) == 0.5
    assert quantity_of("test/frames_used").shown(2.5) == 2.5
    assert quantity_of("test/frames_used").unit == ""


@pytest.mark.parametrize("key", [*COLUMNS, "test/val-f32-v10x3/agreement"])
def test_every_row_of_the_catalogue_may_be_a_column(key: str) -> None:
    check_column(key, "here")


@pytest.mark.parametrize("key", ["top1", "test/", "test/frames_used", "test/val-f4/top1", "test/a/b/top1", "gmacs"])
def test_nothing_else_may(key: str) -> None:
    with pytest.raises(BadInput, match=f"^here has '{key}'"):
        check_column(key, "here")
