"""Jobs in the order of their start, in lanes, with their waiting, from times made up by hand."""

from __future__ import annotations

import pytest

from orchestrator.report.timeline import Bar, Session, StepTimes, Waiting, bars_of, sessions_of
from orchestrator.report.timeline_chart import draw_session
from orchestrator.store.step_record import State

MINUTE = 60_000
DAY = 24 * 60 * MINUTE


def step(
    step_id: str,
    start: int,
    end: int,
    *,
    name: str = "",
    seed: int = 0,
    state: State = "done",
    teacher: str | None = None,
    host: str = "a",
    workers: int = 1,
    at: tuple[int, ...] = (),
) -> StepTimes:
    """A step from minute ``start`` to minute ``end``, with an epoch a minute or at the minutes ``at``."""
    epochs = tuple(MINUTE * minute for minute in at or range(start + 1, end + 1))
    return StepTimes(
        step_id=step_id,
        name=name or step_id,
        seed=seed,
        state=state,
        teacher_id=teacher,
        host=host,
        device="GPU" if state == "done" else None,
        workers=workers,
        started_ms=MINUTE * start,
        epochs_ms=epochs,
        ended_ms=MINUTE * end if state == "done" else None,
        epoch=len(epochs),
        num_epochs=len(epochs),
    )


def minutes(bar: Bar) -> list[tuple[int, int]]:
    return [(first // MINUTE, last // MINUTE) for first, last in bar.spans]


def only(sessions: tuple[Session, ...]) -> Session:
    (session,) = sessions
    return session


def test_steps_that_began_together_are_one_job_and_jobs_are_counted_by_their_start():
    bars = bars_of(
        [step("late", 30, 40), step("teacher", 0, 20), step("baseline", 0, 10), step("other host", 0, 5, host="b")]
    )
    assert [(bar.number, bar.step_ids) for bar in bars] == [
        (1, ("teacher", "baseline")),  # the last to end first
        (2, ("other host",)),
        (3, ("late",)),
    ]
    assert minutes(bars[0]) == [(0, 20)]


def test_jobs_are_sorted_by_number_not_by_letter():
    assert [bar.step_ids[0] for bar in bars_of([step("b", 100, 101), step("a", 20, 21), step("c", 3, 4)])] == [
        "c",
        "a",
        "b",
    ]


def test_the_same_rows_of_other_seeds_share_a_colour():
    bars = bars_of(
        [
            step("x0", 0, 1, name="x"),
            step("y0", 0, 1, name="y"),
            step("x1", 2, 3, name="x", seed=1),
            step("y1", 2, 3, name="y", seed=1),
            step("z", 4, 5),
        ]
    )
    assert [bar.kind for bar in bars] == [0, 0, 1]
    assert [bar.seeds for bar in bars] == [(0,), (1,), (0,)]


def test_no_two_jobs_of_a_lane_overlap_and_a_free_lane_is_used_again():
    session = only(
        sessions_of(
            bars_of([step("a", 0, 10), step("b", 1, 4), step("c", 5, 8), step("d", 10, 12), step("e", 2, 9, host="b")])
        )
    )
    lanes = [(place, [bar.step_ids[0] for bar in bars]) for place, bars in session.lanes]
    assert lanes == [("a, GPU", ["a", "d"]), ("a, GPU", ["b", "c"]), ("b, GPU", ["e"])]


def test_a_job_waits_for_its_teacher_first_and_then_for_a_device():
    session = only(sessions_of(bars_of([step("t", 0, 5), step("s", 9, 12, teacher="t"), step("u", 5, 9)])))
    waits = [
        (wait.bar.step_ids[0], *(ms // MINUTE for ms in (wait.queued_ms, wait.ready_ms, wait.started_ms)))
        for wait in session.waits
    ]
    assert waits == [("u", 0, 0, 5), ("s", 0, 5, 9)]


def test_a_teacher_of_an_earlier_day_is_not_waited_for():
    sessions = sessions_of(bars_of([step("t", -9000, -8990), step("u", 0, 5), step("s", 5, 9, teacher="t")]))
    assert len(sessions) == 2
    (wait,) = sessions[1].waits
    assert (wait.queued_ms, wait.ready_ms, wait.started_ms) == (0, 0, 5 * MINUTE)


def test_a_job_that_was_interrupted_over_night_is_in_two_sessions():
    night = DAY // MINUTE
    bars = bars_of([step("a", 0, night + 3, at=(1, 2, 3, night + 1, night + 2))])
    assert minutes(bars[0]) == [(0, 3), (night + 1, night + 3)]
    assert [(s.first_ms // MINUTE, s.last_ms // MINUTE) for s in sessions_of(bars)] == [(0, 3), (night + 1, night + 3)]


def test_a_long_final_test_is_no_pause():
    assert minutes(bars_of([step("a", 0, 60, at=(1, 2, 3))])[0]) == [(0, 60)]


@pytest.mark.parametrize(("state", "end"), [("running", 20), ("failed", 3), ("interrupted", 3)])
def test_a_job_that_runs_reaches_to_now_and_one_that_stopped_does_not(state: State, end: int):
    bars = bars_of([step("a", 0, 3, state=state), step("b", 0, 20, host="b")])
    session = only(sessions_of(bars, now_ms=20 * MINUTE))
    assert minutes(next(bar for bar in session.bars if bar.step_ids == ("a",))) == [(0, end)]


def test_a_job_that_has_not_begun_waits_until_now():
    held = Waiting(members=("s",), names=("s",), seeds=(0,), teacher_id="t")
    bars = bars_of([step("t", 0, 8, state="running")], waiting=[held])
    session = only(sessions_of(bars, now_ms=8 * MINUTE))
    (wait,) = session.waits
    assert (wait.bar.number, wait.bar.state, wait.queued_ms, wait.ready_ms, wait.started_ms) == (
        2,
        "waiting",
        0,
        8 * MINUTE,
        8 * MINUTE,
    )
    assert [bar.number for _, lane in session.lanes for bar in lane] == [1]


def test_a_slice_of_the_drawing_ends_when_its_step_ends():
    session = only(sessions_of(bars_of([step("long", 0, 20), step("short", 0, 5)])))
    axes = draw_session(session).axes[0]
    ends = sorted(round(box.get_extents().x1) for slices in axes.collections for box in slices.get_paths())
    assert ends == [5, 20]  # in minutes
    assert axes.get_xlabel() == "minutes after 1970-01-01 00:00 UTC"
