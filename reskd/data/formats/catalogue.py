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
class Format:
    """One annotation format."""

    read: Callable[[DataSpec, Path], Splits]
    """(the spec, the data root) -> both splits; BadInput names file, place and value."""
    write: Callable[[Path, Sequence[DrawnClip]], Written]
    """(a folder that is there, drawn clips) -> what was written; a format without second labels drops them."""


FORMATS: dict[AnnotationFormat, Format] = {
    "csv": Format(listed.read, listed.write),
    "folders": Format(folders.read, folders.write),
    "activitynet": Format(activitynet.read, activitynet.write),
    "fcvid": Format(fcvid.read, fcvid.write),
    "kinetics": Format(kinetics.read, kinetics.write),
    "mini_kinetics": Format(mini_kinetics.read, mini_kinetics.write),
    "ssv2": Format(something.read_v2, something.write_v2),
    "ssv1": Format(something.read_v1, something.write_v1),
}

_odd = FORMATS.keys() ^ set(get_args(AnnotationFormat))
assert not _odd, f"only one of FORMATS and AnnotationFormat has {sorted(_odd)}"
