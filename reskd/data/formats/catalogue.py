"""Annotation formats by their names in data.annotations. Each has a reader, and a writer of generated videos."""

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
    """(spec, data root) -> both splits. Raises BadInput with file, place and value."""
    write: Callable[[Path, Sequence[DrawnClip]], Written]
    """(existing folder, generated clips) -> the written files. A format with one label per clip drops the others."""


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
