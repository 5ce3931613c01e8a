"""What a training says of itself while it runs."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from reskd.checkpoint import FolderSink
from reskd.data.manifest import Manifest
from reskd.recipe import DataSpec, EvalSpec
from reskd.training.epoch_sums import EpochSums
from reskd.training.fit import MemberSpec, fit_cohort
from reskd.training.fit_progress import FitProgress, Teller
from tests.support.training import student_recipe

STEP = "0a1b"


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory, demo_data: DataSpec, short_manifest: Manifest
) -> tuple[list[FitProgress], FolderSink]:
    """Two epochs of two training steps, the last of which is validated and then tested by two views."""
    recipe = replace(student_recipe(demo_data, "none", epochs=2), eval=EvalSpec(every=5, views="2x1"))
    sink, words = FolderSink(tmp_path_factory.mktemp("told")), list[FitProgress]()
    fit_cohort(
        [MemberSpec(STEP, recipe)],
        manifest=short_manifest,
        root=Path(str(demo_data.root)),
        sink=sink,
        on_progress=words.append,
    )
    return words, sink


def test_the_last_step_of_each_epoch_is_told_with_the_loss_that_the_epoch_records(
    told: tuple[list[FitProgress], FolderSink],
) -> None:
    words, sink = told
    last = {word.epoch: word for word in words if word.phase == "training" and word.done == word.total}
    assert {epoch: (word.total, word.num_epochs) for epoch, word in last.items()} == {1: (2, 2), 2: (2, 2)}
    recorded = {line["epoch"]: line["metrics"]["train/loss"] for line in sink.metrics(STEP)}
    assert {epoch: word.losses[STEP] for epoch, word in last.items()} == pytest.approx(recorded)
    assert all(word.clips_per_s > 0 for word in last.values())


def test_validation_and_test_are_told_and_the_test_is_told_with_the_validations_metrics(
    told: tuple[list[FitProgress], FolderSink],
) -> None:
    words, sink = told
    begun = [(word.phase, word.epoch) for word in words if word.phase != "training" and not word.done]
    assert begun == [("validation", 2), ("test", 2)]
    test = next(word for word in words if word.phase == "test")
    validated = sink.metrics(STEP)[-1]["metrics"]
    assert test.total == 7
    assert test.metrics[STEP]["top1"] == validated["val/top1"]


def test_within_an_epoch_a_word_is_said_at_most_once_in_its_time() -> None:
    words: list[FitProgress] = []
    teller = Teller(words.append, num_epochs=1, every_s=3600)
    teller.begin_epoch(1, num_steps=4)
    for done in range(1, 4):
        teller.step(done, EpochSums([]), [_Member()])  # type: ignore[list-item]
    assert [word.done for word in words] == [1]
    teller.step(4, EpochSums([]), [_Member()])  # type: ignore[list-item]
    assert [word.done for word in words] == [1, 4]


class _Member:
    """What a word needs of a member that has left."""

    failure = "it left"

    class recipe:
        class optim:
            batch_size = 8


def test_a_step_that_is_not_due_costs_next_to_nothing() -> None:
    teller = Teller(lambda word: None, num_epochs=1, every_s=3600)
    teller.begin_epoch(1, num_steps=1 << 20)
    sums, members = EpochSums([]), [_Member()]
    started = time.perf_counter()
    for done in range(1, 10_001):
        teller.step(done, sums, members)  # type: ignore[arg-type]
    assert (time.perf_counter() - started) / 10_000 < 50e-6  # a training step takes ms; about 0.3 us were measured
