"""Annotation formats by data.annotations' names. Each module reads one and lays down a drawn data set in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from reskd.data.formats import activitynet, fcvid, folders, kinetics, listed, mini_kinetics, something
from reskd.data.formats.drawn import DrawnClip, Written
from reskd.data.formats.rows import Splits
from reskd.recipe import AnnotationFormat, DataSpec


@dataclass(frozen=True, slots=True)
class Layout:
    """One annotation format."""

    read: Callable[[DataSpec, Path], Splits]
    """(the spec, the data root) -> both splits; BadInput names file, place and value."""
    write: Callable[[Path, Sequence[DrawnClip]], Written]
    """(a folder that is there, drawn clips) -> what was written; a format without second labels drops them."""


LAYOUTS: dict[AnnotationFormat, Layout] = {
    "csv": Layout(listed.read, listed.write),
    "folders": Layout(folders.read, folders.write),
    "activitynet": Layout(activitynet.read, activitynet.write),
    "fcvid": Layout(fcvid.read, fcvid.write),
    "kinetics": Layout(kinetics.read, kinetics.write),
    "mini_kinetics": Layout(mini_kinetics.read, mini_kinetics.write),
    "ssv2": Layout(something.read_v2, something.write_v2),
    "ssv1": Layout(something.read_v1, something.write_v1),
}

_odd = LAYOUTS.keys() ^ set(get_args(AnnotationFormat))
assert not _odd, f"only one of LAYOUTS and AnnotationFormat has {sorted(_odd)}"
