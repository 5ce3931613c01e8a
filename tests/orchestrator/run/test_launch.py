"""What Ray shows of a job."""

from __future__ import annotations

import pytest

from orchestrator.run.launch import trial_name
from reskd.text import file_name_fault


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("seed 0: baseline and 3 more", "seed-0-baseline-and-3-more-job-1"),
        ("seed 0,1: lr=.02/wd=1e-4", "seed-0-1-lr-.02-wd-1e-4-job-1"),
        ("import: Übung \N{SNOWMAN}", "import-Übung-job-1"),
    ],
)
def test_a_trial_is_named_after_seed_and_row(label: str, name: str) -> None:
    assert trial_name(label, "job-1") == name


def test_the_name_of_a_trial_is_that_of_a_file_however_long_the_row_is() -> None:
    for letter in ("a", "\N{CJK UNIFIED IDEOGRAPH-5B66}"):
        assert file_name_fault(trial_name("seed 0: ../" + letter * 500, "job-112624a14af0")) is None
