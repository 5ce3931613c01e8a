"""Places of a figure's labels: none over a mark or another label while there is room."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.tables.label_placement import Box, place

FRAME = Box(0, 0, 500, 300)
SIZE = (80.0, 12.0)
MARK = 12.0


def marks_of(points: list[tuple[float, float]]) -> list[Box]:
    return [Box.around(point, width=MARK, height=MARK) for point in points]


def test_a_lone_label_is_right_of_its_mark_at_its_height():
    (box,) = place([(100, 100)], [SIZE], obstacles=marks_of([(100, 100)]), frame=FRAME)
    assert (box.left, box.bottom, box.right, box.top) == (109, 94, 189, 106)


def test_a_mark_at_the_right_edge_has_its_label_on_the_left():
    (box,) = place([(480, 100)], [SIZE], obstacles=marks_of([(480, 100)]), frame=FRAME)
    assert box.right < 480


def test_marks_on_one_another_have_labels_apart():
    points = [(250.0, 150.0 + step) for step in range(5)]
    boxes = place(points, [SIZE] * 5, obstacles=marks_of(points), frame=FRAME)
    assert all(one.shared(other) == 0 for one, other in itertools.combinations(boxes, 2))


# Four marks anywhere leave room around each: at most three other marks and labels are in the way of 48 places.
@given(st.lists(st.tuples(st.floats(100, 400), st.floats(60, 240)), min_size=1, max_size=4))
def test_labels_cover_no_mark_and_no_label(points: list[tuple[float, float]]):
    marks = marks_of(points)
    boxes = place(points, [SIZE] * len(points), obstacles=marks, frame=FRAME)
    for box in boxes:
        assert round(sum(box.shared(mark) for mark in marks)) == 0
        assert box.shared(FRAME) == box.area
    assert all(round(one.shared(other)) == 0 for one, other in itertools.combinations(boxes, 2))
