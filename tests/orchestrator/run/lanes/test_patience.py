from __future__ import annotations

import pytest

from orchestrator.run.lanes.patience import LEAST_S, VARIABLE, Patience, least_patience
from reskd.errors import BadInput


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_job_may_be_silent_for_the_least_time_and_for_ten_times_its_longest_silence() -> None:
    clock = Clock()
    patience = Patience(60, clock=clock)
    for now, word, is_over in (
        (60, None, False),
        (60.1, None, True),  # it has never said anything
        (61, "first", False),
        (121, "first", False),
        (122, "first", True),
        (131, "second", False),  # it was silent for 70 s
        (831, "second", False),
        (831.1, "second", True),
        (832, "third", False),  # now for 701 s
        (832 + 7010, "third", False),
        (832 + 7011, "third", True),
    ):
        clock.now = now
        assert patience.is_over(word) is is_over, now


def test_time_in_which_a_job_cannot_show_anything_does_not_count() -> None:
    clock = Clock()
    patience = Patience(60, clock=clock)
    patience.is_over("word")
    for now in range(0, 1000, 50):
        clock.now = now
        patience.excuse()
    clock.now = 1009
    assert not patience.is_over("word")
    clock.now = 1011
    assert patience.is_over("word")


def test_the_environment_sets_the_least_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert least_patience() == LEAST_S
    monkeypatch.setenv(VARIABLE, "90")
    assert least_patience() == 90


@pytest.mark.parametrize("given", ["soon", "0", "-5", "nan", "inf"])
def test_another_value_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(VARIABLE, given)
    with pytest.raises(BadInput, match=f"{VARIABLE}={given!r}"):
        least_patience()
