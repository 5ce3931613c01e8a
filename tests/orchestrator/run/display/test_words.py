"""Times and figures in few letters."""

from __future__ import annotations

import pytest

from orchestrator.run.display.words import accuracy_words, clock, loss_words, shortened


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (187.9, "3:07"), (3600, "1:00:00"), (90061, "25:01:01")])
def test_a_clock_counts_hours_from_one_on(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


@pytest.mark.parametrize(
    ("losses", "shown"), [([], ""), ([0.414], "0.41"), ([2.304, 0.5, 257.56], "0.50-258"), ([12.34, 12.34], "12.3")]
)
def test_losses_have_about_three_digits(losses: list[float], shown: str) -> None:
    assert loss_words(losses) == shown


@pytest.mark.parametrize(("accuracies", "shown"), [([], ""), ([0.714], "71.4"), ([0.875, 0.623], "62-88")])
def test_accuracies_are_percent(accuracies: list[float], shown: str) -> None:
    assert accuracy_words(accuracies) == shown


def test_a_long_text_is_one_line_of_its_length() -> None:
    assert shortened("two\nlines", 20) == "two lines"
    assert shortened("a longer text than that", 10) == "a longe..."
