"""The benchmark of cohorts runs, and counts what it says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.cohort import main
from reskd.models.backbones.mini import tsn_mini
from reskd.models.catalogue import MODELS, Network
from reskd.models.video_model import VideoModel
from tests.support.benchmark_options import SMALL_COHORT


@pytest.mark.slow
def test_every_row_is_measured_in_every_mode_of_the_teacher(capsys: pytest.CaptureFixture[str]) -> None:
    main(SMALL_COHORT)
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    names = ["2 at 24 px", "Table 4: 2 resolutions", "Table 5: 4 levels, one without a teacher"]
    assert [line[:2] for line in lines[1:]] == [[name, mode] for mode in ("eval", "batch") for name in names]
    assert all(float(number) >= 0 for line in lines[1:] for number in line[2:])


def test_a_member_that_leaves_stops_the_benchmark_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tsn_nan", Network(not_a_number))
    with pytest.raises(RuntimeError, match="gradient's norm is nan"):
        main([*SMALL_COHORT, "--rows", "table4", "--modes", "eval", "--student", "tsn_nan"])


def not_a_number(**options: Any) -> VideoModel:
    model = tsn_mini(num_blocks=1, **options)
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    return model
