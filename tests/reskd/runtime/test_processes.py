"""Items whose process dies or hangs are named, and the others are done."""

from __future__ import annotations

from reskd.runtime.processes import Lost, map_in_processes
from tests.support.deadly_items import half_or_die
from tests.support.hanging_items import half_or_hang


def test_an_item_that_kills_its_process_is_named_and_the_others_are_done() -> None:
    results = dict(map_in_processes(half_or_die, range(10), workers=2))
    assert results == {n: Lost("its process died") if n in (3, 8) else n / 2 for n in range(10)}


def test_an_item_that_hangs_is_named_and_the_others_are_done() -> None:
    results = dict(map_in_processes(half_or_hang, range(2, 5), workers=2, still_s=1.0))
    hanging = results.pop(3)
    assert results == {2: 1.0, 4: 2.0}
    assert isinstance(hanging, Lost)
    assert hanging.reason.startswith("its process made no progress for")
