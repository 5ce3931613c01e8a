"""Places the labels of a figure beside their marks, where they cover no mark and no other label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Point = tuple[float, float]

DISTANCES = (9.0, 18.0, 28.0, 40.0, 54.0, 70.0)
"""Distances between a mark and its label, in the unit of the boxes. Smaller ones are tried first."""
GAP = 4.0
"""Gap between two labels side by side."""
DIRECTIONS = ((1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1))


@dataclass(frozen=True, slots=True)
class Box:
    left: float
    bottom: float
    right: float
    top: float

    @classmethod
    def around(cls, centre: Point, *, width: float, height: float) -> Box:
        x, y = centre
        return cls(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.top - self.bottom)

    def nearest(self, point: Point) -> Point:
        """The box's point that is nearest to the given point."""
        return min(max(point[0], self.left), self.right), min(max(point[1], self.bottom), self.top)

    def shared(self, other: Box) -> float:
        """Area that two boxes have in common."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)


def place(marks: Sequence[Point], sizes: Sequence[Point], *, obstacles: Sequence[Box], frame: Box) -> list[Box]:
    """A label's box for each mark; sizes are (width, height). The same input gives the same boxes.

    Each label takes the first place that is free and inside the frame. If there is none, it takes the place that covers
    least.
    """
    placed: list[Box] = []
    for mark, size in zip(marks, sizes, strict=True):
        taken = [*obstacles, *(Box(box.left - GAP, box.bottom, box.right + GAP, box.top) for box in placed)]
        placed.append(min(_candidates(mark, size), key=lambda box: _covered(box, taken, frame)))
    return placed


def _candidates(mark: Point, size: Point) -> Iterator[Box]:
    """Boxes around a mark, most readable first."""
    width, height = size
    for distance in DISTANCES:
        for right, up in DIRECTIONS:
            away = distance * (0.7 if right and up else 1.0)
            centre = mark[0] + right * (away + width / 2), mark[1] + up * (away + height / 2)
            yield Box.around(centre, width=width, height=height)


def _covered(box: Box, taken: Sequence[Box], frame: Box) -> float:
    """The area that a label at this place would cover, or lose outside the frame.

    It is in whole units, so that rounding cannot decide.
    """
    return round(sum(box.shared(other) for other in taken) + box.area - box.shared(frame))
