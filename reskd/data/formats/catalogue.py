"""Annotation formats by data.annotations' names. Each module reads one and lays down a drawn data set in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reskd.data.formats import activitynet, fcvid, folders, kinetics, listed, mini_kinetics, something
from reskd.data.formats.drawn import DrawnClip, Written
from reskd.data.formats.rows import Splits
from reskd.recipe import DataSpec


@dataclass(frozen=True, slots=True)
class Layout:
    """One annotation format."""

    read: Callable[[DataSpec, Path], Splits]
    """Of a spec and the data root; BadInput names file, place and value."""
    write: Callable[[Path, Sequence[DrawnClip]], Written]
    """Into a folder that is there; a format without second labels drops them."""


LAYOUTS = {
    "csv": Layout(listed.read, listed.write),
    "folders": Layout(folders.read, folders.write),
    "activitynet": Layout(activitynet.read, activitynet.write),
    "fcvid": Layout(fcvid.read, fcvid.write),
    "kinetics": Layout(kinetics.read, kinetics.write),
    "mini_kinetics": Layout(mini_kinetics.read, mini_kinetics.write),
    "ssv2": Layout(something.read_v2, something.write_v2),
    "ssv1": Layout(something.read_v1, something.write_v1),
}
